"""Events from a whole history at once: every decision looks back over all the windows before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vskd_stream.events import EndReason, EventType
from vskd_stream.manifest import NO_DATA, UNKNOWN, Manifest

Break = Literal["gap", "no_data"]


@dataclass(frozen=True)
class Step:
    """A window that ends at ``end`` with these probabilities."""

    end: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Told:
    """What of an event is not derived from other fields of it."""

    type: EventType
    label: str
    confidence: float | None
    start: int
    at: int
    end: int | None = None
    reason: EndReason | None = None


@dataclass
class Stretch:
    """Windows without a break between them, and the break that ended them."""

    steps: list[Step]
    broken_by: Break | None = None


class Rules:
    """A manifest's decision in grid samples."""

    def __init__(self, manifest: Manifest) -> None:
        decision, rate_hz = manifest.decision, manifest.sampling_rate_hz
        self.labels = manifest.labels
        self.unknown_below = decision.unknown_below
        self.smoothing_windows = decision.smoothing_windows
        self.window = manifest.window_samples
        self.hop = manifest.hop_samples
        self.switch_after = math.ceil(round(decision.switch_after_s * rate_hz) / self.hop) * self.hop
        self.update_every = max(1, round(decision.update_every_s * rate_hz))
        self.doubt_for = max(self.update_every, 2 * self.switch_after)


def events(history: list[Step | Break], *, manifest: Manifest) -> list[Told]:
    """All events of a history, of which nothing is open at its end that was not open in it."""
    rules = Rules(manifest)
    told: list[Told] = []
    last_end: int | None = None
    silent_from: int | None = None
    for stretch in _stretches(history, rules):
        if stretch.steps:
            end = stretch.steps[0].end
            begin = end - rules.window
            if silent_from is not None and last_end is not None and begin < last_end:
                told.append(Told("end", NO_DATA, None, silent_from, end, silent_from, "gap"))
            elif silent_from is not None:
                told.append(Told("end", NO_DATA, None, silent_from, end, begin, "data"))
            silent_from = None
            told += _within(stretch, rules)
            last_end = stretch.steps[-1].end
        if stretch.broken_by == "no_data" and last_end is not None and silent_from is None:
            told.append(Told("start", NO_DATA, None, last_end, last_end))
            silent_from = last_end
    return told


def _stretches(history: list[Step | Break], rules: Rules) -> list[Stretch]:
    stretches = [Stretch([])]
    for item in history:
        if not isinstance(item, Step):
            stretches[-1].broken_by = item
            stretches.append(Stretch([]))
            continue
        steps = stretches[-1].steps
        if steps:
            unseen = item.end - rules.window - steps[-1].end
            if unseen > rules.window + rules.switch_after:
                stretches[-1].broken_by = "gap"
                stretches.append(Stretch([]))
        stretches[-1].steps.append(item)
    return stretches


def _within(stretch: Stretch, rules: Rules) -> list[Told]:
    steps = stretch.steps
    votes = [_vote(steps[: i + 1], rules) for i in range(len(steps))]
    labels = [label for label, _ in votes]
    told: list[Told] = []
    goes_on: tuple[str, int, int] | None = None  # label, index of the first vote, start
    for i, step in enumerate(steps):

        def confidence(label: str, first: int, last: int = i) -> float | None:
            if label == UNKNOWN:
                return None
            return float(np.mean([p for vote, p in votes[first : last + 1] if vote == label]))

        decided = _decided(steps[: i + 1], labels[: i + 1], rules)
        if decided is not None and (goes_on is None or goes_on[0] != decided[0]):
            label, first = decided
            start = steps[first].end - rules.window // 2
            if goes_on is not None:
                old, old_first, old_start = goes_on
                told.append(
                    Told("end", old, confidence(old, old_first), old_start, step.end, start, "changed")
                )
            told.append(Told("start", label, confidence(label, first), start, step.end))
            goes_on = (label, first, start)
        elif goes_on is not None:
            multiples = range(steps[i - 1].end + 1, step.end + 1)
            if any(sample % rules.update_every == 0 for sample in multiples):
                label, first, start = goes_on
                told.append(Told("update", label, confidence(label, first), start, step.end))
    if goes_on is not None and stretch.broken_by is not None:
        label, first, start = goes_on
        last_end = steps[-1].end
        told.append(
            Told("end", label, confidence(label, first), start, last_end, last_end, stretch.broken_by)
        )
    return told


def _vote(steps: list[Step], rules: Rules) -> tuple[str, float]:
    """Vote of the last step, from it and the steps that join it without a hole."""
    joined = [steps[-1]]
    for step in reversed(steps[:-1]):
        if joined[0].end - step.end != rules.hop or len(joined) == rules.smoothing_windows:
            break
        joined.insert(0, step)
    smoothed = np.mean([step.probabilities for step in joined], axis=0)
    label = rules.labels[int(np.argmax(smoothed))]
    probability = float(np.max(smoothed))
    return (label if probability >= rules.unknown_below[label] else UNKNOWN), probability


def _decided(steps: list[Step], labels: list[str], rules: Rules) -> tuple[str, int] | None:
    """Label after the last step, and the index of the first vote for it; None before any."""
    for j in reversed(range(len(steps))):
        first = j
        while first > 0 and labels[first - 1] == labels[j]:
            first -= 1
        if steps[j].end - steps[first].end >= rules.switch_after:
            doubtful = steps[j + 1 :]
            if doubtful and doubtful[-1].end - doubtful[0].end >= rules.doubt_for:
                return UNKNOWN, j + 1
            return labels[j], first
    return (UNKNOWN, 0) if steps[-1].end - steps[0].end >= rules.doubt_for else None
