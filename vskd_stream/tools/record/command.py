"""The command: records what a configuration names until Ctrl-C, SIGTERM or the end of the time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog

from vskd_stream import __version__, config, logs
from vskd_stream.broker.endpoint import Endpoint, endpoint_of
from vskd_stream.errors import BrokerError, ConfigError, OptionError, RecordingError, VskdError
from vskd_stream.recording import Header, Recorder
from vskd_stream.settings import BluetoothDevice, RemoteBroker, Settings
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tools.record import mqtt
from vskd_stream.tools.record.harvest import Harvest, Taker

Kind = Literal["mqtt", "bluetooth"]

_NAMED_DEVICES = 10

_log = structlog.get_logger()


def run(
    config_path: Path,
    out: Path,
    *,
    seconds: float | None,
    topics: Sequence[str] = (),
    max_mib: float = 1024.0,
    only: Kind | None = None,
) -> None:
    """Record the configuration's sources, or ``only`` those of one kind, and print what came.

    ``topics`` are MQTT topic filters that stand in for all sources.

    Raises:
        VskdError: The configuration, the broker or the file is not usable, or nothing came.
    """
    settings = config.load(config_path)
    logs.configure(settings.log)
    filters = tuple(topics) or tuple(dict.fromkeys(source.topic for source in settings.sources))
    devices = () if topics or only == "mqtt" else settings.bluetooth
    if only == "bluetooth":
        filters = ()
    if not filters and not devices:
        raise ConfigError(config_path, [f"nothing to record: it names no source of the kind {only}"])
    heard = ", ".join((*filters, *(f"Bluetooth device {device.device}" for device in devices)))
    header = Header(created=datetime.now(UTC), tool=f"vskd record {__version__}", gateway=settings.gateway)
    harvest = Harvest()
    recorder = Recorder(out, header)
    try:
        with recorder:
            endpoint = _endpoint(settings) if filters else None
            taking = _record(
                recorder,
                harvest,
                settings=settings,
                endpoint=endpoint,
                filters=filters,
                devices=devices,
                seconds=seconds,
                max_bytes=int(max_mib * 2**20),
            )
            asyncio.run(taking)
    except (BrokerError, ConfigError, OptionError):
        # Nothing came; an empty file would be in the way of the next attempt.
        if harvest.messages == 0:
            out.unlink()
        raise
    if harvest.messages == 0:
        out.unlink()
    sys.stdout.write(describe(harvest, out))
    if harvest.failure is not None:
        raise harvest.failure
    if harvest.messages == 0:
        raise RecordingError(out, f"nothing came in {harvest.seconds:.0f} s on {heard}; no file is left")


def _endpoint(settings: Settings) -> Endpoint:
    remote = settings.broker if isinstance(settings.broker, RemoteBroker) else None
    password = config.read_password(remote, environ=os.environ) if remote else None
    endpoint = endpoint_of(settings, password)
    # With the daemon's own id the broker would end the daemon's connection; two recorders are two clients.
    return replace(endpoint, client_id=f"{endpoint.client_id}-record-{os.getpid()}")


async def _record(
    recorder: Recorder,
    harvest: Harvest,
    *,
    settings: Settings,
    endpoint: Endpoint | None,
    filters: Sequence[str],
    devices: Sequence[BluetoothDevice],
    seconds: float | None,
    max_bytes: int,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    taker = Taker(
        recorder, harvest=harvest, stop=stop, max_bytes=max_bytes, max_devices=settings.limits.max_devices
    )
    began_s = loop.time()

    def begun() -> None:
        nonlocal began_s
        began_s = loop.time()
        if seconds is not None:
            loop.call_later(seconds, stop.set)

    try:
        async with asyncio.TaskGroup() as tasks:
            if endpoint is not None:
                reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)
                recording = mqtt.record(taker, endpoint=endpoint, filters=filters, reader=reader, begun=begun)
                tasks.create_task(recording)
            else:
                begun()
            if devices:
                # Who has no Bluetooth device does without D-Bus and a second of imports.
                from vskd_stream.tools.record import bluetooth

                _log.info("recording", bluetooth=[device.device for device in devices])
                tasks.create_task(bluetooth.record(taker, devices))
    except* VskdError as group:
        raise group.exceptions[0] from None
    finally:
        harvest.seconds = loop.time() - began_s


def describe(harvest: Harvest, out: Path) -> str:
    """What was got, a line or a few for people."""
    named = sorted(harvest.devices)
    names = ", ".join(named[:_NAMED_DEVICES])
    if len(named) > _NAMED_DEVICES:
        names += f" and {len(named) - _NAMED_DEVICES} more"
    devices = f"{len(named)} device{'' if len(named) == 1 else 's'}" + (f" ({names})" if named else "")
    messages = f"{harvest.messages} message{'' if harvest.messages == 1 else 's'}"
    lines = [f"{out}: {messages}, {harvest.bytes} bytes in {harvest.seconds:.1f} s, {devices}"]
    if harvest.undecoded:
        lines.append(f"recorded, but the daemon would refuse them: {_counts(harvest.undecoded)}")
    if harvest.left_out:
        lines.append(f"not recorded: {_counts(harvest.left_out)}")
    if harvest.connections > 1:
        lines.append(f"the broker was lost {harvest.connections - 1} time(s); what it sent then is missing")
    return "".join(f"{line}\n" for line in lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
