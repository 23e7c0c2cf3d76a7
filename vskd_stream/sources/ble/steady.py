"""Our own time for what devices do not tell: UTC when it began, and from then on only what has passed."""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Seconds that nobody sets: a clock that NTP corrects by an hour has lost no hour of samples."""

    def __init__(
        self,
        *,
        utc_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._offset_s = utc_s() - monotonic_s()

    def __call__(self) -> float:
        """Now; UTC, unless that was set since this clock was made."""
        return self._offset_s + self._monotonic_s()
