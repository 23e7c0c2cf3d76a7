"""Scores → votes: which label a window speaks for, judged together with the windows before it.

A vote is a function of the last ``smoothing_windows`` windows alone, so whoever starts later soon
votes the same. (How long a device has been still is the one exception, and bounded as well: windows
that hold some of a time in which the device was not worn speak for nothing that is done once it is.)
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream import _votes
from vskd_stream.manifest import NOT_WORN, UNKNOWN, Decision

LEAST_PROBABILITY = 1e-4
"""Less is counted as this: no single window is so sure that it could outvote a dozen others."""
_LEAST_LEFT = 0.5
"""What is ruled out at most doubles the others: of a window that looks like little else, nobody is sure."""


class Vote(msgspec.Struct, frozen=True):
    """What one window says, in the light of those before it."""

    label: str
    """A label of the manifest, ``unknown`` or ``not_worn``."""
    probability: float
    """Mean calibrated probability of the best label, even if that is not enough to vote for it: over
    the windows that are smoothed over, or over those of the last ``unknown_after_s`` that its path has
    and that hold nothing of what it changed from; over the last one at least."""
    since: int
    """Centre, in grid samples, of the first window that speaks for this label without a break."""
    coarse: str = UNKNOWN
    """What the windows of the last ``unknown_after_s`` are surely a kind of, whatever the label."""
    begins: bool = True
    """Whether that is enough for an activity to begin with; one that goes on needs less."""


class Path(NamedTuple):
    """Where the likeliest path through some windows ends."""

    label: int
    first: int
    """Index of the first window of its last label."""
    lead: float
    """Evidence, in nats, that it has over the likeliest path to another label."""


class _Best(NamedTuple):
    label: int
    probability: float
    since: int
    lead: float = math.inf
    """As a path's, in nats."""
    is_judged: bool = True
    """Whether its threshold counts already."""


class _Lain(NamedTuple):
    """A time in which the device was not worn."""

    since: int
    until: int
    """Centre of the first window that holds nothing of it."""


