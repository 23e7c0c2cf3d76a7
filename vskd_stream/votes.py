"""Scores → votes: which label a window speaks for, judged together with the windows before it.

A vote is a function of the last ``smoothing_windows`` windows alone, so whoever starts later soon
votes the same. (How long a device has been still is the one exception, and bounded as well.)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vskd_stream.manifest import NOT_WORN, UNKNOWN, Decision

LEAST_PROBABILITY = 1e-3
"""Less is counted as this: no single window is so sure that it could outvote a dozen others."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one window says, in the light of those before it."""

    label: str
    """A label of the manifest, ``unknown`` or ``not_worn``."""
    probability: float
    """Mean calibrated probability of the best label, even if that is not enough to vote for it: over
    the windows that are smoothed over, or over those of the last ``unknown_after_s`` that its path has."""
    since: int
    """Centre, in grid samples, of the first window that speaks for this label without a break."""
    coarse: str = UNKNOWN
    """What the windows of the last ``unknown_after_s`` are surely a kind of, whatever the label."""


class Path(NamedTuple):
    """Where the likeliest path through some windows ends."""

    label: int
    first: int
    """Index of the first window of its last label."""
    lead: float
    """Evidence, in nats, that it has over the likeliest path to another label."""


class _Window(NamedTuple):
    centre: int
    probabilities: list[float]
    evidence: list[float]
    """Their logarithms, in nats."""


class _Best(NamedTuple):
    label: int
    probability: float
    since: int
    is_ahead: bool = True
    """Whether it leads clearly enough."""
    is_judged: bool = True
    """Whether its threshold counts already."""


class Voter:
    """One device's votes; calls come in stream order, ``reset`` wherever the stream breaks."""

    def __init__(
        self,
        decision: Decision,
        *,
        labels: Sequence[str],
        sampling_rate_hz: float,
        silenced: Collection[str] = (),
    ) -> None:
        """Silenced labels are voted for as ``unknown``, as if the model were not sure."""
        self._decision = decision
        self._labels = labels
        self._silenced = silenced
        self._unknown_below = [decision.unknown_below[label] for label in labels]
        still = decision.not_worn
        self._still_g = still.below_g if still else 0.0
        self._still_for = round(still.for_s * sampling_rate_hz) if still else 0
        self._judged = max(1, round(decision.unknown_after_s * sampling_rate_hz))
        self._recent: deque[_Window] = deque(maxlen=decision.smoothing_windows)
        self._kinds = [decision.coarse.get(label, label) for label in labels]
        self._still_from: int | None = None

    def reset(self) -> None:
        """Forget the windows so far."""
        self._recent.clear()
        self._still_from = None

    def push(self, probabilities: list[float], *, centre: int, unrest_g: float = math.inf) -> Vote:
        """Take the next window: its (labels,) probabilities, its centre, and how much the device moved."""
        evidence = [math.log(max(each, LEAST_PROBABILITY)) for each in probabilities]
        self._recent.append(_Window(centre, probabilities, evidence))
        best = self._mean() if self._decision.smoothing == "mean" else self._path()
        if unrest_g >= self._still_g:
            self._still_from = None
        elif self._still_from is None:
            self._still_from = centre
        if self._still_from is not None and centre - self._still_from >= self._still_for:
            return Vote(NOT_WORN, best.probability, self._still_from)
        label = self._labels[best.label]
        is_unlikely = best.is_judged and best.probability < self._unknown_below[best.label]
        if not best.is_ahead or is_unlikely or label in self._silenced:
            return Vote(UNKNOWN, best.probability, centre, coarse=self._coarse())
        return Vote(label, best.probability, best.since, coarse=self._coarse())

    def _coarse(self) -> str:
        """The coarse label of which the last windows are sure enough, together; else ``unknown``."""
        thresholds = self._decision.coarse_unknown_below
        if not thresholds:
            return UNKNOWN
        judged_from = self._recent[-1].centre - self._judged
        rows = [each.probabilities for each in self._recent if each.centre > judged_from]
        sums: dict[str, list[float]] = {}
        for label, kind, column in zip(self._labels, self._kinds, zip(*rows, strict=True), strict=True):
            # What nobody is to hear of speaks for no kind either.
            if label not in self._silenced:
                sums.setdefault(kind, []).extend(column)
        means = {kind: math.fsum(values) / len(rows) for kind, values in sums.items()}
        kind = max(means, key=means.__getitem__, default=UNKNOWN)
        return kind if kind in thresholds and means[kind] >= thresholds[kind] else UNKNOWN

    def _mean(self) -> _Best:
        # fsum is exact: neither the order of the sum nor the machine decides a tie.
        rows = [window.probabilities for window in self._recent]
        means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
        probability = max(means)
        return _Best(means.index(probability), probability, self._recent[-1].centre)

    def _path(self) -> _Best:
        windows = list(self._recent)
        evidence = [window.evidence for window in windows]
        label, first, lead = likeliest_path(evidence, change_cost=self._decision.change_cost)
        judged_from = windows[-1].centre - self._judged
        judged = [each.probabilities[label] for each in windows[first:] if each.centre > judged_from]
        since = windows[first].centre
        return _Best(
            label,
            math.fsum(judged) / len(judged),
            since,
            is_ahead=lead >= self._decision.margin,
            # What the path has changed to is given time to prove itself: it beat what was before.
            is_judged=first == 0 or since <= judged_from,
        )


def likeliest_path(evidence: Sequence[Sequence[float]], *, change_cost: float) -> Path:
    """The last step of the sequence of labels that explains windows best (Viterbi 1967, online).

    A sequence is worth the sum of its labels' evidence, less ``change_cost`` for each change of label:
    the likeliest path of a hidden Markov model in which every change is equally unlikely.

    Args:
        evidence: (n, labels) logarithms of probabilities, n >= 1, at least two labels.
        change_cost: In nats.
    """
    worth = [0.0] * len(evidence[0])
    first = [0] * len(evidence[0])
    for i, row in enumerate(evidence):
        # Whoever is further behind than a change costs is better reached by changing to it just now.
        floor = max(worth) - change_cost
        for label, nats in enumerate(row):
            if worth[label] < floor:
                worth[label], first[label] = floor, i
            worth[label] += nats
    best = worth.index(max(worth))
    second = max(worth[:best] + worth[best + 1 :])
    return Path(best, first[best], worth[best] - second)
