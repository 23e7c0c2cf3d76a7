"""Scores → activity events, as a function of the scores alone: no clock, no I/O, times in grid samples.

``votes`` says what each window speaks for, ``lifecycle`` what goes on by it. Here is what a break of
the stream does to both, and how all that is told: whatever goes on when a stream breaks ends with it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _checks
from vskd_stream.errors import VskdError
from vskd_stream.lifecycle import NO_PREFERENCES, Bout, Lifecycle, Preferences
from vskd_stream.manifest import NO_DATA, UNITS_SUSPECT, Manifest
from vskd_stream.samples import Gap
from vskd_stream.scores import Scores
from vskd_stream.votes import Voter

EventType = Literal["start", "update", "end"]
EndReason = Literal[
    "changed", "gap", "no_data", "data", "stopped", "silenced", "paused", "units_suspect", "model"
]
"""Another activity began, the stream broke, the device fell silent, it spoke (rightly) again, we stop,
nobody wants to hear of it, its samples are dropped by command, they cannot be what they claim to be, or
another model decides from here on."""
StopReason = Literal["stopped", "silenced", "paused", "model"]
"""Why a decider has no more to say."""


@dataclass(frozen=True, slots=True)
class ActivityEvent:
    """What there is to tell about an activity: one ``start``, ``update`` while it goes on, one ``end``.

    Activities of a device never overlap. Where one gives way to another they share a boundary, unless
    the one that ended was held: what happened meanwhile is not told.
    """

    device: str
    type: EventType
    label: str
    """A label of the manifest, ``unknown``, ``not_worn``, ``no_data`` or ``units_suspect``."""
    coarse_label: str
    """What the manifest says that it is a kind of; else the label itself. An ``unknown`` activity is of a
    kind where that is sure (``Decision.coarse_unknown_below``)."""
    id: str
    """32 hex digits: the same in all events of the activity, on every run and machine."""
    confidence: float | None
    """Mean probability of ``label`` in the windows so far that voted for it; None for ``unknown``,
    ``not_worn`` and ``no_data``, of which the model knows no probability."""
    start_sample: int
    start_s: float
    """Stream time in seconds, as are the others."""
    start_uncertainty_s: float | None
    """The start lies within so many seconds, if the windows to both sides are told rightly; None where
    the stream began or broke, for then it may have begun long before."""
    at_sample: int
    """Where the last window ends that this event rests on."""
    at_s: float
    end_sample: int | None = None
    """None until ``end``."""
    end_s: float | None = None
    end_uncertainty_s: float | None = None
    """As for the start; None where the stream broke or was left, for then it may have gone on."""
    reason: EndReason | None = None
    """Why it ended; None until ``end``."""
    wrist: str | None = None
    """Which wrist wears the device, if anyone has said so."""


class Decider:
    """Decides what the wearer of one device does; calls come in stream order.

    After a break nothing goes on until a label is established, or until none has been for so long that
    it is ``unknown``.
    """

    _last_end: int | None
    _timeline: int
    """How often the device's clock was set back."""
    _unbroken_from: int | None
    """Centre of the first window since the stream last broke; None until that comes."""
    _start_uncertainty: int | None
    """Of what goes on, in samples."""

    def __init__(
        self,
        device: str,
        *,
        manifest: Manifest,
        bundle_sha256: str,
        preferences: Preferences = NO_PREFERENCES,
    ) -> None:
        self._device = device
        self._bundle_sha256 = bundle_sha256
        self._manifest = manifest
        self._rate_hz = manifest.sampling_rate_hz
        self._window = manifest.window_samples
        self._hop = manifest.hop_samples
        self._update_every = max(1, round(manifest.decision.update_every_s * self._rate_hz))
        self._preferences = preferences
        self.reset()

    def reset(self) -> None:
        """Forget everything but the preferences, without an event."""
        self._voter = self._new_voter()
        self._lifecycle = Lifecycle(self._manifest, self._preferences)
        self._last_end = self._unbroken_from = self._start_uncertainty = None
        self._timeline = 0

    def prefer(self, preferences: Preferences) -> list[ActivityEvent]:
        """Follow other preferences from the next window on; what they silence ends at once."""
        events: list[ActivityEvent] = []
        before, activity = self._preferences, self._lifecycle.activity
        if preferences.silent and not before.silent:
            events = self.stop("silenced")
        elif activity is not None and activity.label in preferences.untold and self._last_end is not None:
            # Not behind the centre of the last window: the next activity may begin at that of the next.
            events = self._end("silenced", end=self._last_end - self._window // 2, at=self._last_end)
        self._preferences = preferences
        self._voter = self._new_voter()
        goes_on, self._lifecycle = self._lifecycle.activity, Lifecycle(self._manifest, preferences)
        self._lifecycle.activity = goes_on
        return events

    def push(self, scores: Scores, *, unrest_g: float = math.inf) -> list[ActivityEvent]:
        """Take the scores of the next window, and how much the device moved in it (``stillness``).

        A window that is missing (shed under load) leaves a hole in what is smoothed over and changes
        nothing else, unless what nobody saw could have held an activity: that is a gap.

        Raises:
            VskdError: The scores are another device's, not the manifest's, or out of order; the
                decider is as it was.
        """
        probabilities = self._checked(scores)
        if self._preferences.silent:
            return []
        end = int(scores.end_sample)
        centre = end - self._window // 2
        events = self._join(end)
        if self._unbroken_from is None:
            self._unbroken_from = centre
        vote = self._voter.push(probabilities, centre=centre, unrest_g=unrest_g)
        change = self._lifecycle.push(vote, centre=centre)
        if change is not None:
            if change.ended is not None:
                events.append(self._ended(change.ended, "changed", end=change.end, at=end))
            seen_before = change.started.start > self._unbroken_from
            events += self._start(
                change.started, at=end, uncertainty=self._window // 2 if seen_before else None
            )
        elif self._lifecycle.activity is not None and self._update_due(end):
            events.append(self._event("update", self._lifecycle.activity, at=end))
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
        if gap.reason == "units_suspect":
            return self._suspect(round(gap.start_s * self._rate_hz))
        if gap.reason != "no_data":
            return self._break("gap")
        if self._goes_on(UNITS_SUSPECT) and self._last_end is not None:
            # No window has moved it since.
            self._last_end = max(self._last_end, math.floor(gap.start_s * self._rate_hz))
        return self.no_data()

    def no_data(self) -> list[ActivityEvent]:
        """The device is silent: ``no_data`` starts where the last window ended, if there was any.

        It lasts until the next window begins. If the clock was set back meanwhile, nobody knows how
        long that was: it ends where it began, with the reason ``gap``.
        """
        events = self._break("no_data")
        if self._lifecycle.activity is None and self._last_end is not None:
            events += self._start(Bout(NO_DATA, self._last_end), at=self._last_end, uncertainty=self._hop)
        return events

    def _suspect(self, start: int) -> list[ActivityEvent]:
        """From ``start`` on the samples are not to be trusted: ``units_suspect``, until a window comes."""
        if self._preferences.silent:
            return []
        is_set_back = self._last_end is not None and start < self._last_end
        events = self._break("units_suspect")
        if self._goes_on(UNITS_SUSPECT) and not is_set_back:
            return events
        if self._last_end is not None:
            end = self._last_end if is_set_back else start
            events += self._end("gap" if is_set_back else "data", end=end, at=end)
        self._timeline += is_set_back
        self._last_end = start
        return events + self._start(Bout(UNITS_SUSPECT, start), at=start, uncertainty=self._hop)

    def stop(self, reason: StopReason = "stopped") -> list[ActivityEvent]:
        """End what goes on, because we end or are to be silent; then ``reset``."""
        events = [] if self._last_end is None else self._end(reason, end=self._last_end, at=self._last_end)
        self.reset()
        return events

    @property
    def silent_from_s(self) -> float | None:
        """Since when (stream time) the device has been silent; None while it is not, or has never spoken."""
        if self._last_end is None or not self._goes_on(NO_DATA):
            return None
        return self._last_end / self._rate_hz

    def begin_silent(self, from_s: float) -> list[ActivityEvent]:
        """Begin with a device that fell silent at ``from_s`` (stream time), under another decider."""
        self._last_end = math.floor(from_s * self._rate_hz)
        return self.no_data()

    def _new_voter(self) -> Voter:
        return Voter(
            self._manifest.decision,
            labels=self._manifest.labels,
            sampling_rate_hz=self._rate_hz,
            window_samples=self._window,
            silenced=self._preferences.silenced,
            never=self._preferences.never,
        )

    def _checked(self, scores: Scores) -> NDArray[np.float32]:
        self._check_device(scores.device)
        labels = len(self._manifest.labels)
        if scores.probabilities.shape != (labels,):
            raise _refusal(scores, f"{labels} labels, but shape {scores.probabilities.shape}")
        if not _checks.finite(scores.probabilities):
            raise _refusal(scores, "not finite")
        if scores.end_sample % self._hop:
            raise _refusal(scores, f"windows end at multiples of the hop, {self._hop}")
        if (
            self._unbroken_from is not None
            and self._last_end is not None
            and scores.end_sample <= self._last_end
        ):
            raise _refusal(scores, f"not after {self._last_end}; report a gap if the clock was set back")
        return scores.probabilities

    def _check_device(self, device: str) -> None:
        if device != self._device:
            raise VskdError(f"the decider of {self._device} was given what belongs to {device}")

    def _join(self, end: int) -> list[ActivityEvent]:
        """Join the window to the ones before, or end what it cannot be joined to."""
        if self._last_end is None:
            return []
        begin = end - self._window
        unseen = begin - self._last_end
        events = []
        if self._unbroken_from is not None:
            if unseen <= self._window + self._lifecycle.switch_after:
                return []
            events = self._break("gap")
        # Only no_data and units_suspect go on through a break; they began where the last window ended.
        if unseen < 0:
            events += self._end("gap", end=self._last_end, at=end)
            # The same sample numbers may come again, and what they hold is something else.
            self._timeline += 1
        else:
            events += self._end("data", end=begin, at=end)
        return events

    def _update_due(self, end: int) -> bool:
        # At multiples of absolute stream time, so that every gateway updates at the same samples.
        return self._last_end is not None and end // self._update_every > self._last_end // self._update_every

    def _break(self, reason: Literal["gap", "no_data", "units_suspect"]) -> list[ActivityEvent]:
        """Join nothing after to anything before; end what goes on, unless that outlasts the break."""
        self._voter.reset()
        self._lifecycle.forget_votes()
        self._unbroken_from = None
        if self._last_end is None or self._goes_on(NO_DATA):
            return []
        if self._goes_on(UNITS_SUSPECT) and reason != "no_data":
            return []
        return self._end(reason, end=self._last_end, at=self._last_end)

    def _goes_on(self, label: str) -> bool:
        activity = self._lifecycle.activity
        return activity is not None and activity.label == label

    def _start(self, bout: Bout, *, at: int, uncertainty: int | None) -> list[ActivityEvent]:
        self._lifecycle.activity = bout
        self._start_uncertainty = uncertainty
        return [self._event("start", bout, at=at)]

    def _end(self, reason: EndReason, *, end: int, at: int) -> list[ActivityEvent]:
        """End what goes on, if anything does."""
        bout, self._lifecycle.activity = self._lifecycle.activity, None
        return [] if bout is None else [self._ended(bout, reason, end=end, at=at)]

    def _ended(self, bout: Bout, reason: EndReason, *, end: int, at: int) -> ActivityEvent:
        uncertainty = {"changed": self._window // 2, "data": self._hop}.get(reason)
        return replace(
            self._event("end", bout, at=at),
            end_sample=end,
            end_s=end / self._rate_hz,
            end_uncertainty_s=self._seconds(uncertainty),
            reason=reason,
        )

    def _event(self, type_: EventType, bout: Bout, *, at: int) -> ActivityEvent:
        identity = (self._device, self._bundle_sha256, self._timeline, bout.label, bout.start)
        return ActivityEvent(
            device=self._device,
            type=type_,
            label=bout.label,
            coarse_label=bout.coarse or self._manifest.decision.coarse.get(bout.label, bout.label),
            id=hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:32],
            confidence=bout.confidence,
            start_sample=bout.start,
            start_s=bout.start / self._rate_hz,
            start_uncertainty_s=self._seconds(self._start_uncertainty),
            at_sample=at,
            at_s=at / self._rate_hz,
            wrist=self._preferences.wrist,
        )

    def _seconds(self, samples: int | None) -> float | None:
        return None if samples is None else samples / self._rate_hz


def _refusal(scores: Scores, reason: str) -> VskdError:
    return VskdError(f"scores of {scores.device} at sample {scores.end_sample}: {reason}")
