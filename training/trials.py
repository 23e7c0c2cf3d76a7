"""Whole trials → windows → images: each stretched end to end, as the paper has it, and encoded as served.

``stretch`` is the only way from a trial to a window, for learning, judging and exporting alike; an
augmented trial differs by the positions it is read at, and by what ``augment`` does to acceleration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.augment import Augmentation, augment
from training.datasets import DatasetError, Trial
from training.documents import Frozen
from training.windows import Stretch
from vskd_stream.image import ImageSpec, encode_batch

UNKNOWN = -1
"""The label of motion that nobody made."""
_KNOTS = 5


class TrialView(Frozen):
    """How whole trials are varied in time while learning; zeros leave them as they are."""

    crop: float = Field(default=0.0, ge=0.0, le=0.4)
    """At most this part is cut off, at either end."""
    warp: float = Field(default=0.0, ge=0.0, le=1.0)
    """Standard deviation of the logarithm of the speed along the trial."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Acceleration of many trials, end to end."""

    acc_g: NDArray[np.float32]
    """(sum of lengths, 3)."""
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Pool:
        """Their acceleration, in their order."""
        if not trials:
            raise DatasetError("trials", "there is none to learn from or to judge")
        lengths = np.array([len(trial.acc_g) for trial in trials], np.int64)
        return cls(np.concatenate([trial.acc_g for trial in trials]), np.cumsum(lengths) - lengths, lengths)


def stretch(pool: Pool, which: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Read trials at positions between their first sample (0) and their last (1), linearly interpolated.

    Args:
        pool: The trials.
        which: (b,) numbers of trials.
        at: (b, n) or (n,) positions in [0, 1], ascending.

    Returns:
        (b, n, 3) acceleration in g.
    """
    last = (pool.lengths[which] - 1)[:, np.newaxis]
    position = at * last
    low = np.minimum(position.astype(np.int64), last - 1)
    part = (position - low)[..., np.newaxis].astype(np.float32)
    first = pool.starts[which][:, np.newaxis] + low
    read: NDArray[np.float32] = pool.acc_g[first] * (1 - part) + pool.acc_g[first + 1] * part
    return read


def end_to_end(n: int) -> NDArray[np.float64]:
    """(n,) positions of a trial as it is."""
    return np.linspace(0.0, 1.0, n)


def varied(count: int, n: int, view: TrialView, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, n) positions of cropped trials, played at slowly changing speed."""
    knots = view.warp * rng.standard_normal((count, _KNOTS))
    place = np.linspace(0.0, _KNOTS - 1.0, n - 1)
    left = np.minimum(place.astype(np.int64), _KNOTS - 2)
    speed = np.exp(knots[:, left] * (1.0 - (place - left)) + knots[:, left + 1] * (place - left))
    at = np.zeros((count, n))
    np.cumsum(speed, axis=1, out=at[:, 1:])
    at /= at[:, -1:]
    start, end = view.crop * rng.random((count, 1)), 1.0 - view.crop * rng.random((count, 1))
    return np.clip(start + (end - start) * at, 0.0, 1.0)


def stretches(trials: Sequence[Trial], labels: Sequence[str], n: int) -> list[Stretch]:
    """Each trial as a stretch of one window of ``n`` samples."""
    windows = as_windows(trials, n)
    return [
        Stretch(trial.subject, labels.index(trial.label), windows[i : i + 1])
        for i, trial in enumerate(trials)
    ]


def as_windows(trials: Sequence[Trial], n: int) -> NDArray[np.float32]:
    """(t, 3, n) C-contiguous float32 windows of whole trials, in their order."""
    pool = Pool.of(trials)
    read = stretch(pool, np.arange(len(trials)), end_to_end(n))
    return np.ascontiguousarray(read.transpose(0, 2, 1))


def blend(
    windows: NDArray[np.float32], labels: NDArray[np.int64], *, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first ``count`` of (b, 3, n) windows blended with any others, and ``UNKNOWN`` as their labels.

    Weighted means of acceleration, as Zhang et al., "mixup" (ICLR 2018) have them, yet without their labels.
    """
    others = rng.permutation(len(windows))[:count]
    share = rng.random((count, 1, 1), np.float32)
    mixed = share * windows[:count] + (np.float32(1.0) - share) * windows[others]
    return (
        np.concatenate([mixed, windows[count:]]),
        np.concatenate([np.full(count, UNKNOWN, np.int64), labels[count:]]),
    )


class RandomTrials:
    """An endless supply of augmented whole trials, every trial equally often.

    What an epoch draws depends on the seed and the epoch's number alone, so a resumed run sees what
    an undisturbed one would have seen.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        *,
        labels: Sequence[str],
        samples: int,
        view: TrialView,
        image: ImageSpec | None,
        augmentation: Augmentation,
        seed: int,
        mixed: float = 0.0,
    ) -> None:
        """``image`` None: who learns reads the windows. ``mixed``: the part of a batch that is blended."""
        self._pool = Pool.of(trials)
        self._labels = np.array([labels.index(trial.label) for trial in trials], np.int64)
        self._n = samples
        self._view = view
        self._image = image
        # Whole trials are warped between their ends, not by running on beyond them.
        self._augmentation = augmentation.model_copy(update={"speed": 0.0})
        self._seed = seed
        self._mixed = mixed

    def epoch(
        self, number: int, *, batches: int, batch_size: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """``batches`` times what is learned from, labels (b,), numbers (b,) of trials, and their windows.

        What is learned from are images (b, channels, h, w), whose array is reused, or the windows (b, 3, n).
        """
        rng = np.random.default_rng([self._seed, number])
        count, total = len(self._labels), batches * batch_size
        order = np.concatenate([rng.permutation(count) for _ in range(-(-total // count))])
        images = None if self._image is None else np.empty((batch_size, *self._image.shape), np.float32)
        for which in order[:total].reshape(batches, batch_size):
            read = stretch(self._pool, which, varied(batch_size, self._n, self._view, rng))
            windows = augment(read, self._n, self._augmentation, rng)
            labels = self._labels[which]
            if blended := round(self._mixed * batch_size):
                windows, labels = blend(windows, labels, count=blended, rng=rng)
            seen = windows if self._image is None else encode_batch(windows, spec=self._image, out=images)
            yield seen, labels, which, windows