class Voter:
    """One device's votes; calls come in stream order, ``reset`` wherever the stream breaks."""

    def __init__(
        self,
        decision: Decision,
        *,
        labels: Sequence[str],
        sampling_rate_hz: float,
        window_samples: int,
        silenced: Collection[str] = (),
        never: Collection[str] = (),
    ) -> None:
        """Silenced labels are voted for as ``unknown``, as if the model were not sure.

        Labels of what the wearer ``never`` does are ruled out (``without``) before anything is decided.
        """
        self._decision = decision
        self._labels = labels
        self._untold = {*silenced, *never}
        self._never = np.array([label in never for label in labels]) if never else None
        self._unknown_below = [decision.unknown_below[label] for label in labels]
        still = decision.not_worn
        self._still_g = still.below_g if still else 0.0
        self._still_for = round(still.for_s * sampling_rate_hz) if still else 0
        self._table_g = still.table_below_g if still else 0.0
        self._judged = max(1, round(decision.unknown_after_s * sampling_rate_hz))
        self._centres = array("q", bytes(8 * decision.smoothing_windows))
        self._judged_centres: deque[int] = deque(maxlen=decision.smoothing_windows)
        # A ring, a row a window, for lists of a thousand devices' floats would be ten times as large.
        self._probabilities = np.empty((decision.smoothing_windows, len(labels)), np.float32)
        self._pushed = 0
        kinds = [decision.coarse.get(label, label) for label in labels]
        self._kinds = tuple(dict.fromkeys(kinds))
        # What nobody is to hear of speaks for no kind.
        self._kind_of = np.array(
            [
                -1 if label in silenced else self._kinds.index(kind)
                for label, kind in zip(labels, kinds, strict=True)
            ],
            np.int64,
        )
        self._window = window_samples
        self._still_from: int | None = None
        self._lain: _Lain | None = None

    def reset(self) -> None:
        """Forget the windows so far."""
        self._judged_centres.clear()
        self._pushed = 0
        self._still_from = self._lain = None

    def push(
        self, probabilities: Sequence[float] | NDArray[np.float32], *, centre: int, unrest_g: float = math.inf
    ) -> Vote:
        """Take the next window: its (labels,) probabilities, its centre, and how much the device moved."""
        row = np.asarray(probabilities, np.float32)
        if self._never is not None:
            row = without(row, self._never)
        if self._lain is None or centre >= self._lain.until:
            self._watch(centre, is_still=unrest_g < self._still_g)
        if self._lain is not None and centre < self._lain.until:
            return Vote(NOT_WORN, float(row.max()), self._lain.since)
        slot = self._pushed % len(self._centres)
        self._probabilities[slot] = row
        self._centres[slot] = centre
        self._pushed += 1
        self._judged_centres.append(centre)
        judged = self._judged_windows()
        best = self._mean() if self._decision.smoothing == "mean" else self._path(judged)
        if (unworn_from := self._unworn_from(centre)) is not None:
            return Vote(NOT_WORN, best.probability, unworn_from)
        label = self._labels[best.label]
        is_unlikely = best.is_judged and best.probability < self._unknown_below[best.label]
        if best.lead < self._decision.margin or is_unlikely or label in self._untold:
            return Vote(UNKNOWN, best.probability, centre, coarse=self._coarse(judged))
        falls_short = best.lead * best.probability < self._decision.begin_margin
        begins = unrest_g >= self._table_g and not falls_short
        return Vote(label, best.probability, best.since, coarse=self._coarse(judged), begins=begins)

    def _watch(self, centre: int, *, is_still: bool) -> None:
        """See whether the device lies about, and from when on windows hold nothing of that any more."""
        if is_still:
            if self._still_from is None:
                self._still_from = centre
            return
        if self._still_from is not None:
            last = self._judged_centres[-1]
            if (since := self._unworn_from(last)) is not None:
                self.reset()
                self._lain = _Lain(since, last + self._window)
        self._still_from = None

    def _unworn_from(self, centre: int) -> int | None:
        """Since when the device has lain about, if it has at ``centre`` and for as long as that takes."""
        still_from = self._still_from
        return None if still_from is None or centre - still_from < self._still_for else still_from

    def _coarse(self, judged: int) -> str:
        """The coarse label of which the last windows are sure enough, together; else ``unknown``."""
        thresholds = self._decision.coarse_unknown_below
        if not thresholds:
            return UNKNOWN
        best, mean = _votes.likeliest_kind(
            self._probabilities, self._pushed, judged, self._kind_of, len(self._kinds)
        )
        kind = self._kinds[best]
        return kind if kind in thresholds and mean >= thresholds[kind] else UNKNOWN

    def _mean(self) -> _Best:
        # fsum is exact: neither the order of the sum nor the machine decides a tie.
        rows = self._last(self._count)
        means = [math.fsum(column) / len(rows) for column in rows.T.tolist()]
        probability = max(means)
        return _Best(means.index(probability), probability, self._centre(self._count - 1))

    def _path(self, judged: int) -> _Best:
        pushed, count = self._pushed, self._count
        label, first, lead = _votes.likeliest_path(
            self._probabilities, pushed - count, count, self._decision.change_cost, LEAST_PROBABILITY
        )
        since, last = self._centre(first), self._judged_centres[-1]
        # A change is known to half a window: from there on, windows hold nothing of what was before.
        clear = first
        while first > 0 and clear < count - 1 and 2 * (self._centre(clear) - since) < self._window:
            clear += 1
        return _Best(
            label,
            _votes.mean_of_last(self._probabilities, pushed, min(judged, count - clear), label),
            since,
            lead=lead,
            # What the path has changed to is given time to prove itself: it beat what was before.
            is_judged=first == 0 or since <= last - self._judged,
        )

    @property
    def _count(self) -> int:
        """Windows that are remembered."""
        return min(self._pushed, len(self._centres))

    def _centre(self, window: int) -> int:
        """Of one that is remembered, the oldest first."""
        return self._centres[(self._pushed - self._count + window) % len(self._centres)]

    def _judged_windows(self) -> int:
        """How many of the last windows thresholds are judged over."""
        while self._judged_centres[0] <= self._judged_centres[-1] - self._judged:
            self._judged_centres.popleft()
        return len(self._judged_centres)

    def _last(self, count: int) -> NDArray[np.float32]:
        """(count, labels) probabilities of the last windows, in order."""
        return self._probabilities.take(np.arange(self._pushed - count, self._pushed), axis=0, mode="wrap")


def without(probabilities: NDArray[np.float32], never: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(labels,) probabilities, given that those labels cannot be of which (labels,) ``never`` is true.

    Bayes' rule, up to a factor of two: they are divided by what is left of them or by a half, whichever is
    more. A window that looks like next to nothing else is rather of no class than of the next one.
    """
    left = np.where(never, 0.0, probabilities.astype(np.float64))
    # fsum is exact, so every machine divides by the same number.
    return (left / max(math.fsum(left.tolist()), _LEAST_LEFT)).astype(np.float32)


def likeliest_path(probabilities: Sequence[Sequence[float]], *, change_cost: float) -> Path:
    """The last step of the sequence of labels that explains windows best (Viterbi 1967, online).

    A sequence is worth the sum of its labels' evidence, the logarithms of their probabilities, less
    ``change_cost`` for each change of label: the likeliest path of a hidden Markov model in which every
    change is equally unlikely.

    Args:
        probabilities: (n, labels), n >= 1, at least two labels. Less than ``LEAST_PROBABILITY`` counts so.
        change_cost: In nats.
    """
    rows = np.array(probabilities, np.float32)
    return Path(*_votes.likeliest_path(rows, 0, len(rows), change_cost, LEAST_PROBABILITY))
