"""InfiniTime (PineTime): 10 Hz, and only what has changed.

Format: doc/MotionService.md of the firmware. There is no time, no number and no setting; the watch
looks at its sensor every 100 ms and notifies if a value is another one than before. The axes are those
of its screen (raising the wrist wakes it where y and z are negative): y points down, z into the watch.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from vskd_stream.decode.limits import make_samples, refusal
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import (
    Advertisement,
    Agreed,
    Link,
    Options,
    Traits,
    parse_agreed,
    parse_options,
)

SERVICE: Final = "00030000-78fc-48fe-8e23-433b3a1942d0"
MOTION: Final = "00030002-78fc-48fe-8e23-433b3a1942d0"
RATE_HZ: Final = 10.0
UNITS_PER_G: Final = 1024.0
MAX_HELD_S: Final = 5.0
"""A value is taken to have lasted no longer than this: the link is asked every second."""

_XYZ: Final = struct.Struct("<3h")
_ANDROID_AXES: Final = np.array([1.0, -1.0, -1.0])


class _Options(Options):
    """None."""


class InfiniTimeSession:
    """One connection; the last value holds until the next one, on a grid of 100 ms from the first arrival."""

    notify = (MOTION,)
    traits = Traits(
        RATE_HZ,
        2.0,
        "arrival",
        note="10 Hz without times, unchanged values left out: too slow for models of finer rates; the axes' "
        "signs are concluded from the firmware, and were never measured",
        silence_s=1.0,
        poll=MOTION,
    )

    def __init__(self, device: str) -> None:
        self._device = device
        self.agreed = Agreed()
        self._start_s = 0.0
        self._arrival_s = 0.0
        self._elapsed_s = 0.0
        self._last: tuple[int, bytes] | None = None

    async def start(self, link: Link) -> None:
        """Nothing to do: subscribing is enough."""

    def resume(self, agreed: bytes) -> None:
        """Nothing was agreed on: decoding depends on the options alone."""
        parse_agreed(Agreed, agreed)

    async def stop(self, link: Link) -> None:
        """Nothing to do: the subscription ends with the connection."""

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a value, and repeat the last one up to it."""
        del uuid
        if len(data) != _XYZ.size:
            raise refusal("malformed", f"a motion value has {_XYZ.size} bytes, not {len(data)}")
        if self._last is None:
            self._start_s = self._arrival_s = arrival_s
            place, values = 0, [data]
        else:
            # Our own clock may be set back: the stream's goes on.
            self._elapsed_s += max(0.0, arrival_s - self._arrival_s)
            self._arrival_s = arrival_s
            place, (last_place, held) = round(self._elapsed_s * RATE_HZ), self._last
            if data == held and place <= last_place:
                # Read and notified.
                return []
            place = max(place, last_place + 1)
            missed = place - last_place - 1
            values = [*([held] * missed if missed <= MAX_HELD_S * RATE_HZ else []), data]
        self._last = (place, data)
        places = np.arange(place - len(values) + 1, place + 1)
        return [
            make_samples(
                device=self._device,
                t_s=self._start_s + places / RATE_HZ,
                acc_g=np.array([_XYZ.unpack(value) for value in values]) * _ANDROID_AXES / UNITS_PER_G,
                sampling_rate_hz=RATE_HZ,
                epoch="device",
            )
        ]


@dataclass(frozen=True, slots=True)
class InfiniTimeProfile:
    """Watches with the InfiniTime firmware."""

    name: str = "infinitime"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name: the motion service is not advertised."""
        return advertisement.name == "InfiniTime"

    def session(self, device: str, options: Mapping[str, object]) -> InfiniTimeSession:
        """Prepare a connection."""
        parse_options(_Options, device, options)
        return InfiniTimeSession(device)


PROFILE: Final = InfiniTimeProfile()
