"""Votes → what goes on; times are centres of windows, in grid samples.

1. A label prevails while it has won every vote for at least ``switch_after_s``. From the first of them on
   it leads, until another one prevails or it has not prevailed again for ``unknown_after_s``.
2. It is established while it prevails and has led for at least its ``minimum_s``.
3. What is established becomes the activity, unless the activity before is held: for its ``hold_s``, and
   only against labels with a shorter one. Votes that are too weak to begin with count for the activity
   alone; else they are as ``unknown``. While nothing is established everything stays as it is, but
4. when nothing has been for ``unknown_after_s``, ``unknown`` is. (That is made to be at least twice as
   long as any label needs.) It is told to be of the kind (a coarse label) that two thirds of the votes name,
   if there is one.

By 4 no label outlives what speaks for it. Votes strong enough to begin with bring any two histories to the
same activity within a bounded time: of two labels that could hold each other off for ever, one is not held.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from vskd_stream.manifest import STATES, UNKNOWN, Manifest
from vskd_stream.votes import Vote


@dataclass(frozen=True, slots=True)
class Preferences:
    """What people want of one device, over what its model's manifest says."""

    minimum_s: Mapping[str, float] = field(default_factory=dict)
    """Per label: an activity that is shorter than this is never told."""
    hold_s: Mapping[str, float] = field(default_factory=dict)
    """Per label: an activity that comes back within this time has never ended."""
    silenced: frozenset[str] = frozenset()
    """Labels that are not to be told: they count as ``unknown``."""
    never: frozenset[str] = frozenset()
    """Labels of what the wearer never does: they are ruled out before anything is decided."""
    silent: bool = False
    """Nothing at all is to be told of the device."""
    wrist: str | None = None
    """Which wrist wears it, for whoever reads its events."""

    @property
    def untold(self) -> frozenset[str]:
        """Labels that no event of the device has."""
        return self.silenced | self.never

    @property
    def withholds(self) -> bool:
        """Whether something of the device is not to be told: then its scores must not be, which tell all."""
        return self.silent or bool(self.silenced)


NO_PREFERENCES = Preferences()


@dataclass(slots=True)
class Bout:
    """A stretch of time that is thought to hold one activity, from ``start`` on."""

    label: str
    start: int
    coarse: str | None = None
    """What it is a kind of, if it is unknown and that is not."""
    total: float = 0.0
    windows: int = 0

    def add(self, probability: float) -> None:
        """Count a window that voted for it."""
        self.total += probability
        self.windows += 1

    @property
    def confidence(self) -> float | None:
        """Mean probability over the windows that voted for it; None for states, which have none."""
        if self.label in STATES:
            return None
        # A softmax in float32 may exceed 1 by its rounding.
        return min(1.0, self.total / self.windows)


@dataclass(frozen=True, slots=True)
class Change:
    """One activity gives way to another, or the first one starts."""

    ended: Bout | None
    end: int
    """Where ``ended`` ended: behind its start, not behind the new one's."""
    started: Bout


class Lifecycle:
    """Which activity goes on; calls come in stream order."""

    activity: Bout | None
    _run: Bout | None
    """The last votes, all alike; None from a break to the next vote."""
    _run_from: int
    """Centre of its first window, which may lie behind its start."""
    _leader: Bout | None
    """The label that leads, from where it began to."""
    _led_at: int
    """Centre of the last window at which it prevailed."""
    _doubted_from: int | None
    """Centre of the first window since something was last established; None while something is."""
    _left_from: int | None
    """Where the activity, which is held, seems to have ended; None while it goes on."""
    _kinds: deque[tuple[int, str]]
    """Centres of the last ``unknown_after_s`` and the coarse labels that their votes name."""
    _named: Counter[str]
    """How often each is among them."""

    def __init__(self, manifest: Manifest, preferences: Preferences) -> None:
        decision, rate_hz, hop = manifest.decision, manifest.sampling_rate_hz, manifest.hop_samples

        def samples(seconds: Mapping[str, float]) -> dict[str, int]:
            return {label: round(s * rate_hz) for label, s in seconds.items()}

        # In whole hops, as votes are: less would be waited for until the next window anyway.
        self.switch_after = math.ceil(round(decision.switch_after_s * rate_hz) / hop) * hop
        self._minimum = samples({**decision.minimum_s, **preferences.minimum_s})
        self._hold = samples({**decision.hold_s, **preferences.hold_s})
        longest = max([self.switch_after, *self._minimum.values()])
        self._unknown_after = max(round(decision.unknown_after_s * rate_hz), 2 * longest)
        self._hop = hop
        self.activity = None
        self.forget_votes()

    def forget_votes(self) -> None:
        """Join no vote to those before: the stream broke. The activity goes on until someone ends it."""
        self._run = self._leader = self._doubted_from = self._left_from = None
        self._kinds = deque()
        self._named = Counter()

    def push(self, vote: Vote, *, centre: int) -> Change | None:
        """Take the next window's vote; tells if the activity changes by it."""
        if not vote.begins and (self.activity is None or self.activity.label != vote.label):
            vote = msgspec.structs.replace(vote, label=UNKNOWN, since=centre)
        if self._run is None or self._run.label != vote.label:
            self._run, self._run_from = Bout(vote.label, vote.since), centre
        for each in (self._run, self._leader, self.activity):
            if each is not None and each.label == vote.label:
                each.add(vote.probability)
        self._name(vote.coarse, centre)
        bout, before = self._established(self._run, centre), self.activity
        if bout is None:
            return None
        if before is None:
            return self._change(bout, start=bout.start, end=bout.start)
        if (bout.label, bout.coarse) == (before.label, before.coarse):
            self._left_from = None
            return None
        # What has been told stays told: it lasted for a hop at least, whatever hindsight says.
        start = max(bout.start, before.start + self._hop)
        if self._left_from is None:
            self._left_from = start
        if centre - self._left_from < self._held(before.label, bout.label):
            return None
        return self._change(bout, start=start, end=min(self._left_from, start))

    def _established(self, run: Bout, centre: int) -> Bout | None:
        if run.label != UNKNOWN and centre - self._run_from >= self.switch_after:
            if self._leader is None or self._leader.label != run.label:
                self._leader = replace(run)
            self._led_at = centre
            if centre - self._leader.start >= self._minimum.get(run.label, 0):
                self._doubted_from = None
                return self._leader
        elif self._leader is not None and centre - self._led_at >= self._unknown_after:
            self._leader = None
        if self._doubted_from is None:
            self._doubted_from = centre
        if centre - self._doubted_from < self._unknown_after:
            return None
        kind, votes = max(self._named.items(), key=lambda item: item[1])
        if kind == UNKNOWN or 3 * votes < 2 * len(self._kinds):
            return Bout(UNKNOWN, self._doubted_from)
        first = next(at for at, named in self._kinds if named == kind)
        return Bout(UNKNOWN, max(first, self._doubted_from), coarse=kind)

    def _name(self, coarse: str, centre: int) -> None:
        """Count a vote's coarse label, and no longer those of votes that are too old."""
        self._kinds.append((centre, coarse))
        self._named[coarse] += 1
        while centre - self._kinds[0][0] > self._unknown_after:
            self._named[self._kinds.popleft()[1]] -= 1

    def _held(self, label: str, against: str) -> int:
        hold = self._hold.get(label, 0)
        return hold if hold > self._hold.get(against, 0) else 0

    def _change(self, bout: Bout, *, start: int, end: int) -> Change:
        ended, self.activity, self._left_from = self.activity, replace(bout, start=start), None
        return Change(ended, end, self.activity)
