"""What became of a device's samples and windows: what went in was used, waits, or was dropped by name."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

LATENCY_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a window that waits for nobody to one that nobody waits for."""


@dataclass(slots=True)
class Flow:
    """Counts that balance: ``taken == used + waiting + dropped.total()``."""

    taken: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """What went in and has not come out; never less than 0."""
        return self.taken - self.used - self.dropped.total()

    def drop(self, reason: str, count: int) -> None:
        """Count what will never be used; no reason is named for nothing."""
        if count:
            self.dropped[reason] += count


class Histogram:
    """How long things took; ``counts`` has one more than ``LATENCY_BOUNDS_S``: what took longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Ledger:
    """One device since the start, whatever pipelines it had meanwhile."""

    samples: Flow = field(default_factory=Flow)
    """Used: put on the stream's time line. Those that wait are held for a batch that is missing."""
    windows: Flow = field(default_factory=Flow)
    """Used: classified, and decided on. Those that wait are queued before the model."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Breaks that nothing is classified across, by reason."""
    latency: Histogram = field(default_factory=Histogram)
    """From the moment of a window's last sample to that of its messages."""
