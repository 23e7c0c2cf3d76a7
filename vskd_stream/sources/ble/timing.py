"""Sample times on the stream's own line: counted where a device has none, kept apart where frames were lost.

A session makes a new one for every connection: nothing is counted over a break.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import MAX_RATE_HZ

STALL_S: Final = 0.5
"""Samples later than this are counted as lost with what came before them: no device holds back more."""
_WATCHED_S: Final = 0.4
"""A smaller delay must have lasted so long: bursts pass sooner, connection intervals are below 0.2 s."""
_LEAST_WATCHED: Final = 8
_CLOCK_SET_S: Final = 60.0
"""Later than this is our own clock, set forward: such a silence would have ended the connection."""
_ROUNDING_PERIODS: Final = 1e-3
_PACE_TOLERANCE: Final = 0.1
"""No oscillator of a sensor is further from its nominal rate."""
_SLOWER_RUN: Final = 8
"""So many frames at the same slower pace are a rate: that every other frame is lost happens in runs, too."""
_FASTER_RUN: Final = 3


class SampleCounter:
    """Times of samples that come without any: a count over the nominal rate, begun at the first arrival.

    Loss advances the count, else every later sample would be dated too early. Where the device numbers
    its packets the session says what was ``lost``; else it shows in arrivals that stay late, because a
    packet can be late but never early. A device that is slower than its nominal rate looks the same, and
    is served the same way: its times stay true.
    """

    def __init__(self, sampling_rate_hz: float, *, numbered: bool = False) -> None:
        """``numbered``: ``lost`` is always told, and arrivals tell nothing more."""
        self.sampling_rate_hz = sampling_rate_hz
        self.lost = 0
        """Samples that never came."""
        self._numbered = numbered
        self._origin_s = 0.0
        self._count = 0
        self._least_late_s = float("inf")
        self._late_s: deque[tuple[float, float]] = deque()
        """(arrival, lateness) of the last packets."""

    def take(self, count: int, *, arrival_s: float, lost: int = 0) -> NDArray[np.float64]:
        """Date ``count`` >= 1 samples, the last of which came at ``arrival_s``; ``lost`` went before them.

        Returns:
            (count,) seconds, strictly increasing from call to call.
        """
        if self._count == 0:
            self._origin_s = arrival_s - (count - 1) / self.sampling_rate_hz
        else:
            self._advance(lost)
        if not self._numbered:
            self._advance(self._inferred(count, arrival_s))
        numbers = np.arange(self._count, self._count + count)
        self._count += count
        return self._origin_s + numbers / self.sampling_rate_hz

    def _advance(self, lost: int) -> None:
        self._count += lost
        self.lost += lost
        if lost:
            lost_s = lost / self.sampling_rate_hz
            self._late_s = deque((arrival_s, late_s - lost_s) for arrival_s, late_s in self._late_s)

    def _inferred(self, count: int, arrival_s: float) -> int:
        """Samples that must have been lost, by how late the packet is against the least late one."""
        late_s = arrival_s - self._origin_s - (self._count + count - 1) / self.sampling_rate_hz
        was_set_back = bool(self._late_s) and arrival_s < self._late_s[-1][0]
        if was_set_back or late_s - self._least_late_s > _CLOCK_SET_S:
            self._late_s.clear()
            self._least_late_s = late_s
        self._least_late_s = min(self._least_late_s, late_s)
        self._late_s.append((arrival_s, late_s))
        while self._late_s[0][0] < arrival_s - _WATCHED_S:
            self._late_s.popleft()
        if late_s - self._least_late_s > STALL_S:
            excess_s = late_s - self._least_late_s
        elif len(self._late_s) >= _LEAST_WATCHED and arrival_s - self._late_s[0][0] > 0.9 * _WATCHED_S:
            excess_s = min(late_s for _, late_s in self._late_s) - self._least_late_s
        else:
            return 0
        # Whole periods only: rounding up would make the least delay too small, and feed on itself.
        return int(excess_s * self.sampling_rate_hz + _ROUNDING_PERIODS)


class FrameTimes:
    """Times of frames that carry the device's time of their last sample, and nothing else.

    Within a frame the samples lie evenly, at the device's own pace as long as that is about the nominal
    one. A longer step means that frames were lost: then the samples lie back from the frame's time at
    the nominal rate and the hole stays a hole, where dividing the step by the count would stretch them
    over it. Only a pace that persists is a device that has changed its rate.
    """

    def __init__(self, sampling_rate_hz: float) -> None:
        self.sampling_rate_hz = sampling_rate_hz
        """The nominal rate, or the one that the device has turned out to keep."""
        self._last_s: float | None = None
        self._spacing_s = 1.0 / sampling_rate_hz
        self._odd_s = 1.0
        self._odd_run = 0

    def take(self, last_s: float, count: int) -> NDArray[np.float64]:
        """Date the ``count`` >= 1 samples of a frame whose last one the device dates ``last_s``.

        Returns:
            (count,) seconds, strictly increasing within the frame.
        """
        step_s = 0.0 if self._last_s is None else last_s - self._last_s
        if step_s != 0.0 or self._last_s is None:
            # Not so a frame that comes twice: it keeps its times, and is recognised by them.
            self._spacing_s = self._spacing(step_s / count)
        self._last_s = last_s
        return np.asarray(last_s - np.arange(count - 1, -1, -1) * self._spacing_s, np.float64)

    def _spacing(self, measured_s: float) -> float:
        nominal_s = 1.0 / self.sampling_rate_hz
        if measured_s < 1.0 / MAX_RATE_HZ:
            # No device samples so fast: its clock stood still or was set, and tells no pace.
            self._odd_run = 0
            return nominal_s
        pace = measured_s / nominal_s
        if abs(pace - 1.0) <= _PACE_TOLERANCE:
            self._odd_run = 0
            return measured_s
        self._odd_run = self._odd_run + 1 if abs(measured_s / self._odd_s - 1.0) <= 0.05 else 1
        self._odd_s = measured_s
        # Loss makes a device look slow, now and then; nothing but another rate makes it look fast.
        if self._odd_run >= (_SLOWER_RUN if pace > 1.0 else _FASTER_RUN):
            self._odd_run = 0
            self.sampling_rate_hz = 1.0 / measured_s
        return measured_s if pace < 1.0 or self._odd_run == 0 else nominal_s
