"""Stream time → UTC, by a line under the arrivals: the most that a device's clock can be behind ours.

A batch can be late but never early, so no arrival lies under the true line, and the arrivals that
were hardly late lie on it. The line is the lower convex hull's edge over the middle of the last
minutes (Moon, Skelly and Towsley 1999; as one-sided clock translation does in robotics).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np

from vskd_stream.samples import Epoch

MAX_UTC_ERROR_S: Final = 86_400.0
"""A device whose UTC is further from ours than a day does not know the time."""
MAX_SKEW: Final = 200e-6
"""No quartz is further off; a steeper line is delay that grows, not drift."""
MAX_COUNTED_SKEW: Final = 0.1
"""Nor is a sensor's own oscillator, against its nominal rate."""
SPAN_S: Final = 600.0
"""The line rests on the last half of this, at least, once so much has come: a few ms of delay over it
are a few ppm, and temperature changes a quartz more slowly."""
COUNTED_SPAN_S: Final = 120.0
"""The same for samples that are counted: their oscillators wander more, by more than quartz."""
_LEAST_SPAN_S: Final = 10.0
"""Arrivals of a shorter time tell delays, not drift."""
_BIN_S: Final = 1.0
_SHIFT_S: Final = 0.05
"""Arrivals that lie under the line by more than this at once, or over it all the time, are a clock
that was set (by NTP, say), or another way through the network."""
_SHIFT_BINS: Final = 10
"""For so many seconds with arrivals: a crowded network is late for shorter."""
_RECONNECTED_S: Final = 2.0
"""A count that pauses for so long begins anew: its origin is the first arrival of a connection."""
_RESIDUALS: Final = 256

ClockKind = Literal["utc", "host"]
"""Who says when a sample was taken: the device's own UTC, or the host by the batches' arrivals."""


class ClockReading(msgspec.Struct, frozen=True):
    """How stream time became UTC at some moment."""

    kind: ClockKind
    offset_s: float
    """UTC = stream time + this, at ``at_s``."""
    at_s: float = 0.0
    """Stream time of the newest sample then."""
    skew: float = 0.0
    """By how much UTC runs faster than stream time: the offset's slope."""

    def utc_s(self, stream_s: float) -> float:
        """UTC of a moment of the stream, also of one long before ``at_s``."""
        return stream_s + self.offset_s + self.skew * (stream_s - self.at_s)


@dataclass(frozen=True, slots=True)
class ClockFit:
    """How well a stream's arrivals lie on a line."""

    residual_p95_s: float
    """19 of 20 of the last batches were late by less than this, against the promptest ones."""
    ppm: float | None
    """By how much the device's clock is slow (or fast, if negative); None until it can be told."""
    span_s: float
    """Stream time that the line rests on."""
    restarts: int
    """How often the arrivals shifted, or a clock was set, since the stream began."""


