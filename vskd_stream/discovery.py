"""Home Assistant's MQTT discovery: the messages that make a gateway and its devices appear there.

    <prefix>/device/vskd_<gateway>/config             the gateway
    <prefix>/device/vskd_<gateway>/<device>/config    a device

All of a gateway's entries lie under one level of their own: one filter hears them all, one line in a
broker's ACL allows them. They name topics that ``topics`` spells, and values that ``payloads`` writes.
Templates leave out what changes with every message, so that Home Assistant's database does not grow
with each of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from vskd_stream.manifest import NO_DATA, UNKNOWN, Manifest
from vskd_stream.payloads import Origin
from vskd_stream.publication import Publication
from vskd_stream.samples import IDENTIFIER
from vskd_stream.topics import event_topic, state_topic, status_topic

ORIGIN = "vskd-stream"
"""Who publishes the entries, as Home Assistant shows it."""

STATES = (UNKNOWN, NO_DATA)
"""What a device's state may say besides the model's labels; nobody knows then whether its wearer moves."""
EVENT_TYPES = ("start", "update", "end")

LEAST_EXPIRY_S = 60
_NODE = "vskd_"
_OBVIOUS = ("schema", "gateway", "device", "bundle")
_COUNTED = ("start_sample", "start_s", "at_sample", "at_s", "end_sample", "end_s", "since_sample", "since_s")
_FICKLE = ("published_utc", "latency_ms")
_ONLINE = "{{ 'online' if value_json.state == 'online' else 'offline' }}"
_IS_ONLINE = "{{ 'ON' if value_json.state == 'online' else 'OFF' }}"
_PERCENT = "{{ (value_json.confidence * 100) | round | int if value_json.confidence is number else 'None' }}"


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
    ) -> None:
        """``moving``: labels of the manifest under which a wearer moves; without any nobody is asked."""
        self.expire_after_s = expire_after_s(manifest.decision.update_every_s, no_data_after_s)
        """A state that has not been repeated for so long is nobody's word any more."""
        self._origin = origin
        self._gateway = origin.gateway
        self._labels = manifest.labels
        self._moving = [label for label in manifest.labels if label in moving]
        self._prefix = prefix

    def gateway(self) -> Publication:
        """The gateway, and whether it runs. That is its state, so it is never unavailable."""
        status = status_topic(self._gateway)
        config = {
            "device": {
                "identifiers": [_unique(self._gateway)],
                "name": f"vskd {_spoken(self._gateway)}",
                "manufacturer": ORIGIN,
                "model": "Gateway",
                "serial_number": self._gateway,
                "sw_version": self._origin.version,
            },
            "origin": self._about(),
            "components": {
                "connectivity": {
                    "platform": "binary_sensor",
                    "unique_id": _unique(self._gateway, "connectivity"),
                    "name": "Connectivity",
                    "device_class": "connectivity",
                    "entity_category": "diagnostic",
                    "state_topic": status,
                    "value_template": _IS_ONLINE,
                    "json_attributes_topic": status,
                    "json_attributes_template": _without("schema", "gateway"),
                }
            },
        }
        return _retained(_topic(self._prefix, self._gateway), config)

    def device(self, device: str) -> Publication:
        """A device and what its wearer does; unavailable while the gateway does not run.

        Raises:
            VskdError: The id cannot be part of a topic.
        """
        config = {
            "device": {
                "identifiers": [_unique(self._gateway, device)],
                "name": _spoken(device),
                "manufacturer": ORIGIN,
                "model": "Wearable",
                "serial_number": device,
                "via_device": _unique(self._gateway),
            },
            "origin": self._about(),
            "availability": [{"topic": status_topic(self._gateway), "value_template": _ONLINE}],
            "state_topic": state_topic(self._gateway, device),
            "components": {
                "activity": self._activity(device),
                "confidence": self._confidence(device),
                "moving": self._is_moving(device),
                "event": self._event(device),
            },
        }
        return _retained(_topic(self._prefix, self._gateway, device), config)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to, to hear what a broker keeps of this gateway: entries, states, status."""
        status = status_topic(self._gateway)
        return (_topic(self._prefix, self._gateway, "+"), f"{status.removesuffix('status')}+/state", status)

    def stale(self, topics: Iterable[str], *, known: Collection[str]) -> list[Publication]:
        """Removals of those entries of this gateway's devices that are of no known device."""
        entries = [(topic, parse(topic, prefix=self._prefix)) for topic in topics]
        return [
            removal(topic)
            for topic, entry in entries
            if entry is not None and entry.gateway == self._gateway
            if entry.device is not None and entry.device not in known
        ]

    def heard_from(self, retained: Mapping[str, bytes], *, since_s: float) -> set[str]:
        """Devices whose retained state was told at or after ``since_s`` (UTC seconds), or who knows when."""
        states = {topic: _state(payload) for topic, payload in retained.items() if topic.endswith("/state")}
        return {
            state.device
            for topic, state in states.items()
            if state is not None and topic == state_topic(self._gateway, state.device)
            if state.published_utc is None or state.published_utc.timestamp() >= since_s
        }

    def can_read(self, retained: Mapping[str, bytes]) -> bool:
        """Whether what a broker keeps can be read at all: the status is always among it while we run."""
        return status_topic(self._gateway) in retained

    def _about(self) -> dict[str, str]:
        return {"name": ORIGIN, "sw_version": self._origin.version}

    def _activity(self, device: str) -> dict[str, Any]:
        return {
            "platform": "sensor",
            "unique_id": _unique(self._gateway, device, "activity"),
            "name": "Activity",
            "icon": "mdi:walk",
            "device_class": "enum",
            "options": [*self._labels, *STATES],
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": state_topic(self._gateway, device),
            "json_attributes_template": _without(*_OBVIOUS, *_COUNTED, *_FICKLE, "label", "confidence"),
            "expire_after": self.expire_after_s,
        }

    def _confidence(self, device: str) -> dict[str, Any]:
        return {
            "platform": "sensor",
            "unique_id": _unique(self._gateway, device, "confidence"),
            "name": "Confidence",
            "icon": "mdi:gauge",
            "entity_category": "diagnostic",
            "state_class": "measurement",
            "unit_of_measurement": "%",
            "value_template": _PERCENT,
            "expire_after": self.expire_after_s,
        }

    def _is_moving(self, device: str) -> dict[str, Any]:
        if not self._moving:
            # A platform alone removes what an earlier configuration may have asked for.
            return {"platform": "binary_sensor"}
        # Jinja reads a list as Python writes it, and labels hold nothing that would need escaping.
        moving, nobody_knows = self._moving, list(STATES)
        return {
            "platform": "binary_sensor",
            "unique_id": _unique(self._gateway, device, "moving"),
            "name": "Moving",
            "device_class": "moving",
            "value_template": (
                f"{{{{ 'None' if value_json.label in {nobody_knows} "
                f"else 'ON' if value_json.label in {moving} else 'OFF' }}}}"
            ),
            "expire_after": self.expire_after_s,
        }

    def _event(self, device: str) -> dict[str, Any]:
        return {
            "platform": "event",
            "unique_id": _unique(self._gateway, device, "event"),
            "name": "Activity event",
            "icon": "mdi:swap-horizontal",
            "state_topic": event_topic(self._gateway, device),
            "event_types": list(EVENT_TYPES),
            "value_template": _without(*_OBVIOUS, *_COUNTED),
            "qos": 1,
        }


