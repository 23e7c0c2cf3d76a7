"""Stream time → host time, by the lower envelope of the arrivals.

A batch can be late but never early, so the least delay that was seen lately is the best estimate of
where the device's clock stands against ours (as one-sided clock translation does in robotics).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from vskd_stream.samples import Epoch

ENVELOPE_S = 60.0
"""Arrivals of so many seconds count: at 100 ppm of drift the estimate lags by at most 6 ms."""
_BIN_S = 1.0
MAX_UTC_ERROR_S = 86_400.0
"""A device whose UTC is further from ours than a day does not know the time."""

ClockKind = Literal["utc", "host"]
"""Who says when a sample was taken: the device's own UTC, or the host by the batches' arrivals."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How stream time became UTC at some moment."""

    kind: ClockKind
    offset_s: float
    """UTC = stream time + this."""


class StreamClock:
    """One stream's offset to UTC, from the arrivals of its batches."""

    def __init__(self) -> None:
        self._kind: ClockKind = "host"
        self._bins: deque[tuple[int, float]] = deque()

    def read(self) -> ClockReading:
        """The offset now: 0 when the device knows UTC, or while nothing has arrived."""
        if self._kind == "utc" or not self._bins:
            return ClockReading(self._kind, 0.0)
        return ClockReading(self._kind, min(delay_s for _, delay_s in self._bins))

    def observe(self, newest_s: float, *, arrival_s: float, epoch: Epoch) -> None:
        """Take the stream time of a batch's newest sample and when the batch came, in UTC seconds."""
        delay_s = arrival_s - newest_s
        self._kind = "utc" if epoch == "utc" and abs(delay_s) <= MAX_UTC_ERROR_S else "host"
        number = int(arrival_s // _BIN_S)
        if self._bins and number < self._bins[-1][0]:
            # Our own clock was set back: the older arrivals tell nothing any more.
            self.reset()
        if self._bins and self._bins[-1][0] == number:
            self._bins[-1] = (number, min(self._bins[-1][1], delay_s))
        else:
            self._bins.append((number, delay_s))
        while self._bins[0][0] <= number - ENVELOPE_S / _BIN_S:
            self._bins.popleft()

    def reset(self) -> None:
        """Forget the arrivals: the device's clock, or ours, was set."""
        self._bins.clear()
