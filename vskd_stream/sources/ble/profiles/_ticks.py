"""Counters that devices send, sequence numbers and ticks: unwrapped, and told from garbage by their arrivals.

A packet can be late but never early: a counter that runs ahead of the arrivals is no counter.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import refusal

AHEAD_S: Final = 5.0
"""By so much may a counter run ahead from one packet to the next: what a link held back comes in a burst."""
_RESTART_RUN: Final = 3
"""So many refused packets in a row are a counter that was set anew; garbage comes singly."""
_ABSOLUTE_SPAN_S: Final = 86_400.0
_HEAD_START_S: Final = 60.0
"""Tick 0 is at this time: samples that lie back from a device's first tick must not lie before 0."""
_PACE_RANGE: Final = (0.5, 2.0)


class WrappedCounter:
    """A counter of few bits that runs at a known pace → how far it has moved from packet to packet."""

    def __init__(self, *, bits: int, pace_hz: float) -> None:
        self._span = 1 << bits
        self._pace_hz = pace_hz
        self._last: tuple[int, float] | None = None
        self._refused = 0

    def step(self, raw: int, *, arrival_s: float) -> int:
        """How far the counter has moved since the last packet; 0 for the first one, and for a repetition.

        A wrap is seen as long as the packets tell of it: in a longer silence, their arrivals do. A counter
        that was set anew has moved by what the arrivals say.

        Raises:
            DecodeError: "bad_time": it has moved by more than time has; the packet leaves no trace.
        """
        if self._last is None:
            self._last = (raw, arrival_s)
            return 0
        last, last_arrival_s = self._last
        expected = max(arrival_s - last_arrival_s, 0.0) * self._pace_hz
        step = (raw - last) % self._span
        if expected - step > AHEAD_S * self._pace_hz:
            step += max(0, round((expected - step) / self._span)) * self._span
        if step - expected > max(AHEAD_S * self._pace_hz, 2.0):
            self._refused += 1
            if self._refused < _RESTART_RUN:
                raise refusal(
                    "bad_time",
                    f"the packet's counter is {step} ahead of the last one's, {expected:.0f} were due",
                )
            step = max(round(expected), 1)
        self._refused = 0
        self._last = (raw, arrival_s)
        return step


class TickClock:
    """A device's ticks → seconds on its own line.

    Ticks that wrap within a day begin at the first arrival, so that the next connection goes on later
    than the last one ended; others keep their own beginning, which is the same for every connection.
    """

    def __init__(self, *, bits: int, rate_hz: float) -> None:
        self._counter = WrappedCounter(bits=bits, pace_hz=rate_hz)
        self._rate_hz = rate_hz
        self._wraps_soon = (1 << bits) / rate_hz < _ABSOLUTE_SPAN_S
        self._ticks: int | None = None
        self._origin_s = _HEAD_START_S

    def seconds(self, raw: int, *, arrival_s: float) -> float:
        """Date a tick.

        Raises:
            DecodeError: "bad_time", as ``WrappedCounter.step`` has it.
        """
        step = self._counter.step(raw, arrival_s=arrival_s)
        if self._ticks is None:
            self._ticks = raw
            if self._wraps_soon:
                self._origin_s = arrival_s - raw / self._rate_hz
        self._ticks += step
        return self._origin_s + self._ticks / self._rate_hz


class NumberedTimes:
    """Times of packets that carry a number and the time of their last sample.

    Their number tells loss from a pace that is not quite the nominal one: between neighbours the samples
    lie evenly, after a loss they lie back from the packet's time at the nominal rate.
    """

    def __init__(self, sampling_rate_hz: float) -> None:
        self._nominal_s = 1.0 / sampling_rate_hz
        self._last_s: float | None = None

    def take(self, last_s: float, count: int, *, lost: int) -> NDArray[np.float64]:
        """Date the ``count`` >= 1 samples of a packet; (count,) seconds, strictly increasing."""
        spacing_s = self._nominal_s
        step_s = 0.0 if self._last_s is None else last_s - self._last_s
        least, most = (factor * self._nominal_s * count for factor in _PACE_RANGE)
        if lost == 0 and least <= step_s <= most:
            spacing_s = step_s / count
        elif 0.0 < step_s < count * spacing_s:
            # Never before what is dated already.
            spacing_s = step_s / (count + 1)
        self._last_s = last_s
        return np.asarray(last_s - np.arange(count - 1, -1, -1) * spacing_s, np.float64)
