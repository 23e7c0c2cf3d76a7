"""Moments of arrival → the Bluetooth connection interval behind them, if they betray one; pure.

A Bluetooth device may send at connection events only, which follow each other at the connection
interval, a multiple of 1.25 ms (Bluetooth Core 5.4, volume 6, part B, 4.5.1). So what arrives lies on
a comb: the gaps are multiples of the interval, and what waited for the same event comes as one burst.
The comb's teeth tell the interval; how many of them are used tells whether there was room between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNIT_S: Final = 1.25e-3
SHORTEST_S: Final = 7.5e-3
LONGEST_S: Final = 4.0
MIN_BURSTS: Final = 40
"""Fewer tell a comb from chance too badly."""
MAX_ARRIVALS: Final = 100_000
"""What is looked at: an interval that changed later is another question."""

_SAME_EVENT_S = 4e-3
"""Closer together than any two events: what came at one of them and was read one after the other."""
_JITTER_S = (1.5e-3, 4e-3)
"""What a host adds at least, and at most, before no comb can be seen."""
_MOST_TEETH = 12
"""A pause of seconds holds so many teeth that the clocks' drift alone moves it beside one."""
_BUSY = 0.9


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a stream's messages arrive."""

    arrivals: int
    bursts: int
    """Arrivals together, within a few milliseconds, count as one."""
    gap_p50_s: float
    """Median time between bursts; 0 without any."""
    gap_p95_s: float
    per_burst: float
    """Messages in a burst, on average."""
    interval_s: float | None
    """The likely connection interval; None if there is no comb, or too little to tell."""
    events_used: float
    """Share of gaps that are one interval long: 1 if something came at every connection event."""

    @property
    def is_upper_bound(self) -> bool:
        """One message at each tooth: the device's own pace would look the same, at any shorter interval."""
        return self.interval_s is not None and self.events_used >= _BUSY and self.per_burst < 1.1

    @property
    def is_bottleneck(self) -> bool:
        """Every connection event is used, and messages had to share it: they wait for the next one."""
        return self.interval_s is not None and self.events_used >= _BUSY and self.per_burst >= 1.5


def rhythm(arrivals_s: NDArray[np.float64]) -> Rhythm:
    """Judge the arrivals of one stream.

    Args:
        arrivals_s: (n,) seconds, not decreasing; beyond ``MAX_ARRIVALS`` they are not looked at.
    """
    arrivals_s = arrivals_s[:MAX_ARRIVALS]
    gaps_s = np.diff(arrivals_s)
    starts_s = arrivals_s[np.concatenate([[True], gaps_s > _SAME_EVENT_S])] if len(arrivals_s) else arrivals_s
    between_s = np.diff(starts_s)
    p50_s, p95_s = (float(p) for p in np.percentile(between_s, [50, 95])) if len(between_s) else (0.0, 0.0)
    interval_s = _interval(between_s) if len(starts_s) >= MIN_BURSTS else None
    used = 0.0 if interval_s is None else float(np.mean(np.round(between_s / interval_s) <= 1))
    per_burst = len(arrivals_s) / max(len(starts_s), 1)
    return Rhythm(len(arrivals_s), len(starts_s), p50_s, p95_s, per_burst, interval_s, used)


def _interval(gaps_s: NDArray[np.float64]) -> float | None:
    """The widest comb that the gaps lie on, in whole units; None if they lie on none."""
    # A comb wider than the gaps would fit anything; a lone short gap is no reason to think it narrow.
    widest_s = min(float(np.percentile(gaps_s, 10)) + _JITTER_S[1], LONGEST_S)
    near_s = gaps_s[gaps_s <= _MOST_TEETH * widest_s]
    candidates_s = np.arange(round(SHORTEST_S / UNIT_S), int(widest_s / UNIT_S) + 1) * UNIT_S
    if not len(candidates_s) or len(near_s) < MIN_BURSTS // 2:
        return None
    beside_s = np.array([_beside(near_s, each) for each in candidates_s])
    fits = beside_s <= np.clip(candidates_s / 20, *_JITTER_S)
    if not fits.any():
        return None
    # The teeth of a comb lie on combs of half and a third the width as well: the widest is meant, and
    # of its neighbours, which fit when jitter is large, the one that fits best.
    last = int(np.flatnonzero(fits)[-1])
    first = last
    while first > 0 and fits[first - 1]:
        first -= 1
    return float(candidates_s[first + int(beside_s[first : last + 1].argmin())])


def _beside(gaps_s: NDArray[np.float64], interval_s: float) -> float:
    """How far from the next tooth the gaps lie, but for a twentieth of them."""
    return float(np.percentile(np.abs(gaps_s - np.round(gaps_s / interval_s) * interval_s), 95))