def expire_after_s(update_every_s: float, no_data_after_s: float) -> int:
    """Seconds for which a state stands: two repetitions may be missed, and the samples come in late.

    An activity that goes on is told again every ``update_every_s`` of stream time; a stream that
    is late by more than ``no_data_after_s`` is silence, which is told as well.
    """
    return max(LEAST_EXPIRY_S, math.ceil(3 * update_every_s + no_data_after_s))


def parse(topic: str, *, prefix: str) -> Entry | None:
    """Whose entry a retained topic is; None if it is not one of ours, of whichever gateway."""
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
        return msgspec.json.decode(payload, type=_Made).origin.name == ORIGIN
    except msgspec.DecodeError:
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
    published_utc: datetime | None


def _state(payload: bytes) -> _State | None:
    """Anyone may have written it: None if it is no state."""
    try:
        state = msgspec.json.decode(payload, type=_State)
    except msgspec.DecodeError:
        return None
    if IDENTIFIER.fullmatch(state.device) is None:
        return None
    if state.published_utc is not None and state.published_utc.tzinfo is None:
        state.published_utc = state.published_utc.replace(tzinfo=UTC)
    return state


def _retained(topic: str, config: dict[str, Any]) -> Publication:
    return Publication(topic, msgspec.json.encode(config), retain=True)


def _topic(prefix: str, gateway: str, *device: str) -> str:
    return "/".join((prefix, "device", f"{_NODE}{gateway}", *device, "config"))


def _unique(*parts: str) -> str:
    # No id holds a dot, so no two lists of ids make the same text.
    return ".".join(("vskd", *parts))


def _spoken(identifier: str) -> str:
    """An id as a person would write the name: ``left-wrist`` is "Left wrist"."""
    words = " ".join(identifier.replace("_", " ").replace("-", " ").split())
    return words[:1].upper() + words[1:] or identifier


def _without(*keys: str) -> str:
    """A template: the payload, but for these keys. What is added to payloads later comes through."""
    return f"{{{{ dict(value_json.items() | rejectattr(0, 'in', {list(keys)})) | to_json }}}}"
