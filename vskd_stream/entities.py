"""What a gateway and a device look like in Home Assistant: device, origin and components, as it wants them.

They name topics that ``topics`` spells, and read what ``payloads`` writes. Templates leave out what
changes with every message, so that Home Assistant's database does not grow with each of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, get_args

from vskd_stream.events import EventType
from vskd_stream.health import GRADES
from vskd_stream.manifest import STATES, Manifest
from vskd_stream.payloads import DeviceState, GatewayState, Origin
from vskd_stream.topics import device_status_topic, event_topic, health_topic, state_topic, status_topic

MAKER = "vskd-stream"
LEAST_EXPIRY_S = 60

Component = dict[str, Any]

_OBVIOUS = ("schema", "gateway", "device", "bundle")
_COUNTED = ("start_sample", "start_s", "at_sample", "at_s", "end_sample", "end_s", "since_sample", "since_s")
_FICKLE = ("published_utc", "latency_ms")
# A clock that is estimated from arrivals makes it differ by milliseconds from message to message.
_SINCE = ", since_utc=value_json.since_utc[:19] ~ 'Z' if value_json.since_utc else none"
_CONNECTED = "{{ 'ON' if value_json.state == 'online' else 'OFF' }}"
_WHILE_ONLINE = "{{ 'online' if value_json.state == 'online' else 'offline' }}"
_UNLESS_OFFLINE = "{{ 'offline' if value_json.state == 'offline' else 'online' }}"
_PERCENT = "{{ (value_json.confidence * 100) | round | int if value_json.confidence is number else 'None' }}"


def expire_after_s(update_every_s: float, no_data_after_s: float) -> int:
    """Seconds for which a state stands: two repetitions may be missed, and the samples come in late.

    An activity that goes on is told again every ``update_every_s`` of stream time; a stream that
    is late by more than ``no_data_after_s`` is silence, which is told as well.
    """
    return max(LEAST_EXPIRY_S, math.ceil(3 * update_every_s + no_data_after_s))


class GatewayEntities:
    """Whether a gateway runs. That is its state, so it is never unavailable."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._name = origin.gateway

    def config(self) -> dict[str, Any]:
        """The whole of its discovery message."""
        topic = status_topic(self._name)
        return {
            "device": {
                "identifiers": [unique(self._name)],
                "name": f"vskd {spoken(self._name)}",
                "manufacturer": MAKER,
                "model": "Gateway",
                "serial_number": self._name,
                "sw_version": self._origin.version,
            },
            "origin": about(self._origin),
            "state_topic": topic,
            "components": {
                "connectivity": {
                    "platform": "binary_sensor",
                    "unique_id": unique(self._name, "connectivity"),
                    "name": "Connectivity",
                    "entity_category": "diagnostic",
                    "device_class": "connectivity",
                    "value_template": _CONNECTED,
                },
                # Home Assistant takes no attribute of the name "state", so this is a sensor of its own.
                "status": {
                    "platform": "sensor",
                    "unique_id": unique(self._name, "status"),
                    "name": "Status",
                    "entity_category": "diagnostic",
                    "icon": "mdi:router-wireless",
                    "device_class": "enum",
                    "options": list(get_args(GatewayState)),
                    "value_template": "{{ value_json.state }}",
                    "json_attributes_topic": topic,
                    "json_attributes_template": _without("schema", "gateway", "state"),
                },
            },
        }


