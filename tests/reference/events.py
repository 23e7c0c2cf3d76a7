"""Events from a whole history at once: every decision looks back over all the windows before it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vskd_stream.events import EndReason, EventType
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.manifest import NO_DATA, NOT_WORN, UNKNOWN, Manifest
from vskd_stream.votes import LEAST_PROBABILITY

Break = Literal["gap", "no_data"]


@dataclass(frozen=True)
class Step:
    """A window that ends at ``end`` with these probabilities."""

    end: int
    probabilities: tuple[float, ...]
    unrest_g: float = math.inf


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


@dataclass(frozen=True)
class Voted:
    """A step's vote."""

    centre: int
    label: str
    probability: float
    since: int
    begins: bool = True


@dataclass(frozen=True)
class Found:
    """A label that may become the activity, and the index of the first vote that counts for it."""

    label: str
    start: int
    first: int


class Rules:
    """A manifest's decision in grid samples."""

    def __init__(self, manifest: Manifest, preferences: Preferences = NO_PREFERENCES) -> None:
        decision, rate_hz = manifest.decision, manifest.sampling_rate_hz
        self.decision = decision
        self.untold = preferences.silenced | preferences.never
        self.labels = manifest.labels
        self.window = manifest.window_samples
        self.hop = manifest.hop_samples
        self.switch_after = math.ceil(round(decision.switch_after_s * rate_hz) / self.hop) * self.hop
        self.update_every = max(1, round(decision.update_every_s * rate_hz))
        self.minimum = self._samples(rate_hz, decision.minimum_s, preferences.minimum_s)
        self.hold = self._samples(rate_hz, decision.hold_s, preferences.hold_s)
        needed = max(self.switch_after, *self.minimum.values())
        self.unknown_after = max(round(decision.unknown_after_s * rate_hz), 2 * needed)
        self.judged = max(1, round(decision.unknown_after_s * rate_hz))
        still = decision.not_worn
        self.still_for = round(still.for_s * rate_hz) if still else 0
        self.still_g = still.below_g if still else 0.0
        self.table_g = still.table_below_g if still else 0.0

    def _samples(self, rate_hz: float, *seconds: Mapping[str, float]) -> dict[str, int]:
        merged = dict.fromkeys((*self.labels, UNKNOWN, NOT_WORN), 0.0)
        for each in seconds:
            merged.update(each)
        return {label: round(value * rate_hz) for label, value in merged.items()}


def events(
    history: list[Step | Break], *, manifest: Manifest, preferences: Preferences = NO_PREFERENCES
) -> list[Told]:
    """All events of a history, of which nothing is open at its end that was not open in it."""
    rules = Rules(manifest, preferences)
    history = [_ruled(item, manifest.labels, preferences) for item in history]
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


def _ruled(item: Step | Break, labels: Sequence[str], preferences: Preferences) -> Step | Break:
    if not isinstance(item, Step) or not preferences.never:
        return item
    left = sum(
        p for label, p in zip(labels, item.probabilities, strict=True) if label not in preferences.never
    )
    rows = [
        0.0 if label in preferences.never else float(np.float32(p / max(left, 0.5)))
        for label, p in zip(labels, item.probabilities, strict=True)
    ]
    return Step(item.end, tuple(rows), item.unrest_g)


def path(evidence: Sequence[Sequence[float]], *, change_cost: float) -> tuple[set[int], set[int], float]:
    """Last labels of the best of all sequences of labels, where those begin, and their lead."""
    worths: dict[tuple[int, ...], float] = {}
    for labels in itertools.product(range(len(evidence[0])), repeat=len(evidence)):
        nats = sum(row[label] for label, row in zip(labels, evidence, strict=True))
        changes = sum(one != other for one, other in itertools.pairwise(labels))
        worths[labels] = nats - change_cost * changes
    of_last = {
        last: max(worth for labels, worth in worths.items() if labels[-1] == last)
        for last in range(len(evidence[0]))
    }
    best = max(of_last.values())
    lasts = {last for last, worth in of_last.items() if worth > best - 1e-9}
    starts = {
        max([i + 1 for i, label in enumerate(labels) if label != labels[-1]], default=0)
        for labels, worth in worths.items()
        if worth > best - 1e-9
    }
    others = [worth for last, worth in of_last.items() if last != min(lasts)]
    return lasts, starts, best - max(others)


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
    votes: list[Voted] = []
    told: list[Told] = []
    goes_on: Found | None = None
    left_at: int | None = None
    for i, step in enumerate(steps):
        voted = vote(steps[: i + 1], rules)
        if not voted.begins and (goes_on is None or goes_on.label != voted.label):
            voted = Voted(voted.centre, UNKNOWN, voted.probability, voted.centre)
        votes.append(voted)

        def confidence(found: Found, last: int = i) -> float | None:
            if found.label in {UNKNOWN, NOT_WORN}:
                return None
            counted = votes[found.first : last + 1]
            return float(np.mean([each.probability for each in counted if each.label == found.label]))

        found = _established(votes[: i + 1], rules)
        changed = found is not None and (goes_on is None or goes_on.label != found.label)
        if found is not None and not changed:
            left_at = None
        if found is not None and changed and goes_on is not None:
            found = Found(found.label, max(found.start, goes_on.start + rules.hop), found.first)
            left_at = found.start if left_at is None else left_at
            hold = rules.hold[goes_on.label] if rules.hold[goes_on.label] > rules.hold[found.label] else 0
            changed = votes[i].centre - left_at >= hold
            if changed:
                end = min(left_at, found.start)
                told.append(
                    Told("end", goes_on.label, confidence(goes_on), goes_on.start, step.end, end, "changed")
                )
        if found is not None and changed:
            told.append(Told("start", found.label, confidence(found), found.start, step.end))
            goes_on, left_at = found, None
        elif goes_on is not None:
            multiples = range(steps[i - 1].end + 1, step.end + 1)
            if any(sample % rules.update_every == 0 for sample in multiples):
                told.append(Told("update", goes_on.label, confidence(goes_on), goes_on.start, step.end))
    if goes_on is not None and stretch.broken_by is not None:
        end = steps[-1].end
        told.append(
            Told("end", goes_on.label, confidence(goes_on), goes_on.start, end, end, stretch.broken_by)
        )
    return told


