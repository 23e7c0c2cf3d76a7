"""One device, from samples to activity events; synchronous, and the same however the input is cut.

``cut`` and ``decide`` are the two halves around the model: the daemon classifies the windows of all
devices together in between, ``push`` does it on the spot. The moment of arrival enters only as an
argument: it tells silence and the offset to UTC, never what a window holds.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream.clock import ClockFit, ClockKind, ClockReading, StreamClock
from vskd_stream.events import ActivityEvent, Decider, StopReason
from vskd_stream.ledger import Ledger
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.manifest import Manifest
from vskd_stream.mounting import Mounting
from vskd_stream.reorder import Reorderer
from vskd_stream.resample import Resampler
from vskd_stream.samples import Gap, GapReason, Samples
from vskd_stream.sanity import Finding, Sanity, Verdict
from vskd_stream.scores import Scores
from vskd_stream.stillness import unrest_g
from vskd_stream.window import Window, WindowCutter

CLOCK_JUMP_S = 86_400.0
"""A step forward by more than this is a clock that was set, not a device that was away."""
LEAST_RATE = 0.5
"""A device slower than this part of the model's rate cannot be served: interpolation invents nothing."""

_NONE: Mapping[str, int] = MappingProxyType({})

Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(b, 3, n) float32 windows in g to (b, labels) float32 probabilities."""


class Cut(msgspec.Struct, frozen=True):
    """What the first half makes of a stream, in order."""

    piece: Window | Gap
    clock: ClockReading
    """The stream's clock when it was made: what follows may set it anew."""