class DeviceEntities:
    """What a device's wearer does, and how well that is known.

    Unavailable while the gateway does not run, or the device has been silent for long.
    """

    def __init__(
        self,
        device: str,
        *,
        origin: Origin,
        manifest: Manifest,
        moving: Collection[str],
        expire_after_s: int,
        untold: Collection[str] = (),
    ) -> None:
        """Nobody waits for the labels that are ``untold``: what is never told is no option."""
        self._device = device
        self._origin = origin
        self._manifest = manifest
        self._labels = [label for label in manifest.labels if label not in untold]
        self._moving = moving
        self._expire_after_s = expire_after_s
        self._gateway = gateway = origin.gateway
        self._status_topic = device_status_topic(gateway, device)
        self._health_topic = health_topic(gateway, device)
        self._while_online = {"topic": status_topic(gateway), "value_template": _WHILE_ONLINE}

    def config(self) -> dict[str, Any]:
        """The whole of its discovery message."""
        return {
            "device": {
                "identifiers": [unique(self._gateway, self._device)],
                "name": spoken(self._device),
                "manufacturer": MAKER,
                "model": "Wearable",
                "serial_number": self._device,
                "via_device": unique(self._gateway),
            },
            "origin": about(self._origin),
            "availability": [
                self._while_online,
                {"topic": self._status_topic, "value_template": _UNLESS_OFFLINE},
            ],
            "availability_mode": "all",
            "state_topic": state_topic(self._gateway, self._device),
            "components": {
                "activity": self._activity(),
                "coarse_activity": self._coarse_activity(),
                "confidence": self._confidence(),
                "moving": self._is_moving(),
                "event": self._event(),
                "status": self._status(),
                "quality": self._quality(),
                "loss": self._measure("loss", "Data loss", key="loss_pct", unit="%"),
                "rate": self._measure("rate", "Sampling rate", key="rate_hz", unit="Hz"),
            },
        }

    def _entity(self, part: str, platform: str, name: str) -> Component:
        return {"platform": platform, "unique_id": unique(self._gateway, self._device, part), "name": name}

    def _diagnosis(self, part: str, name: str) -> Component:
        return {**self._entity(part, "sensor", name), "entity_category": "diagnostic"}

    def _activity(self) -> Component:
        return {
            **self._entity("activity", "sensor", "Activity"),
            "icon": "mdi:walk",
            "device_class": "enum",
            "options": [*self._labels, *STATES],
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": state_topic(self._gateway, self._device),
            "json_attributes_template": _without(
                *(*_OBVIOUS, *_COUNTED, *_FICKLE, "label", "coarse_label", "confidence"), instead=_SINCE
            ),
            "expire_after": self._expire_after_s,
        }

    def _coarse_activity(self) -> Component:
        coarse = self._manifest.decision.coarse
        if not coarse:
            return _no_longer("sensor")
        options = dict.fromkeys(coarse.get(label, label) for label in self._labels)
        return {
            **self._entity("coarse_activity", "sensor", "Coarse activity"),
            "icon": "mdi:walk",
            "device_class": "enum",
            "options": [*options, *STATES],
            "value_template": "{{ value_json.coarse_label }}",
            "expire_after": self._expire_after_s,
        }

    def _confidence(self) -> Component:
        return {
            **self._diagnosis("confidence", "Confidence"),
            "icon": "mdi:gauge",
            "state_class": "measurement",
            "unit_of_measurement": "%",
            "value_template": _PERCENT,
            "expire_after": self._expire_after_s,
        }

    def _is_moving(self) -> Component:
        coarse, wanted = self._manifest.decision.coarse, set(self._moving)
        moving = [label for label in self._labels if {label, coarse.get(label)} & wanted]
        if not moving:
            return _no_longer("binary_sensor")
        # Jinja reads a list as Python writes it, and labels hold nothing that would need escaping.
        return {
            **self._entity("moving", "binary_sensor", "Moving"),
            "device_class": "moving",
            "value_template": (
                f"{{{{ 'None' if value_json.label in {list(STATES)} "
                f"else 'ON' if value_json.label in {moving} else 'OFF' }}}}"
            ),
            "expire_after": self._expire_after_s,
        }

    def _event(self) -> Component:
        return {
            **self._entity("event", "event", "Activity event"),
            "icon": "mdi:swap-horizontal",
            "state_topic": event_topic(self._gateway, self._device),
            "event_types": list(get_args(EventType)),
            "value_template": _without(*_OBVIOUS, *_COUNTED),
            "qos": 1,
        }

    def _status(self) -> Component:
        return {
            **self._diagnosis("status", "Status"),
            "icon": "mdi:watch",
            # That a device is off is no reason not to say so.
            "availability": [self._while_online],
            "device_class": "enum",
            "options": list(get_args(DeviceState)),
            "state_topic": self._status_topic,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": self._status_topic,
            "json_attributes_template": _without(*_OBVIOUS, *_FICKLE, "state"),
        }

    def _quality(self) -> Component:
        return {
            **self._diagnosis("quality", "Data quality"),
            "icon": "mdi:signal",
            "device_class": "enum",
            "options": list(GRADES),
            "state_topic": self._health_topic,
            "value_template": "{{ value_json.quality }}",
            "json_attributes_topic": self._health_topic,
            "json_attributes_template": "{{ {'reasons': value_json.reasons} | to_json }}",
        }

    def _measure(self, part: str, name: str, *, key: str, unit: str) -> Component:
        return {
            **self._diagnosis(part, name),
            "state_class": "measurement",
            "unit_of_measurement": unit,
            "state_topic": self._health_topic,
            "value_template": f"{{{{ value_json.{key} if value_json.{key} is number else 'None' }}}}",
        }


def about(origin: Origin) -> dict[str, str]:
    """Who publishes an entry."""
    return {"name": MAKER, "sw_version": origin.version}


def unique(*parts: str) -> str:
    """An identity that Home Assistant keeps for ever."""
    # No id holds a dot, so no two lists of ids make the same text.
    return ".".join(("vskd", *parts))


def spoken(identifier: str) -> str:
    """An id as a person would write the name: ``left-wrist`` is "Left wrist"."""
    words = " ".join(identifier.replace("_", " ").replace("-", " ").split())
    return words[:1].upper() + words[1:] or identifier


def _no_longer(platform: str) -> Component:
    """A platform alone takes away what an earlier model or configuration may have had."""
    return {"platform": platform}


def _without(*keys: str, instead: str = "") -> str:
    """A template: the payload, but for these keys. What is added to payloads later comes through."""
    return f"{{{{ dict(value_json.items() | rejectattr(0, 'in', {list(keys)}){instead}) | to_json }}}}"
