"""How much the model is asked for, and how far the hop is widened so that it can give it; pure.

The answer to too much is fewer windows of every device alike, not fewer devices: of a hop widened to f
hops, the windows that end at multiples of it are classified. They are the very same windows, so what
is told of them has the same ids.
"""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.25
"""A window that has waited for so long is late: there is more to do than can be done."""
_PATIENCE_S: Final = 1.0
"""Between two changes: the queue shows what the last one did only once it has been worked off."""
_ROOM: Final = 0.8
"""The hop is narrowed again when the model would then be busy for less than this part of the time."""
_RATE_OVER_S: Final = 1.0
_SMOOTHING: Final = 0.2


class Load:
    """Widens and narrows the hop; its times are of any clock that never goes back."""

    def __init__(self, *, max_widening: int) -> None:
        """``max_widening``: the largest number of hops that still leaves no sample unseen."""
        self.widening = 1
        """Windows are classified whose end is a multiple of so many hops: a power of two."""
        self._max_widening = max_widening
        self._changed_s = -_PATIENCE_S
        self._counted_from_s: float | None = None
        self._offered = 0
        self._rate_hz = 0.0
        self._cost_s = 0.0

    def takes(self, end_sample: int, *, hop_samples: int) -> bool:
        """Whether this window is to be classified."""
        return self.widening == 1 or end_sample // hop_samples % self.widening == 0

    def offer(self, now_s: float) -> None:
        """Take that a window was cut, classified or not."""
        if self._counted_from_s is None:
            self._counted_from_s = now_s
        elif (passed_s := now_s - self._counted_from_s) >= _RATE_OVER_S:
            self._rate_hz = self._offered / passed_s
            self._counted_from_s, self._offered = now_s, 0
        self._offered += 1

    def measure(self, cost_s: float, *, windows: int) -> None:
        """Take what a batch has cost, from its beginning to its end."""
        each_s = cost_s / windows
        self._cost_s += _SMOOTHING * (each_s - self._cost_s) if self._cost_s else each_s

    @property
    def cost_s(self) -> float:
        """Of one window, as measured lately."""
        return self._cost_s

    @property
    def rate_hz(self) -> float:
        """Windows a second that are wanted, as counted lately."""
        return self._rate_hz

    def look(self, now_s: float, *, oldest_s: float, gave_way: bool = False) -> bool:
        """Widen or narrow, seeing how long the oldest window waits; whether anything changed.

        ``gave_way``: whether windows had to since the last look. Where the queue is short for what a window
        costs, nothing ever waits for long; but one burst that did not fit is no reason either.
        """
        if now_s - self._changed_s < _PATIENCE_S:
            return False
        is_too_much = gave_way and self._rate_hz * self._cost_s / self.widening > 1.0
        if (oldest_s > LATE_S or is_too_much) and 2 * self.widening <= self._max_widening:
            self.widening *= 2
        elif (
            self.widening > 1
            and oldest_s <= LATE_S
            and self._rate_hz * self._cost_s / (self.widening // 2) < _ROOM
        ):
            self.widening //= 2
        else:
            return False
        self._changed_s = now_s
        return True
