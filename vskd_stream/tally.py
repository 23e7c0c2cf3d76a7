"""Counters of what was dropped or refused, and the log lines that go with them.

Nothing is dropped in silence, and nobody can flood the log: the first of a kind is a warning, the
rest of the same minute only count.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable

import structlog

_REPEAT_AFTER_S = 60.0
_KINDS = 1024
"""Kinds whose last warning is remembered; a stranger inventing names pushes out the oldest."""

_log = structlog.get_logger()


class Tally:
    """Counts by (who, reason); ``who`` is a device, or the source where no device is known."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._monotonic_s = monotonic_s
        self._kinds: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def drop(self, who: str, reason: str, detail: str = "", *, count: int = 1) -> None:
        """Count what was dropped, and warn unless the same was warned of within the last minute."""
        if count <= 0:
            return
        self.counts[reason] += count
        now_s = self._monotonic_s()
        warned_s, since = self._kinds.get((who, reason), (-_REPEAT_AFTER_S, 0))
        if now_s - warned_s < _REPEAT_AFTER_S:
            self._kinds[who, reason] = (warned_s, since + count)
            return
        self._kinds[who, reason] = (now_s, 0)
        self._kinds.move_to_end((who, reason))
        if len(self._kinds) > _KINDS:
            self._kinds.popitem(last=False)
        _log.warning("dropped", who=who, reason=reason, detail=detail, count=since + count)