class Pipeline:
    """One device's way from samples to events."""

    def __init__(
        self,
        device: str,
        *,
        manifest: Manifest,
        bundle_sha256: str,
        reorder_horizon_s: float,
        no_data_after_s: float,
        preferences: Preferences = NO_PREFERENCES,
        ledger: Ledger | None = None,
    ) -> None:
        """``ledger`` outlives the pipeline, as its device does; None: one of its own."""
        self.device = device
        self.preferences = preferences
        self.ledger = ledger or Ledger()
        self._clock = StreamClock()
        self._counts: Counter[str] = Counter()
        self._rate_hz = manifest.sampling_rate_hz
        self._window_samples, self._hop_samples = manifest.window_samples, manifest.hop_samples
        self._max_gap_s = manifest.max_gap_s
        self._no_data_after_s = no_data_after_s
        self._reorderer = Reorderer(horizon_s=reorder_horizon_s, flow=self.ledger.samples)
        self._resampler = Resampler(rate_hz=manifest.sampling_rate_hz, max_gap_s=manifest.max_gap_s)
        self._cutter = WindowCutter(window_samples=manifest.window_samples, hop_samples=manifest.hop_samples)
        self._hanging = manifest.hanging
        self._mounting = _mounting(manifest)
        self._decider = Decider(
            device, manifest=manifest, bundle_sha256=bundle_sha256, preferences=preferences
        )
        self._last_s: float | None = None
        self._next_sample: int | None = None
        self._last_arrival_s: float | None = None
        self._sanity = Sanity()
        self._verdicts: deque[Verdict] = deque()
        self._finding: Finding | None = None
        self._is_finding_told = False
        self._trusted_from_s = -math.inf

    def cut(self, samples: Samples, *, arrival_s: float) -> list[Cut]:
        """Take a batch that arrived at ``arrival_s`` (UTC seconds); return the windows it completes."""
        flow = self.ledger.samples
        flow.taken += len(samples) + samples.discarded
        if samples.discarded:
            flow.drop("unusable_samples", samples.discarded)
        if self.preferences.silent:
            flow.drop("silenced", len(samples))
            return []
        if samples.sampling_rate_hz < LEAST_RATE * self._rate_hz:
            self._counts["rate_too_low"] += 1
            flow.drop("rate_too_low", len(samples))
            return []
        if samples.discarded:
            self._counts["unusable_samples"] += samples.discarded
        cuts = self.tick(arrival_s) if self.is_silent(arrival_s) else []
        self._last_arrival_s = arrival_s
        for batch in self._reorderer.push(samples):
            cuts += self._cut_ordered(batch, arrival_s)
        return cuts

    def is_silent(self, now_s: float) -> bool:
        """Whether ``tick`` would have anything to do: the device has been silent for too long."""
        return self._last_arrival_s is not None and now_s - self._last_arrival_s >= self._no_data_after_s

    def tick(self, now_s: float) -> list[Cut]:
        """Take the time (UTC seconds): a device that has been silent for too long is in ``no_data``."""
        if self._last_arrival_s is None or not self.is_silent(now_s):
            return []
        last_arrival_s, self._last_arrival_s = self._last_arrival_s, None
        cuts: list[Cut] = []
        for batch in self._reorderer.flush():
            cuts += self._cut_ordered(batch, last_arrival_s)
        if self._last_s is not None:
            cuts.append(self._break("no_data", self._last_s))
        return cuts

    @property
    def clock(self) -> ClockReading:
        """How stream time becomes UTC now."""
        return self._clock.read()

    @property
    def clock_kind(self) -> ClockKind:
        """Who says when a sample was taken."""
        return self._clock.kind

    @property
    def clock_fit(self) -> ClockFit | None:
        """How well the arrivals lie on the clock's line; None while nothing has arrived."""
        return self._clock.fit

    @property
    def turned_deg(self) -> float | None:
        """By what angle windows are turned back, because the watch sits askew; None while nobody knows."""
        return None if self._mounting is None else self._mounting.turned_deg

    @property
    def finding(self) -> Finding | None:
        """Why the samples are not classified; None while they can be what they claim to be."""
        return self._finding

    def take_counts(self) -> Mapping[str, int]:
        """What was dropped since the last call, by reason; batches, unless the reason says otherwise."""
        if not self._counts and not self._reorderer.counts:
            return _NONE
        counts = self._counts + self._reorderer.counts
        self._counts.clear()
        self._reorderer.counts.clear()
        return counts

    def decide(self, cut: Cut, probabilities: NDArray[np.float32] | None) -> list[ActivityEvent]:
        """Take one cut, in order, with the model's (labels,) probabilities if it is a window."""
        if isinstance(cut.piece, Gap):
            return self._decider.gap(cut.piece)
        assert probabilities is not None
        self.ledger.windows.used += 1
        scores = Scores(self.device, cut.piece.end_sample, probabilities)
        return self._decider.push(scores, unrest_g=unrest_g(cut.piece.acc_g))

    def prefer(self, preferences: Preferences) -> list[ActivityEvent]:
        """Follow other preferences from the next window on; what they silence ends at once."""
        if preferences.silent:
            # What comes when it may speak again is not joined with what was said before.
            self._cutter.reset()
        self.preferences = preferences
        return self._decider.prefer(preferences)

    def stop(self, reason: StopReason = "stopped") -> list[ActivityEvent]:
        """End what goes on: we stop, or are to pause."""
        return self._decider.stop(reason)

    def follow(self, *, no_data_after_s: float) -> None:
        """Wait so long for a device that is silent, from now on."""
        self._no_data_after_s = no_data_after_s

    def under(
        self,
        manifest: Manifest,
        *,
        bundle_sha256: str,
        no_data_after_s: float,
        preferences: Preferences = NO_PREFERENCES,
    ) -> Pipeline:
        """The same stream under another model; this pipeline only decides from now on, on what it has cut.

        Nothing that was taken in is lost. Where the models' grids and windows are alike, no window is:
        the next one begins before the change. Else windows begin anew.
        """
        successor = copy.copy(self)
        successor.adopt(manifest, bundle_sha256=bundle_sha256, preferences=preferences)
        successor.follow(no_data_after_s=no_data_after_s)
        return successor

    def adopt(self, manifest: Manifest, *, bundle_sha256: str, preferences: Preferences) -> None:
        """Forget what the model before has decided, and what does not fit this one."""
        grid, windows = (self._rate_hz, self._max_gap_s), (self._window_samples, self._hop_samples)
        self.preferences = preferences
        self._rate_hz, self._max_gap_s = manifest.sampling_rate_hz, manifest.max_gap_s
        self._window_samples, self._hop_samples = manifest.window_samples, manifest.hop_samples
        self._decider = Decider(
            self.device, manifest=manifest, bundle_sha256=bundle_sha256, preferences=preferences
        )
        # What is wrong with the samples is news to the new decider.
        self._is_finding_told = False
        is_other_grid = grid != (self._rate_hz, self._max_gap_s)
        if is_other_grid or self._hanging != manifest.hanging:
            self._hanging, self._mounting = manifest.hanging, _mounting(manifest)
        if is_other_grid:
            self._resampler = Resampler(rate_hz=manifest.sampling_rate_hz, max_gap_s=manifest.max_gap_s)
            self._next_sample = None
        if is_other_grid or windows != (self._window_samples, self._hop_samples):
            self._cutter = WindowCutter(
                window_samples=manifest.window_samples, hop_samples=manifest.hop_samples
            )

    def hand_over(self, successor: Pipeline) -> tuple[list[ActivityEvent], list[ActivityEvent]]:
        """End what goes on, once all that was cut here is decided on.

        Returns:
            What ends, and what the successor begins with: a silence is one under any model.
        """
        silent_from_s = self._decider.silent_from_s
        ended = self._decider.stop("model")
        return ended, [] if silent_from_s is None else successor.begin_silent(silent_from_s)

    def begin_silent(self, from_s: float) -> list[ActivityEvent]:
        """Begin with a device that fell silent at ``from_s`` (stream time)."""
        return [] if self.preferences.silent else self._decider.begin_silent(from_s)

    def abandon(self, reason: str) -> None:
        """Count what is still held as dropped: this pipeline is not asked again."""
        self.ledger.samples.drop(reason, sum(map(len, self._reorderer.flush())))

    def push(self, samples: Samples, *, arrival_s: float, classify: Classify) -> list[ActivityEvent]:
        """``cut``, classify and ``decide`` at once."""
        return self.complete(self.cut(samples, arrival_s=arrival_s), classify=classify)

    def complete(self, cuts: list[Cut], *, classify: Classify) -> list[ActivityEvent]:
        """Classify the windows among ``cuts`` and ``decide`` on each."""
        windows = [cut.piece.acc_g for cut in cuts if isinstance(cut.piece, Window)]
        scores = iter(classify(np.stack(windows)) if windows else ())
        events = []
        for cut in cuts:
            events += self.decide(cut, next(scores) if isinstance(cut.piece, Window) else None)
        return events

    def _cut_ordered(self, batch: Samples, arrival_s: float) -> list[Cut]:
        cuts: list[Cut] = []
        t_s, acc_g, rate_hz = batch.t_s, batch.acc_g, batch.sampling_rate_hz
        self.ledger.samples.used += len(t_s)
        if self._last_s is not None:
            first_s = float(t_s[0])
            step_s = first_s - self._last_s
            if step_s <= 0.0 or step_s > CLOCK_JUMP_S:
                cuts.append(self._break("clock_jump", first_s))
                self._clock.reset()
        self._last_s = float(t_s[-1])
        self._clock.observe(self._last_s, arrival_s=arrival_s, epoch=batch.epoch, counted=batch.counted)
        if verdicts := self._sanity.push(t_s, acc_g, sampling_rate_hz=rate_hz):
            self._verdicts += verdicts
        for block in self._resampler.push(t_s, acc_g, sampling_rate_hz=rate_hz):
            start = block.start
            if self._next_sample is not None and start != self._next_sample:
                # The resampler left the hole open, and the cutter starts over by itself.
                start_s, end_s = self._next_sample / self._rate_hz, start / self._rate_hz
                cuts.append(self._gap("missing", start_s, end_s))
            self._next_sample = start + len(block.acc_g)
            if windows := self._cutter.push(block):
                clock = self._clock.read()
                cuts += [Cut(piece, clock) for window in windows for piece in self._checked(window)]
        return cuts

    def _checked(self, window: Window) -> list[Window | Gap]:
        """The window; or, where its samples cannot be what they claim to be, once that they cannot."""
        self.ledger.windows.taken += 1
        # A verdict is known before any window that ends behind it, however the stream is cut.
        if self._verdicts:
            self._apply_verdicts(until_s=(window.end_sample - 1) / self._rate_hz)
        begin_s = (window.end_sample - self._window_samples) / self._rate_hz
        if self._finding is None and begin_s >= self._trusted_from_s:
            return [window if self._mounting is None else self._mounting.push(window)]
        self._counts["suspect_windows"] += 1
        self.ledger.windows.drop("suspect_windows", 1)
        if self._finding is None or self._is_finding_told:
            return []
        self._is_finding_told = True
        start_s = (window.end_sample - self._hop_samples) / self._rate_hz
        return [Gap(self.device, start_s, start_s, "units_suspect", self._finding.detail)]

    def _apply_verdicts(self, *, until_s: float) -> None:
        while self._verdicts and self._verdicts[0].at_s <= until_s:
            verdict = self._verdicts.popleft()
            self._finding = verdict.finding
            self._is_finding_told = False
            self._trusted_from_s = verdict.at_s

    def _break(self, reason: GapReason, end_s: float) -> Cut:
        """End the stream's unbroken run: nothing is interpolated or classified across it."""
        assert self._last_s is not None
        cut = self._gap(reason, self._last_s, end_s)
        self._last_s = self._next_sample = None
        self._resampler.reset()
        self._cutter.reset()
        self._apply_verdicts(until_s=math.inf)
        self._sanity.reset()
        self._is_finding_told = False
        self._trusted_from_s = -math.inf
        return cut

    def _gap(self, reason: GapReason, start_s: float, end_s: float) -> Cut:
        return Cut(Gap(self.device, start_s, end_s, reason), self._clock.read())


def _mounting(manifest: Manifest) -> Mounting | None:
    if manifest.hanging is None:
        return None
    return Mounting(manifest.hanging, sampling_rate_hz=manifest.sampling_rate_hz)