class StreamClock:
    """One stream's line, from the arrivals of its batches; amortised O(1) work a batch."""

    def __init__(self) -> None:
        self._kind: ClockKind = "host"
        self._skew = 0.0
        self._is_skew_known = False
        self._restarts = 0
        # A ring of numbers: as objects they would be four times as large.
        self._residuals = array("d")
        self._observed = 0
        self.reset()

    def reset(self) -> None:
        """Forget the arrivals: the device's clock, or ours, was set. How fast it runs stays known."""
        self._origin: tuple[float, float] | None = None
        self._newest_s = 0.0
        self._offset_s = 0.0
        self._floor_s = math.inf
        self._hull = _Hull()
        self._next_hull: _Hull | None = None
        self._bin_s = 0.0
        self._best: tuple[float, float] | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=_SHIFT_BINS)
        self._late_bins = 0

    @property
    def kind(self) -> ClockKind:
        """Who says when a sample was taken."""
        return self._kind

    def read(self) -> ClockReading:
        """The line now: offset 0 when the device knows UTC, or while nothing has arrived."""
        if self._kind == "utc" or self._origin is None:
            return ClockReading(self._kind, 0.0)
        return ClockReading(self._kind, self._offset_s, self._newest_s, self._skew)

    @property
    def fit(self) -> ClockFit | None:
        """How well the arrivals lie on the line; None while nothing has arrived."""
        if not self._residuals:
            return None
        nineteenth = math.ceil(0.95 * len(self._residuals)) - 1
        return ClockFit(
            residual_p95_s=float(np.partition(np.frombuffer(self._residuals), nineteenth)[nineteenth]),
            ppm=self._skew * 1e6 if self._is_skew_known else None,
            span_s=self._hull.span_s,
            restarts=self._restarts,
        )

    def observe(self, newest_s: float, *, arrival_s: float, epoch: Epoch, counted: bool = False) -> None:
        """Take the stream time of a batch's newest sample and when the batch came, in UTC seconds.

        Args:
            newest_s: Later than all before, since the last ``reset``.
            arrival_s: By our clock, which may be set at any time.
            epoch: Where the stream's time line starts.
            counted: Stream time is a count of samples over a nominal rate, which may be wrong by percents.
        """
        delay_s = arrival_s - newest_s
        self._kind = "utc" if epoch == "utc" and abs(delay_s) <= MAX_UTC_ERROR_S else "host"
        told_s = self._newest_s + self._offset_s if self._origin is not None else -math.inf
        self._place(newest_s, delay_s, counted=counted)
        assert self._origin is not None
        x, y = newest_s - self._origin[0], delay_s - self._origin[1]
        if self._best is not None and x - self._bin_s >= _BIN_S:
            self._close_bin(self._best, counted=counted)
            self._bin_s, self._best = x, None
        if self._best is None or y - self._best[1] <= self._skew * (x - self._best[0]):
            self._best = (x, y)
        self._floor_s = min(self._floor_s, y - self._skew * x)
        line_s = self._floor_s + self._skew * x
        if self._observed < _RESIDUALS:
            self._residuals.append(y - line_s)
        else:
            self._residuals[self._observed % _RESIDUALS] = y - line_s
        self._observed += 1
        # Nothing is dated before what came before it, unless our own clock was set back.
        self._offset_s = min(max(self._origin[1] + line_s, told_s - newest_s), delay_s)
        self._newest_s = newest_s

    def _place(self, newest_s: float, delay_s: float, *, counted: bool) -> None:
        """Begin the line here if there is none yet, or if this arrival cannot belong to it."""
        if self._origin is not None:
            step_s = newest_s - self._newest_s
            x, y = newest_s - self._origin[0], delay_s - self._origin[1]
            limit = MAX_COUNTED_SKEW if counted else MAX_SKEW
            sunk_s = self._floor_s + self._skew * x - y
            is_reconnected = counted and step_s > _RECONNECTED_S
            if step_s >= 0.0 and sunk_s <= _SHIFT_S + limit * step_s and not is_reconnected:
                return
            self.reset()
            self._restarts += 1
        self._origin = (newest_s, delay_s)
        self._floor_s = math.inf

    def _close_bin(self, best: tuple[float, float], *, counted: bool) -> None:
        """Take the promptest arrival of a second, and lay the line anew."""
        x, y = best
        self._recent.append(best)
        self._late_bins = self._late_bins + 1 if y - self._skew * x - self._floor_s > _SHIFT_S else 0
        if self._late_bins >= _SHIFT_BINS:
            self._rise()
        else:
            self._hull.add(x, y)
            if self._next_hull is not None:
                self._next_hull.add(x, y)
        # Two hulls that only grow, in place of one that forgets: the older one gives way in time.
        half_s = (COUNTED_SPAN_S if counted else SPAN_S) / 2
        if self._next_hull is None and self._hull.span_s >= half_s:
            self._next_hull = _Hull()
        elif self._next_hull is not None and self._next_hull.span_s >= half_s:
            self._hull, self._next_hull = self._next_hull, _Hull()
        if self._hull.span_s >= _LEAST_SPAN_S:
            limit = MAX_COUNTED_SKEW if counted else MAX_SKEW
            self._skew = min(max(self._hull.slope(), -limit), limit)
            self._is_skew_known = True
        self._floor_s = self._hull.floor(self._skew)

    def _rise(self) -> None:
        """All lately was late by so much that the line must lie higher: only the last arrivals count."""
        self._restarts += 1
        self._late_bins = 0
        self._hull, self._next_hull = _Hull(), None
        for x, y in self._recent:
            self._hull.add(x, y)


class _Hull:
    """Lower convex hull of points whose x increases."""

    def __init__(self) -> None:
        self._x: list[float] = []
        self._y: list[float] = []
        self._first_x = 0.0
        self._sum_x = 0.0
        self._count = 0

    @property
    def span_s(self) -> float:
        return self._x[-1] - self._x[0] if self._x else 0.0

    def add(self, x: float, y: float) -> None:
        xs, ys = self._x, self._y
        while len(xs) > 1 and (ys[-1] - ys[-2]) * (x - xs[-1]) >= (y - ys[-1]) * (xs[-1] - xs[-2]):
            xs.pop()
            ys.pop()
        xs.append(x)
        ys.append(y)
        self._sum_x += x
        self._count += 1

    def slope(self) -> float:
        """Slope of the line under all points that is closest to them: the edge over their mean x."""
        i = min(max(bisect_left(self._x, self._sum_x / self._count), 1), len(self._x) - 1)
        return (self._y[i] - self._y[i - 1]) / (self._x[i] - self._x[i - 1])

    def floor(self, slope: float) -> float:
        """Height at x = 0 of the highest line of that slope under all points."""
        return min([y - slope * x for x, y in zip(self._x, self._y, strict=True)])
