"""One device, from samples to activity events; synchronous, and the same however the input is cut.

``cut`` and ``decide`` are the two halves around the model: the daemon classifies the windows of all
devices together in between, ``push`` does it on the spot. The moment of arrival enters only as an
argument: it tells silence and the offset to UTC, never what a window holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream.clock import ClockReading, StreamClock
from vskd_stream.events import ActivityEvent, Decider
from vskd_stream.manifest import Manifest
from vskd_stream.reorder import Reorderer
from vskd_stream.resample import Resampler
from vskd_stream.samples import Gap, GapReason, Samples
from vskd_stream.scores import Scores
from vskd_stream.window import Window, WindowCutter

CLOCK_JUMP_S = 86_400.0
"""A step forward by more than this is a clock that was set, not a device that was away."""
LEAST_RATE = 0.5
"""A device slower than this part of the model's rate cannot be served: interpolation invents nothing."""

Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(b, 3, n) float32 windows in g to (b, labels) float32 probabilities."""


@dataclass(frozen=True, slots=True)
class Cut:
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
    ) -> None:
        self.device = device
        self._clock = StreamClock()
        self._counts: Counter[str] = Counter()
        self._rate_hz = manifest.sampling_rate_hz
        self._max_gap_s = manifest.max_gap_s
        self._no_data_after_s = no_data_after_s
        self._reorderer = Reorderer(horizon_s=reorder_horizon_s)
        self._resampler = Resampler(rate_hz=manifest.sampling_rate_hz, max_gap_s=manifest.max_gap_s)
        self._cutter = WindowCutter(window_samples=manifest.window_samples, hop_samples=manifest.hop_samples)
        self._decider = Decider(device, manifest=manifest, bundle_sha256=bundle_sha256)
        self._last_s: float | None = None
        self._next_sample: int | None = None
        self._last_arrival_s: float | None = None

    def cut(self, samples: Samples, *, arrival_s: float) -> list[Cut]:
        """Take a batch that arrived at ``arrival_s`` (UTC seconds); return the windows it completes."""
        if samples.sampling_rate_hz < LEAST_RATE * self._rate_hz:
            self._counts["rate_too_low"] += 1
            return []
        if samples.discarded:
            self._counts["unusable_samples"] += samples.discarded
        cuts = self.tick(arrival_s)
        self._last_arrival_s = arrival_s
        for batch in self._reorderer.push(samples):
            cuts += self._cut_ordered(batch, arrival_s)
        return cuts

    def tick(self, now_s: float) -> list[Cut]:
        """Take the time (UTC seconds): a device that has been silent for too long is in ``no_data``."""
        if self._last_arrival_s is None or now_s - self._last_arrival_s < self._no_data_after_s:
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

    def take_counts(self) -> Counter[str]:
        """What was dropped since the last call, by reason; batches, unless the reason says otherwise."""
        counts = self._counts + self._reorderer.counts
        self._counts.clear()
        self._reorderer.counts.clear()
        return counts

    def decide(self, cut: Cut, probabilities: NDArray[np.float32] | None) -> list[ActivityEvent]:
        """Take one cut, in order, with the model's (labels,) probabilities if it is a window."""
        if isinstance(cut.piece, Gap):
            return self._decider.gap(cut.piece)
        assert probabilities is not None
        return self._decider.push(Scores(self.device, cut.piece.end_sample, probabilities))

    def stop(self) -> list[ActivityEvent]:
        """End what goes on: we stop."""
        return self._decider.stop()

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
        if self._last_s is not None:
            step_s = float(batch.t_s[0]) - self._last_s
            if step_s <= 0.0 or step_s > CLOCK_JUMP_S:
                cuts.append(self._break("clock_jump", float(batch.t_s[0])))
                self._clock.reset()
        self._last_s = float(batch.t_s[-1])
        self._clock.observe(self._last_s, arrival_s=arrival_s, epoch=batch.epoch)
        clock = self._clock.read()
        for block in self._resampler.push(batch.t_s, batch.acc_g, sampling_rate_hz=batch.sampling_rate_hz):
            if self._next_sample is not None and block.start != self._next_sample:
                # The resampler left the hole open, and the cutter starts over by itself.
                start_s, end_s = self._next_sample / self._rate_hz, block.start / self._rate_hz
                cuts.append(self._gap("missing", start_s, end_s))
            self._next_sample = block.end
            cuts += [Cut(window, clock) for window in self._cutter.push(block)]
        return cuts

    def _break(self, reason: GapReason, end_s: float) -> Cut:
        """End the stream's unbroken run: nothing is interpolated or classified across it."""
        assert self._last_s is not None
        cut = self._gap(reason, self._last_s, end_s)
        self._last_s = self._next_sample = None
        self._resampler.reset()
        self._cutter.reset()
        return cut

    def _gap(self, reason: GapReason, start_s: float, end_s: float) -> Cut:
        return Cut(Gap(self.device, start_s, end_s, reason), self._clock.read())
