"""Recording → windows → images, by the serving path's own resampler, cutter and encoder.

Nothing here computes a sample or a pixel of its own: augmented windows differ from served ones by
what ``augment`` did to the acceleration, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.augment import Augmentation, augment, reach_samples
from training.datasets import DatasetError, Recording
from training.experiment import Signal
from vskd_stream.image import ImageSpec, encode_batch
from vskd_stream.resample import Block, Resampler
from vskd_stream.window import Window, WindowCutter


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The windows of one uninterrupted recording, as a gateway would have cut them."""

    subject: str
    label: int
    windows: NDArray[np.float32]
    """(w, 3, n) acceleration in g, a hop apart, w >= 1."""


def resample(recording: Recording, signal: Signal) -> list[Block]:
    """The recording on the model's grid."""
    resampler = Resampler(rate_hz=signal.sampling_rate_hz, max_gap_s=signal.max_gap_s)
    return resampler.push(recording.t_s, recording.acc_g, sampling_rate_hz=recording.sampling_rate_hz)


def cut(recordings: Sequence[Recording], signal: Signal) -> list[Stretch]:
    """What a gateway would have cut; a gap within a recording begins another stretch."""
    stretches = []
    for recording in recordings:
        for block in resample(recording, signal):
            cutter = WindowCutter(window_samples=signal.window_samples, hop_samples=signal.hop_samples)
            windows: list[Window] = cutter.push(block)
            if windows:
                stacked = np.stack([window.acc_g for window in windows])
                stretches.append(Stretch(recording.subject, recording.label, stacked))
    if not stretches:
        raise DatasetError("windows", f"no recording is as long as a window of {signal.window_s:g} s")
    return stretches


def labels_of(stretches: Sequence[Stretch]) -> NDArray[np.int64]:
    """(w,) the label of each window of the stretches, one behind the other."""
    return np.concatenate([np.full(len(each.windows), each.label, np.int64) for each in stretches])


class RandomWindows:
    """An endless supply of augmented windows at random offsets, every label equally often.

    What an epoch draws depends on the seed and the epoch's number alone, so a resumed run sees what
    an undisturbed one would have seen.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        signal: Signal,
        image: ImageSpec | None,
        augmentation: Augmentation,
        seed: int,
        weights: Mapping[str, float] | None = None,
        prior: Mapping[int, float] | None = None,
    ) -> None:
        """Of the data sets that have a label each gives as many of its windows as its weight says.

        Without an ``image`` what is learned from is the windows themselves. ``prior`` tells how often a label
        is drawn, relative to the others; 1 if absent.
        """
        self._n = signal.window_samples
        self._image = image
        self._augmentation = augmentation
        self._seed = seed
        self._reach = reach_samples(augmentation, self._n)
        pieces: list[NDArray[np.float32]] = []
        starts: dict[int, dict[str, list[NDArray[np.int64]]]] = {}
        ends: list[NDArray[np.int64]] = []
        position = 0
        for recording in recordings:
            for block in resample(recording, signal):
                count = len(block.acc_g) - self._n + 1
                if count > 0:
                    offsets = np.arange(position, position + count, dtype=np.int64)
                    starts.setdefault(recording.label, {}).setdefault(recording.dataset, []).append(offsets)
                    pieces.append(block.acc_g)
                    position += len(block.acc_g)
                    ends.append(np.full(len(block.acc_g), position, np.int64))
        if not pieces:
            raise DatasetError("windows", f"no recording has the {self._n} samples that a window needs")
        self._acc_g = np.concatenate(pieces)
        self._ends = np.concatenate(ends)
        self._labels = np.array(sorted(starts), np.int64)
        self._starts = [
            [np.concatenate(found) for found in starts[label].values()] for label in sorted(starts)
        ]
        often = np.array([(prior or {}).get(label, 1.0) for label in sorted(starts)])
        self._often = often / often.sum() if prior else None
        # Cumulated, so that one random number tells which data set a window comes from.
        self._shares = [
            _cumulated([(weights or {}).get(name, 1.0) for name in starts[label]]) for label in sorted(starts)
        ]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels that occur, ascending."""
        return self._labels

    def epoch(
        self, number: int, *, batches: int, batch_size: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Images (b, channels, h, w), or windows, and labels (b,), ``batches`` times; images are reused."""
        for _, images, labels in self.with_windows(number, batches=batches, batch_size=batch_size):
            yield images, labels

    def with_windows(
        self, number: int, *, batches: int, batch_size: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]]:
        """``epoch``, with the (b, 3, n) windows of which the images are before them."""
        rng = np.random.default_rng([self._seed, number])
        images = None if self._image is None else np.empty((batch_size, *self._image.shape), np.float32)
        for _ in range(batches):
            windows, labels = self.draw(rng, batch_size)
            seen = windows if self._image is None else encode_batch(windows, spec=self._image, out=images)
            yield windows, seen, labels

    def draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(count, 3, n) augmented windows and their (count,) labels."""
        if self._often is None:
            classes = rng.integers(len(self._labels), size=count)
        else:
            classes = rng.choice(len(self._labels), size=count, p=self._often)
        drawn = []
        for c in classes:
            # The last share may miss 1 by its rounding.
            sets = self._starts[c]
            of_set = sets[min(int(np.searchsorted(self._shares[c], rng.random())), len(sets) - 1)]
            drawn.append(of_set[rng.integers(len(of_set))])
        starts = np.array(drawn)
        ends = self._ends[starts]
        places = starts[:, np.newaxis] + np.arange(self._reach)
        segments = self._acc_g[np.minimum(places, ends[:, np.newaxis] - 1)]
        available = np.minimum(ends - starts, self._reach)
        windows = augment(segments, self._n, self._augmentation, rng, available=available)
        return windows, self._labels[classes]


def _cumulated(weights: Sequence[float]) -> NDArray[np.float64]:
    return np.cumsum(np.array(weights) / sum(weights))
