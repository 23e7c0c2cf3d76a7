"""Sample times on the stream's own line: counted where a device has none, kept apart where frames were lost.

A session makes a new one for every connection: nothing is counted over a break.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import MAX_RATE_HZ
from vskd_stream.sources.ble.lateness import STALL_S, Lateness

_SAME_EVENT_S: Final = 4e-3
"""Closer together than two connection events: a burst, whose last packet alone tells what was lost."""
_PACE_TOLERANCE: Final = 0.1
"""No oscillator of a sensor is further from its nominal rate."""
_SLOWER_RUN: Final = 8
"""So many frames at the same slower pace are a rate: that every other frame is lost happens in runs, too."""
_FASTER_RUN: Final = 3


class SampleCounter:
    """Times of samples that come without any: a count over the nominal rate, begun at the first arrival.

    Loss advances the count, else every later sample would be dated too early. Where the device numbers
    its packets the session says what was ``lost``; else ``lateness`` weighs what the arrivals tell, and a
    burst that follows a loss is dated right. A device that is slower than its nominal rate looks like
    one that loses, and is served the same way: its times stay true.
    """

    def __init__(self, sampling_rate_hz: float, *, numbered: bool = False) -> None:
        """``numbered``: ``lost`` is always told, and arrivals tell nothing more."""
        self.sampling_rate_hz = sampling_rate_hz
        self.lost = 0
        """Samples that never came."""
        self._numbered = numbered
        self._origin_s = 0.0
        self._count = 0.0
        self._ahead = 0.0
        """What the count is too large by, for losses that were none: a sample takes half a period back."""
        self._in_packet = 0
        self._lateness: Lateness | None = None
        self._last: tuple[float, float] | None = None
        """(arrival, lateness) of the packet before."""

    def take(self, count: int, *, arrival_s: float, lost: int = 0) -> NDArray[np.float64]:
        """Date ``count`` >= 1 samples, the last of which came at ``arrival_s``; ``lost`` went before them.

        Returns:
            (count,) seconds, strictly increasing from call to call.
        """
        if self._last is None:
            self._origin_s = arrival_s - (count - 1) / self.sampling_rate_hz
        elif self._numbered:
            self._advance(lost)
        elif arrival_s - self._last[0] > min(_SAME_EVENT_S, 0.5 / self.sampling_rate_hz):
            is_stall = arrival_s - self._last[0] > STALL_S
            self._advance(self._inferred(*self._last))
            if is_stall:
                self._advance(self._inferred(arrival_s, self._late_s(count, arrival_s)))
        steps = np.ones(count)
        steps[: math.ceil(2.0 * self._ahead)] = 0.5
        numbers = self._count + np.concatenate(([0.0], np.cumsum(steps[:-1])))
        self._count = float(numbers[-1] + steps[-1])
        self._ahead -= float((1.0 - steps).sum())
        self._last = arrival_s, self._late_s(0, arrival_s)
        self._measure(count)
        return np.asarray(self._origin_s + numbers / self.sampling_rate_hz, np.float64)

    def _advance(self, lost: int) -> None:
        """Leave out ``lost`` samples; or, if negative, take back what was left out."""
        self.lost += lost
        repaid = min(self._ahead, float(max(lost, 0)))
        self._ahead += max(-lost, 0) - repaid
        self._count += max(lost, 0) - repaid

    def _late_s(self, more: int, arrival_s: float) -> float:
        """How late the last sample that is dated is, or the one that is ``more`` further, if it came now."""
        number = self._count - self._ahead + more - 1.0
        return arrival_s - self._origin_s - number / self.sampling_rate_hz

    def _inferred(self, arrival_s: float, late_s: float) -> int:
        """Samples that must have been lost before the last packet of a burst, by how late it was."""
        assert self._lateness is not None
        return self._in_packet * self._lateness.behind(late_s, arrival_s=arrival_s)

    def _measure(self, count: int) -> None:
        """Learn how many samples a packet has, at least: so many at once are lost."""
        in_packet = math.gcd(self._in_packet, count)
        if in_packet != self._in_packet:
            self._in_packet = in_packet
            self._lateness = Lateness(in_packet / self.sampling_rate_hz)


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