def vote(steps: list[Step], rules: Rules) -> Voted:
    """Vote of the last step, from it and the steps before it."""
    steps, unworn = _since_worn(steps, rules)
    if not steps:
        return unworn
    centres = [step.end - rules.window // 2 for step in steps]
    recent = steps[-rules.decision.smoothing_windows :]
    if rules.decision.smoothing == "mean":
        mean = np.mean([step.probabilities for step in recent], axis=0)
        best, first, lead, is_judged = int(np.argmax(mean)), len(steps) - 1, math.inf, True
        probability = float(np.max(mean))
    else:
        evidence = [[math.log(max(p, LEAST_PROBABILITY)) for p in step.probabilities] for step in recent]
        lasts, starts, lead = path(evidence, change_cost=rules.decision.change_cost)
        # The tests choose costs that no sums of logarithms can tie with, other than of equal rows.
        best, first = min(lasts), max(starts)
        changed = first > 0
        first += len(steps) - len(recent)
        behind = 0.5 * rules.window if changed else 0.0
        clear = [step for step in steps[first:] if step.end - steps[first].end >= behind]
        judged = [
            step.probabilities[best]
            for step in clear or steps[-1:]
            if step.end > steps[-1].end - rules.judged
        ]
        probability = float(np.mean(judged))
        is_judged = not changed or steps[-1].end - steps[first].end >= rules.judged
    moved = [i for i, step in enumerate(steps) if step.unrest_g >= rules.still_g]
    still_from = moved[-1] + 1 if moved else 0
    if still_from < len(steps) and centres[-1] - centres[still_from] >= rules.still_for:
        return Voted(centres[-1], NOT_WORN, probability, centres[still_from])
    label = rules.labels[best]
    likely = not is_judged or probability >= rules.decision.unknown_below[label]
    sure = lead >= rules.decision.margin and likely and label not in rules.untold
    proved = probability == 0.0 or lead * probability >= rules.decision.begin_margin
    begins = proved and steps[-1].unrest_g >= rules.table_g
    return Voted(centres[-1], label if sure else UNKNOWN, probability, centres[first if sure else -1], begins)


def _since_worn(steps: list[Step], rules: Rules) -> tuple[list[Step], Voted]:
    """The steps that hold nothing of a time in which the device was not worn, from the last such time on.

    If there was none, all of them; and what the last step votes for, if it is not among them.
    """
    from_here, still_from, since = -math.inf, None, 0
    for i, step in enumerate(steps):
        if step.end < from_here:
            continue
        if step.unrest_g >= rules.still_g:
            last = steps[i - 1].end
            if still_from is not None and last - steps[still_from].end >= rules.still_for:
                from_here, since = last + rules.window, steps[still_from].end - rules.window // 2
            still_from = None
        elif still_from is None:
            still_from = i
    centre = steps[-1].end - rules.window // 2
    unworn = Voted(centre, NOT_WORN, max(steps[-1].probabilities), since)
    return [step for step in steps if step.end >= from_here], unworn


def _run(votes: list[Voted]) -> int:
    """Index of the first of the last votes that are all alike."""
    first = len(votes) - 1
    while first > 0 and votes[first - 1].label == votes[-1].label:
        first -= 1
    return first


def _prevails(votes: list[Voted], rules: Rules) -> bool:
    return votes[-1].label != UNKNOWN and votes[-1].centre - votes[_run(votes)].centre >= rules.switch_after


def _leads(votes: list[Voted], rules: Rules) -> Found:
    """From where on the label that prevails with the last vote has led."""
    chain = len(votes) - 1
    lapsed_by: int | None = None
    for j in reversed(range(len(votes))):
        if _prevails(votes[: j + 1], rules):
            if votes[j].label != votes[-1].label:
                break
            if lapsed_by is not None and lapsed_by - votes[j].centre >= rules.unknown_after:
                break
            chain, lapsed_by = j, None
        elif lapsed_by is None:
            lapsed_by = votes[j].centre
    first = _run(votes[: chain + 1])
    return Found(votes[-1].label, votes[first].since, first)


def _established(votes: list[Voted], rules: Rules) -> Found | None:
    """What is established with the last vote, if anything is."""
    for j in reversed(range(len(votes))):
        if _prevails(votes[: j + 1], rules):
            found = _leads(votes[: j + 1], rules)
            if votes[j].centre - found.start >= rules.minimum[found.label]:
                if j == len(votes) - 1:
                    return found
                doubted = votes[j + 1 :]
                break
    else:
        doubted = votes
    if doubted[-1].centre - doubted[0].centre < rules.unknown_after:
        return None
    return Found(UNKNOWN, doubted[0].centre, len(votes) - len(doubted))
