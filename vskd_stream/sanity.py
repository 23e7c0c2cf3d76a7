"""Samples → whether they can be what they claim to be: rate, gravity at rest, and axes off their rails.

Judged once a second of stream time, so the verdicts are the same however the stream is cut. A verdict
rests on seconds that agree, and lasts until as many say otherwise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _sanity

STILL_SHARE: Final = 0.05
"""Still: over a second, no axis deviates by more than this part of |a|, whatever the unit is; a wrist
that rests deviates by about 0.01 g, one that does anything by more than 0.1 g."""
STILL_G: Final = 0.02
"""Or by less than this: where gravity was left out |a| at rest is noise, and noise is all of its part."""
REST_G: Final = (0.9, 1.1)
"""|a| at rest: what cheap sensors are off by, bias and scale together, and still less than any wrong unit."""
REST_MARGIN_G: Final = 0.01
"""So far inside it must come back: no verdict swings on a bias that is just at the limit."""
STILL_SECONDS: Final = 5
"""Still seconds that speak for a verdict on gravity; of more than twice as many the oldest are forgotten.
There is no limit in time: who never rests is not suspected."""
RATE_FACTOR: Final = 1.5
"""Rates are off by some percents, and phones choose neighbouring ones; what is wrong is so by 2 or more."""
SATURATED_SHARE: Final = 0.5
"""Samples of an axis at its extreme: of 51 people with a 2 g watch who jogged and clapped, at most 0.3."""
RAIL_G: Final = 1.8
"""An extreme below this is no rail: the least range there is ends at 2 g, and gravity alone at 1 g."""
RAIL_SHARE: Final = 0.002
"""So near to the extreme is at the extreme: a peak that is not clipped spends a few percents there."""
RECOVERY: Final = 0.8
"""A rate (as its logarithm) or a share must come back to this part of its limit."""
SECONDS: Final = 10
"""Seconds that a verdict on rate or saturation rests on."""
_PLAIN_PACE: Final = (0.75, 1.3)
_PLAIN_SHARE: Final = SATURATED_SHARE * RECOVERY
"""A second within these passes, whatever was before: they lie inside what even a recovery asks for."""
_LEAST_SAMPLES: Final = 5
"""Fewer in a second tell nothing of it."""
_MOST_SAMPLES: Final = 4096
"""More in a second are not looked at: no device sends them, but a stranger might."""
_NO_GRAVITY_G: Final = 0.1

Check = Literal["rate", "gravity", "saturation"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that has failed."""

    check: Check
    measured: float
    """Hz, g, or a share of samples."""
    detail: str
    """For people: measured against expected, and what to do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """From when on a stream is to be distrusted, or trusted again."""

    at_s: float
    """Stream time: a whole second, which the samples so far have reached."""
    finding: Finding | None
    """Why it is suspect; None: every check passes again."""


class Sanity:
    """One stream's checks: a few array operations a second, O(1) memory."""

    def __init__(self) -> None:
        self.finding: Finding | None = None
        """What the stream is suspected of since the last verdict; None while it is trusted."""
        self._failed: set[Check] = set()
        self._second_s = np.empty(0)
        self._second_g = np.empty((0, 3), np.float32)
        self.reset()

    def reset(self) -> None:
        """The stream broke: no second before is joined to one after it. A suspicion stays."""
        self._begins_s = math.nan
        """The second that goes on; NaN before the first."""
        self._count = 0
        self._rate_hz = 0.0
        self._paces: deque[tuple[float, float]] = deque(maxlen=SECONDS)
        """Mean and median rate of the last seconds, against the nominal one."""
        self._rest_g: deque[float] = deque(maxlen=2 * STILL_SECONDS)
        self._clipped: deque[float] = deque(maxlen=SECONDS)
        self._odd = self._odd_rests = 0
        """So long one is remembered that may not pass by itself: in pace or share, in seconds; at rest."""

    def push(
        self, t_s: NDArray[np.float64], acc_g: NDArray[np.float32], *, sampling_rate_hz: float
    ) -> list[Verdict]:
        """Take samples, later than all since the last ``reset``; return the changes, in order.

        Args:
            t_s: (n,) float64 stream time in seconds, n >= 1, strictly increasing.
            acc_g: (n, 3) float32 in g, as claimed.
            sampling_rate_hz: The device's nominal rate, as claimed.
        """
        verdicts: list[Verdict] = []
        begin, count = 0, len(t_s)
        while True:
            first_s = float(t_s[begin])
            if not self._begins_s <= first_s < self._begins_s + 1.0:
                verdicts += self._close()
                self._begins_s = float(math.floor(first_s))
            if len(self._second_s) < min(self._count + count - begin, _MOST_SAMPLES):
                self._make_room(self._count + count - begin)
            self._rate_hz = sampling_rate_hz
            begin, self._count = _sanity.gather(
                t_s, acc_g, begin, self._begins_s + 1.0, self._second_s, self._second_g, self._count
            )
            if begin == count:
                return verdicts

    def _make_room(self, count: int) -> None:
        """For so many samples, and as many again of the same second."""
        room = min(2 * count, _MOST_SAMPLES)
        second_s, second_g = np.empty(room), np.empty((room, 3), np.float32)
        second_s[: self._count] = self._second_s[: self._count]
        second_g[: self._count] = self._second_g[: self._count]
        self._second_s, self._second_g = second_s, second_g

    def _close(self) -> list[Verdict]:
        """Judge a second that is over."""
        if self._count >= _LEAST_SAMPLES:
            self._measure()
        self._count = 0
        was_suspect = bool(self._failed)
        if not (was_suspect or self._odd or self._odd_rests):
            # Every second that is remembered passes by itself; so do all of them together.
            return []
        findings = [finding for finding in (self._rate(), self._gravity(), self._saturation()) if finding]
        if bool(self._failed) == was_suspect:
            return []
        self.finding = findings[0] if self._failed else None
        return [Verdict(self._begins_s + 1.0, self.finding)]

    def _measure(self) -> None:
        mean_s, typical_s, deviation_g, rest_g, clipped = _sanity.measure(
            self._second_s, self._second_g, self._count, RAIL_SHARE, RAIL_G
        )
        self._paces.append((1.0 / (mean_s * self._rate_hz), 1.0 / (typical_s * self._rate_hz)))
        if deviation_g <= max(STILL_SHARE * rest_g, STILL_G):
            self._rest_g.append(rest_g)
            is_plain = REST_G[0] + REST_MARGIN_G <= rest_g <= REST_G[1] - REST_MARGIN_G
            self._odd_rests = max(0, self._odd_rests - 1) if is_plain else 2 * STILL_SECONDS
            clipped = 0.0
        self._clipped.append(clipped)
        slowest, fastest = sorted(self._paces[-1])
        is_plain = slowest >= _PLAIN_PACE[0] and fastest <= _PLAIN_PACE[1] and clipped <= _PLAIN_SHARE
        self._odd = max(0, self._odd - 1) if is_plain else SECONDS

    def _rate(self) -> Finding | None:
        if len(self._paces) < SECONDS:
            return None
        # Loss slows the mean, bursts hurry the median: a rate is wrong where neither comes near it.
        pace = min((median(column) for column in zip(*self._paces, strict=True)), key=_distance)
        if self._passes("rate", _distance(pace), most=math.log(RATE_FACTOR)):
            return None
        rate_hz = pace * self._rate_hz
        return Finding(
            "rate",
            rate_hz,
            f"it sends {rate_hz:.3g} samples a second, expected {self._rate_hz / RATE_FACTOR:.3g} to "
            f"{self._rate_hz * RATE_FACTOR:.3g}: correct the rate that the device or its configuration "
            "states, or the unit of its times",
        )

    def _gravity(self) -> Finding | None:
        if len(self._rest_g) < STILL_SECONDS:
            return None
        rest_g = median(self._rest_g)
        least_g, most_g = REST_G
        margin_g = REST_MARGIN_G if "gravity" in self._failed else 0.0
        if least_g + margin_g <= rest_g <= most_g - margin_g:
            self._failed.discard("gravity")
            return None
        self._failed.add("gravity")
        return Finding(
            "gravity",
            rest_g,
            f"|a| at rest is {rest_g:.3g} g, expected {least_g:g} to {most_g:g} g: {_remedy(rest_g)}",
        )

    def _saturation(self) -> Finding | None:
        if len(self._clipped) < SECONDS:
            return None
        share = math.fsum(self._clipped) / len(self._clipped)
        if self._passes("saturation", share, most=SATURATED_SHARE):
            return None
        return Finding(
            "saturation",
            share,
            f"{share:.0%} of an axis's samples lie at its extreme, expected less than {SATURATED_SHARE:.0%}: "
            "choose a larger range, or check scale and byte order; or the sensor is broken",
        )

    def _passes(self, check: Check, value: float, *, most: float) -> bool:
        if value <= (most * RECOVERY if check in self._failed else most):
            self._failed.discard(check)
            return True
        self._failed.add(check)
        return False


def _distance(pace: float) -> float:
    return abs(math.log(pace))


_MISTAKES: Final[Sequence[tuple[float, str]]] = (
    (9.80665, "the unit is m/s2, not g"),
    (1 / 9.80665, "the unit is g, but m/s2 is stated"),
    (1000.0, "the unit is mg, not g"),
    (0.001, "the unit is g, but mg is stated"),
    *((2.0**power, f"the scale is wrong by {2**power}: check the range") for power in (1, 2, 3, 4)),
    *((0.5**power, f"the scale is wrong by 1/{2**power}: check the range") for power in (1, 2, 3)),
)
"""|a| at rest in what is taken for g, and what to do about it."""
_MISTAKEN: Final = 0.08
"""So near to a mistake's figure it is that one: m/s2 and a factor of 8 stay apart."""


def _remedy(rest_g: float) -> str:
    for figure, remedy in _MISTAKES:
        if abs(rest_g / figure - 1.0) <= _MISTAKEN:
            return remedy
    if rest_g < _NO_GRAVITY_G:
        return "gravity was left out: send acceleration with gravity, not linear acceleration"
    return "check unit and scale, or calibrate the sensor"
