"""``vskd discovery``: the entries that Home Assistant knows gateways and devices by, listed and removed."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vskd_stream.broker.endpoint import Endpoint
    from vskd_stream.discovery import Entry


def add_to(command: argparse.ArgumentParser) -> None:
    """Add ``list`` and ``remove``."""
    parts = command.add_subparsers(required=True, metavar="COMMAND")
    part = parts.add_parser("list", help="the entries that the broker keeps, of all gateways")
    _add_config(part)
    part.set_defaults(run=_list)

    part = parts.add_parser(
        "remove",
        help="remove entries, and with them what Home Assistant made of them",
        description="Removes entries of the configured gateway. A daemon that runs and hears the device "
        "announces it again the next time the broker or Home Assistant comes back.",
    )
    _add_config(part)
    part.add_argument("--gateway", help="another gateway than the configured one, such as its former name")
    which = part.add_mutually_exclusive_group(required=True)
    which.add_argument("device", nargs="*", default=[], help="whose entries")
    which.add_argument("--all", action="store_true", help="all devices, and the gateway itself")
    part.set_defaults(run=_remove)


def _add_config(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the daemon's configuration: which broker"
    )


def _list(options: argparse.Namespace) -> None:
    _, _, entries = _kept(options.config)
    for topic, entry in sorted(entries.items()):
        sys.stdout.write(f"{entry.gateway} {entry.device or '-'} {topic}\n")


def _remove(options: argparse.Namespace) -> None:
    from vskd_stream import discovery
    from vskd_stream.broker import retained
    from vskd_stream.errors import BrokerError

    endpoint, configured, entries = _kept(options.config)
    gateway = options.gateway or configured
    of_gateway = {topic: entry for topic, entry in entries.items() if entry.gateway == gateway}
    wanted = [topic for topic, entry in of_gateway.items() if options.all or entry.device in options.device]
    refused = asyncio.run(retained.publish(endpoint, map(discovery.removal, wanted)))
    for topic in sorted(set(wanted) - refused.keys()):
        sys.stdout.write(f"removed {topic}\n")
    for device in sorted(set(options.device) - {entry.device for entry in of_gateway.values()}):
        sys.stdout.write(f"nothing kept of {gateway} {device}\n")
    if refused:
        reasons = ", ".join(f"{topic} not removed: {reason}" for topic, reason in sorted(refused.items()))
        raise BrokerError(str(endpoint), reasons)


def _kept(path: Path) -> tuple[Endpoint, str, dict[str, Entry]]:
    """The broker, the configured gateway, and every gateway's entries by topic."""
    from vskd_stream import config, discovery
    from vskd_stream.broker import retained
    from vskd_stream.broker.endpoint import endpoint_of
    from vskd_stream.settings import RemoteBroker

    settings = config.load(path)
    remote = settings.broker if isinstance(settings.broker, RemoteBroker) else None
    password = config.read_password(remote, environ=os.environ) if remote else None
    endpoint = endpoint_of(settings, password)
    prefix = settings.home_assistant.discovery_prefix
    kept = asyncio.run(retained.read(endpoint, discovery.filters(prefix)))
    ours = {topic: discovery.parse(topic, prefix=prefix) for topic in kept if discovery.is_ours(kept[topic])}
    return endpoint, settings.gateway, {topic: entry for topic, entry in ours.items() if entry is not None}
