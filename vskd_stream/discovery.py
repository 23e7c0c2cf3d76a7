"""Home Assistant's MQTT discovery: the messages that make a gateway and its devices appear there.

    <prefix>/device/vskd_<gateway>/config             the gateway
    <prefix>/device/vskd_<gateway>/<device>/config    a device

All of a gateway's entries lie under one level of their own: one filter hears them all, one line in a
broker's ACL allows them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from vskd_stream import entities
from vskd_stream.manifest import Manifest
from vskd_stream.payloads import Origin
from vskd_stream.publication import Publication
from vskd_stream.samples import IDENTIFIER
from vskd_stream.topics import device_status_topic, state_topic, status_topic

_NODE = "vskd_"
_UNREADABLE = (ValueError, RecursionError)
"""What msgspec raises of hostile JSON: also of text that is no UTF-8, and of what is nested too deeply."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the topic of a discovery message says."""

    gateway: str
    device: str | None
    """None: the gateway itself."""


class Discovery:
    """Makes a gateway's discovery messages, and knows which of those that a broker keeps are stale."""

    def __init__(
        self,
        *,
        origin: Origin,
        manifest: Manifest,
        no_data_after_s: float,
        moving: Collection[str],
        prefix: str,
        untold: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """``moving``: labels, fine or coarse, under which a wearer moves; none: then nobody is asked.

        ``untold``: of each device the labels that no event of it has.
        """
        self.expire_after_s = entities.expire_after_s(manifest.decision.update_every_s, no_data_after_s)
        """A state that has not been repeated for so long is nobody's word any more."""
        self._origin = origin
        self._gateway = origin.gateway
        self._manifest = manifest
        self._moving = frozenset(moving)
        self._untold = dict(untold or {})
        self._prefix = prefix

    def gateway(self) -> Publication:
        """The gateway's entry."""
        config = entities.GatewayEntities(self._origin).config()
        return _retained(_topic(self._prefix, self._gateway), config)

    def device(self, device: str) -> Publication:
        """A device's entry.

        Raises:
            VskdError: The id cannot be part of a topic.
        """
        one = entities.DeviceEntities(
            device,
            origin=self._origin,
            manifest=self._manifest,
            moving=self._moving,
            untold=self._untold.get(device, ()),
            expire_after_s=self.expire_after_s,
        )
        return _retained(_topic(self._prefix, self._gateway, device), one.config())

    def without(self, device: str) -> Publication:
        """Takes a device's entry away."""
        return removal(self.device(device).topic)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to, to hear what a broker keeps of this gateway: entries, states, statuses."""
        status = status_topic(self._gateway)
        ours = status.removesuffix("status")
        return (_topic(self._prefix, self._gateway, "+"), f"{ours}+/state", f"{ours}+/status", status)

    def stale(self, topics: Iterable[str], *, known: Collection[str]) -> list[Publication]:
        """Removals of those entries of this gateway's devices that are of no known device."""
        found = [(topic, parse(topic, prefix=self._prefix)) for topic in topics]
        return [
            removal(topic)
            for topic, entry in found
            if entry is not None and entry.gateway == self._gateway
            if entry.device is not None and entry.device not in known
        ]

    def heard_from(self, retained: Mapping[str, bytes], *, since_s: float) -> set[str]:
        """Devices of which the broker keeps that they were heard at or after ``since_s`` (UTC seconds).

        A state is of when it was told, a status says it; or who knows when.
        """
        found = [(topic, _heard(topic, payload)) for topic, payload in retained.items()]
        return {
            heard.device
            for topic, heard in found
            if heard is not None and topic in self._topics_of(heard.device)
            if heard.at_utc is None or heard.at_utc.timestamp() >= since_s
        }

    def can_read(self, retained: Mapping[str, bytes]) -> bool:
        """Whether what a broker keeps was read: it sends our status last, and keeps one while we run."""
        return status_topic(self._gateway) in retained

    def _topics_of(self, device: str) -> tuple[str, str]:
        return state_topic(self._gateway, device), device_status_topic(self._gateway, device)


def parse(topic: str, *, prefix: str) -> Entry | None:
    """Whose entry a retained topic is; None if it is not one of ours, of whichever gateway."""
    if not topic.startswith(f"{prefix}/"):
        return None
    match topic.removeprefix(f"{prefix}/").split("/"):
        case ["device", node, "config"] if node.startswith(_NODE):
            return Entry(node.removeprefix(_NODE), None)
        case ["device", node, device, "config"] if node.startswith(_NODE):
            return Entry(node.removeprefix(_NODE), device)
        case _:
            return None


def is_ours(payload: bytes) -> bool:
    """Whether an entry says that we made it: others may have names like ours."""
    try:
        return msgspec.json.decode(payload, type=_Made).origin.name == entities.MAKER
    except _UNREADABLE:
        return False


def filters(prefix: str) -> tuple[str, ...]:
    """What to subscribe to, to hear the entries of all gateways."""
    return (f"{prefix}/device/+/config", f"{prefix}/device/+/+/config")


def removal(topic: str) -> Publication:
    """Takes an entry away, and its entities with it."""
    return Publication(topic, b"", retain=True)


class _Origin(msgspec.Struct):
    name: str


class _Made(msgspec.Struct):
    origin: _Origin


class _State(msgspec.Struct):
    device: str
    at_utc: datetime | None = msgspec.field(name="published_utc")


class _Status(msgspec.Struct):
    device: str
    at_utc: datetime | None = msgspec.field(name="heard_utc")


def _heard(topic: str, payload: bytes) -> _State | _Status | None:
    """Anyone may have written it: None if it is neither state nor status of a device."""
    form: type[_State | _Status] = _State if topic.endswith("/state") else _Status
    try:
        heard = msgspec.json.decode(payload, type=form)
    except _UNREADABLE:
        return None
    if IDENTIFIER.fullmatch(heard.device) is None:
        return None
    if heard.at_utc is not None and heard.at_utc.tzinfo is None:
        heard.at_utc = heard.at_utc.replace(tzinfo=UTC)
    return heard


def _retained(topic: str, config: dict[str, Any]) -> Publication:
    return Publication(topic, msgspec.json.encode(config), retain=True)


def _topic(prefix: str, gateway: str, *device: str) -> str:
    return "/".join((prefix, "device", f"{_NODE}{gateway}", *device, "config"))
