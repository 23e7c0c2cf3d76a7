"""How long to wait before the next attempt: full jitter, so that a thousand gateways never knock together.

Each delay is drawn evenly between nothing and a ceiling that doubles with every failure, as in
"Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays between attempts, until ``reset`` says that one has succeeded for good."""

    def __init__(
        self,
        *,
        base_s: float = 0.5,
        cap_s: float = 30.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """``uniform(low, high)`` draws the delay; the first ceiling is ``base_s``, the last ``cap_s``."""
        if not 0 < base_s <= cap_s:
            raise ValueError(f"base_s must be positive and not beyond cap_s, not {base_s} and {cap_s}")
        self._base_s = base_s
        self._cap_s = cap_s
        self._uniform = uniform
        self._ceiling_s = base_s

    def next_s(self) -> float:
        """Seconds to wait now; the next ceiling is twice as high, up to the cap."""
        delay_s = self._uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(2 * self._ceiling_s, self._cap_s)
        return delay_s

    def reset(self) -> None:
        """Begin with short delays again."""
        self._ceiling_s = self._base_s
