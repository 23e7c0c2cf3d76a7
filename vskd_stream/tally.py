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
        """Count what was dropped or refused, and warn unless the same was told within the last minute."""
        if self._is_due(who, reason, count):
            _log.warning("dropped", who=who, reason=reason, detail=detail, count=self._untold(who, reason))

    def gap(self, who: str, reason: str, detail: str = "", *, count: int = 1) -> None:
        """Count holes in a stream: nobody dropped anything, but somebody may want to know why it pauses.

        One with a ``detail`` is somebody's to mend, and a warning.
        """
        if self._is_due(who, f"gap_{reason}", count):
            tell, facts = (_log.warning, {"detail": detail}) if detail else (_log.info, {})
            tell("gap", who=who, reason=reason, **facts, count=self._untold(who, f"gap_{reason}"))

    def summary(self) -> dict[str, int]:
        """All counters under names that tell drops from gaps."""
        return {
            reason if reason.startswith("gap_") else f"dropped_{reason}": count
            for reason, count in sorted(self.counts.items())
        }

    def _is_due(self, who: str, reason: str, count: int) -> bool:
        self.counts[reason] += count
        told_s, untold = self._kinds.get((who, reason), (-_REPEAT_AFTER_S, 0))
        self._kinds[who, reason] = (told_s, untold + count)
        if len(self._kinds) > _KINDS:
            self._kinds.popitem(last=False)
        return self._monotonic_s() - told_s >= _REPEAT_AFTER_S

    def _untold(self, who: str, reason: str) -> int:
        _, untold = self._kinds[who, reason]
        self._kinds[who, reason] = (self._monotonic_s(), 0)
        self._kinds.move_to_end((who, reason))
        return untold
