"""Scores → activity events, as a function of the scores alone: no clock, no I/O, times in grid samples.

A window votes for the label with the largest smoothed probability, or for ``unknown`` if that is
under the label's threshold. A label prevails once it has won every vote for ``switch_after_s``. An
activity whose label has not prevailed again for ``update_every_s`` (at least ``2 * switch_after_s``),
because the votes keep changing, gives way to ``unknown``; and a stream that breaks ends whatever
goes on. So no label outlives what speaks for it, and only a bounded past matters: whoever starts
later soon decides the same.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from vskd_stream.errors import VskdError
from vskd_stream.manifest import NO_DATA, UNKNOWN, Manifest
from vskd_stream.samples import Gap
from vskd_stream.scores import Scores

EventType = Literal["start", "update", "end"]
EndReason = Literal["changed", "gap", "no_data", "data", "stopped"]
"""Another activity began, the stream broke, the device fell silent, it spoke again, or we stop."""


@dataclass(frozen=True, slots=True)
class ActivityEvent:
    """What there is to tell about an activity: one ``start``, ``update`` while it goes on, one ``end``.

    Activities of a device never overlap. Where one gives way to another they share a boundary, the
    centre of the first window that voted for the new one, which is known to half a window.
    """

    device: str
    type: EventType
    label: str
    """A label of the manifest, ``unknown`` or ``no_data``."""
    id: str
    """32 hex digits: the same in all events of the activity, on every run and machine."""
    confidence: float | None
    """Mean smoothed probability of ``label`` in the windows so far that voted for it; None for
    ``unknown`` and ``no_data``, of which the model knows no probability."""
    start_sample: int
    start_s: float
    """Stream time in seconds, as are the others."""
    at_sample: int
    """Where the last window ends that this event rests on."""
    at_s: float
    end_sample: int | None = None
    """None until ``end``."""
    end_s: float | None = None
    reason: EndReason | None = None
    """Why it ended; None until ``end``."""


@dataclass(slots=True)
class _Votes:
    """Votes for one label, the first by the window whose centre is ``start``."""

    label: str
    start: int
    total: float = 0.0
    windows: int = 0

    def add(self, probability: float) -> None:
        self.total += probability
        self.windows += 1

    @property
    def confidence(self) -> float | None:
        if self.label in {UNKNOWN, NO_DATA}:
            return None
        # A softmax in float32 may exceed 1 by its rounding.
        return min(1.0, self.total / self.windows)


class Decider:
    """Decides what the wearer of one device does; calls come in stream order.

    After a break nothing goes on until a label prevails, or until none has for so long that it is
    ``unknown``.
    """

    _activity: _Votes | None
    """What goes on: started, not ended."""
    _last_end: int | None
    _timeline: int
    """How often the device's clock was set back."""
    _recent: deque[list[float]]
    """Probabilities of the last windows, none missing between them."""
    _run: _Votes | None
    """The last votes, all alike; None from a break to the next window."""
    _doubted_from: int | None
    """Centre of the first window since a label last prevailed; None while one does."""

    def __init__(self, device: str, *, manifest: Manifest, bundle_sha256: str) -> None:
        decision, rate_hz = manifest.decision, manifest.sampling_rate_hz
        self._device = device
        self._bundle_sha256 = bundle_sha256
        self._labels = manifest.labels
        self._unknown_below = [decision.unknown_below[label] for label in manifest.labels]
        self._smoothing_windows = decision.smoothing_windows
        self._rate_hz = rate_hz
        self._window = manifest.window_samples
        self._hop = hop = manifest.hop_samples
        # In whole hops, as votes are: less would be waited for until the next window anyway.
        self._switch_after = math.ceil(round(decision.switch_after_s * rate_hz) / hop) * hop
        self._update_every = max(1, round(decision.update_every_s * rate_hz))
        self._doubt_for = max(self._update_every, 2 * self._switch_after)
        self.reset()

    def reset(self) -> None:
        """Forget everything, without an event."""
        self._activity = self._last_end = None
        self._timeline = 0
        self._forget_votes()

    def push(self, scores: Scores) -> list[ActivityEvent]:
        """Take the scores of the next window.

        A window that is missing (shed under load) empties the average and changes nothing else,
        unless what nobody saw could have held an activity: that is a gap.

        Raises:
            VskdError: The scores are another device's, not the manifest's, or out of order; the
                decider is as it was.
        """
        probabilities = self._checked(scores)
        end = int(scores.end_sample)
        centre = end - self._window // 2
        events = self._join(end)
        self._recent.append(probabilities)
        label, probability = self._vote()
        if self._run is None or self._run.label != label:
            self._run = _Votes(label, centre)
        self._run.add(probability)
        if self._activity is not None and self._activity.label == label:
            self._activity.add(probability)
        prevailing = self._prevailing(self._run, centre)
        if prevailing is not None and (self._activity is None or self._activity.label != prevailing.label):
            events += self._end("changed", end=prevailing.start, at=end)
            events += self._start(prevailing, at=end)
        elif self._activity is not None and self._update_due(end):
            events.append(self._event("update", self._activity, at=end))
        self._last_end = end
        return events

    def gap(self, gap: Gap) -> list[ActivityEvent]:
        """Take a hole in the stream: what goes on ends where the last window did.

        The next window must lie behind the hole as a whole. One that begins before the last one
        ended says that the device's clock was set back.

        Raises:
            VskdError: The gap is another device's.
        """
        self._check_device(gap.device)
        return self.no_data() if gap.reason == "no_data" else self._break("gap")

    def no_data(self) -> list[ActivityEvent]:
        """The device is silent: ``no_data`` starts where the last window ended, if there was any.

        It lasts until the next window begins. If the clock was set back meanwhile, nobody knows how
        long that was: it ends where it began, with the reason ``gap``.
        """
        events = self._break("no_data")
        if self._activity is None and self._last_end is not None:
            events += self._start(_Votes(NO_DATA, self._last_end), at=self._last_end)
        return events

    def stop(self) -> list[ActivityEvent]:
        """End what goes on, because we end; then ``reset``."""
        events = [] if self._last_end is None else self._end("stopped", end=self._last_end, at=self._last_end)
        self.reset()
        return events

    def _checked(self, scores: Scores) -> list[float]:
        self._check_device(scores.device)
        where = f"scores of {self._device} at sample {scores.end_sample}"
        if scores.probabilities.shape != (len(self._labels),):
            raise VskdError(f"{where}: {len(self._labels)} labels, but shape {scores.probabilities.shape}")
        probabilities: list[float] = scores.probabilities.tolist()
        if not all(map(math.isfinite, probabilities)):
            raise VskdError(f"{where}: not finite")
        if scores.end_sample % self._hop:
            raise VskdError(f"{where}: windows end at multiples of the hop, {self._hop}")
        if self._run is not None and self._last_end is not None and scores.end_sample <= self._last_end:
            raise VskdError(f"{where}: not after {self._last_end}; report a gap if the clock was set back")
        return probabilities

    def _check_device(self, device: str) -> None:
        if device != self._device:
            raise VskdError(f"the decider of {self._device} was given what belongs to {device}")

    def _join(self, end: int) -> list[ActivityEvent]:
        """Join the window to the ones before, or end what it cannot be joined to."""
        if self._last_end is None:
            return []
        begin = end - self._window
        events = []
        if self._run is not None and begin - self._last_end > self._window + self._switch_after:
            events = self._break("gap")
        if self._run is not None:
            if end - self._last_end != self._hop:
                self._recent.clear()
            return events
        set_back = begin < self._last_end
        # Only no_data goes on through a break; it began where the last window ended.
        if set_back:
            events += self._end("gap", end=self._last_end, at=end)
        else:
            events += self._end("data", end=begin, at=end)
        # The same sample numbers may come again, and what they hold is something else.
        self._timeline += set_back
        return events

    def _vote(self) -> tuple[str, float]:
        """Label that the last window votes for, and the largest smoothed probability."""
        # fsum is exact: neither the order of the sum nor the machine decides a tie.
        smoothed = [math.fsum(column) / len(self._recent) for column in zip(*self._recent, strict=True)]
        probability = max(smoothed)
        best = smoothed.index(probability)
        return (UNKNOWN if probability < self._unknown_below[best] else self._labels[best]), probability

    def _prevailing(self, run: _Votes, centre: int) -> _Votes | None:
        """Votes of the label that prevails, or has to; None if what was decided before stands."""
        if centre - run.start >= self._switch_after:
            self._doubted_from = None
            return replace(run)
        if self._doubted_from is None:
            self._doubted_from = centre
        doubted_for = centre - self._doubted_from
        return _Votes(UNKNOWN, self._doubted_from) if doubted_for >= self._doubt_for else None

    def _update_due(self, end: int) -> bool:
        # At multiples of absolute stream time, so that every gateway updates at the same samples.
        return self._last_end is not None and end // self._update_every > self._last_end // self._update_every

    def _break(self, reason: EndReason) -> list[ActivityEvent]:
        """Join nothing after to anything before; end what goes on, unless that is ``no_data``."""
        self._forget_votes()
        if self._last_end is None or (self._activity is not None and self._activity.label == NO_DATA):
            return []
        return self._end(reason, end=self._last_end, at=self._last_end)

    def _forget_votes(self) -> None:
        self._recent = deque(maxlen=self._smoothing_windows)
        self._run = self._doubted_from = None

    def _start(self, votes: _Votes, *, at: int) -> list[ActivityEvent]:
        self._activity = votes
        return [self._event("start", votes, at=at)]

    def _end(self, reason: EndReason, *, end: int, at: int) -> list[ActivityEvent]:
        """End what goes on, if anything does."""
        votes, self._activity = self._activity, None
        if votes is None:
            return []
        event = self._event("end", votes, at=at)
        return [replace(event, end_sample=end, end_s=end / self._rate_hz, reason=reason)]

    def _event(self, type_: EventType, votes: _Votes, *, at: int) -> ActivityEvent:
        identity = (self._device, self._bundle_sha256, self._timeline, votes.label, votes.start)
        return ActivityEvent(
            device=self._device,
            type=type_,
            label=votes.label,
            id=hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:32],
            confidence=votes.confidence,
            start_sample=votes.start,
            start_s=votes.start / self._rate_hz,
            at_sample=at,
            at_s=at / self._rate_hz,
        )
