"""Which devices send, and how well: status and health of each, told when they change.

None of it waits for a broker that is away: by then it would be old. A broker that comes back is told
what holds then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from vskd_stream import payloads, topics
from vskd_stream.devices import Devices
from vskd_stream.health import GRADES, MATURE_S, Health, HealthMonitor
from vskd_stream.payloads import DeviceState, Origin
from vskd_stream.publication import Publication

OFFLINE_AFTER_S = 600.0
"""Silence may be a door that was walked through; after so long, and ten times ``no_data_after_s``, a
device is taken to be off."""

_LOOK_EVERY_S = 5.0
_LOOKS_AT_ONCE, _TURNS = 50, 8
"""So many devices' health is looked at in a turn, or an eighth of them all: a fleet that began to speak at
once is not looked at all at once for ever, while everyone's windows wait."""
_REPEAT_AFTER_S = 60.0
_LOOKS = 3
"""A grade is the worst of so many looks: it falls at once and recovers after 15 s, and does not flap."""
_AT_ONCE = 50
"""Devices of which a broker that has come back is told in one look."""


@dataclass(slots=True)
class _Told:
    status: Publication | None = None
    status_facts: tuple[DeviceState, bool] | None = None
    health: Publication | None = None
    quality: tuple[str, tuple[str, ...]] | None = None
    health_at_s: float = 0.0
    looked_at_s: float = 0.0
    looks: deque[Health] = field(default_factory=lambda: deque(maxlen=_LOOKS))


class Vitals:
    """Looks after all devices; ``look`` is to be called about twice a second."""

    def __init__(
        self,
        devices: Devices,
        *,
        origin: Origin,
        no_data_after_s: float,
        publish: Callable[[Publication], None],
    ) -> None:
        """``publish`` sends now or not at all."""
        self._devices = devices
        self._origin = origin
        self._no_data_after_s = no_data_after_s
        self._publish = publish
        self._told: dict[str, _Told] = {}
        self._due: dict[str, None] = {}

    def follow(self, *, origin: Origin, no_data_after_s: float, silent: Collection[str]) -> None:
        """Look by another configuration from now on; what was told of ``silent`` devices is not repeated."""
        self._origin, self._no_data_after_s = origin, no_data_after_s
        for device in silent:
            self._told.pop(device, None)
            self._due.pop(device, None)

    def look(self, now_s: float) -> None:
        """Tell what has changed until ``now_s`` (UTC seconds), after ``Devices.tick`` of the same time."""
        room = max(_LOOKS_AT_ONCE, len(self._told) // _TURNS)
        for device, monitor in self._devices.monitors():
            if (told := self._told.get(device)) is None:
                told = self._told[device] = _Told()
            self._look_at_status(device, monitor, told, now_s)
            # Our clock may have been set back since.
            if room and not 0.0 <= now_s - told.looked_at_s < _LOOK_EVERY_S:
                room -= 1
                told.looked_at_s = now_s
                self._look_at_health(device, told, now_s)
        for device in list(self._due)[:_AT_ONCE]:
            del self._due[device]
            for publication in (self._told[device].status, self._told[device].health):
                if publication is not None:
                    self._publish(publication)

    def tell_all(self) -> None:
        """Tell everything again, at the next looks: who listens may have forgotten it."""
        self._due = dict.fromkeys(self._told)

    def farewell(self, now_s: float) -> None:
        """Nobody looks after the devices any more."""
        for device, monitor in self._devices.monitors():
            self._publish(self._status(device, "offline", monitor, now_s))

    def status(self, device: str, now_s: float) -> Publication | None:
        """Whether a device sends, as of ``now_s`` (UTC seconds); None of one that is not to be told of."""
        monitor = self._devices.monitor(device)
        if monitor is None:
            return None
        return self._status(device, self._state(monitor, now_s), monitor, now_s)

    def listed(self, now_s: float) -> list[dict[str, Any]]:
        """All devices, for people and programs that ask."""
        return [
            payloads.listed_device(
                device,
                self._state(monitor, now_s),
                is_paused=self._devices.is_paused(device),
                heard_utc_s=monitor.heard_s,
                measured=_mature(self._devices.health(device, now_s)),
            )
            for device, monitor in self._devices.monitors()
        ]

    def _look_at_status(self, device: str, monitor: HealthMonitor, told: _Told, now_s: float) -> None:
        state = self._state(monitor, now_s)
        facts = (state, self._devices.is_paused(device))
        if facts != told.status_facts:
            told.status_facts = facts
            told.status = self._status(device, state, monitor, now_s)
            self._publish(told.status)

    def _look_at_health(self, device: str, told: _Told, now_s: float) -> None:
        measured = _mature(self._devices.health(device, now_s))
        if measured is None:
            return
        told.looks.append(measured)
        worst = max(told.looks, key=lambda look: GRADES.index(look.grade))
        quality = (worst.grade, worst.reasons)
        is_news = told.quality is None or told.quality[0] != quality[0]
        if is_news or not 0.0 <= now_s - told.health_at_s < _REPEAT_AFTER_S:
            told.quality, told.health_at_s = quality, now_s
            shown = replace(measured, grade=worst.grade, reasons=worst.reasons)
            told.health = topics.health(device, shown, origin=self._origin, published_utc_s=now_s)
            self._publish(told.health)

    def _state(self, monitor: HealthMonitor, now_s: float) -> DeviceState:
        if monitor.heard_s is None:
            return "offline"
        silent_s = now_s - monitor.heard_s
        if silent_s < self._no_data_after_s:
            return "online"
        return "silent" if silent_s < max(OFFLINE_AFTER_S, 10 * self._no_data_after_s) else "offline"

    def _status(self, device: str, state: DeviceState, monitor: HealthMonitor, now_s: float) -> Publication:
        return topics.device_status(
            device,
            state,
            is_paused=self._devices.is_paused(device),
            heard_utc_s=monitor.heard_s,
            origin=self._origin,
            published_utc_s=now_s,
        )


def _mature(measured: Health | None) -> Health | None:
    """None while a grade would be a guess."""
    if measured is None:
        return None
    told_at_once = {"no_data", "rate_too_low"}
    is_clear = measured.measured_s >= MATURE_S or not told_at_once.isdisjoint(measured.reasons)
    return measured if is_clear else None
