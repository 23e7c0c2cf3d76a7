"""A residual temporal convolution network: what frames hold, in their order, to an answer and a tap."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from training.teachers import FEATURES

_KERNEL = 5
_KNOTS = 5


def way(frames: int, *, warp: float, crop: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(frames,) positions between a trial's first moment (0) and its last (1), of a varied clip.

    Args:
        frames: How many.
        warp: Standard deviation of the logarithm of the speed along the trial.
        crop: At most this part is cut off at either end.
        rng: Draws.
    """
    knots = rng.normal(0.0, warp, _KNOTS)
    speed = np.exp(np.interp(np.linspace(0, 1, frames), np.linspace(0, 1, _KNOTS), knots))
    gone = np.concatenate([[0.0], np.cumsum(speed[1:])])
    start, end = rng.uniform(0.0, crop), 1.0 - rng.uniform(0.0, crop)
    return np.asarray(start + (end - start) * gone / gone[-1], np.float64)


def at(clip: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read (f, ., .) frames at positions between the first (0) and the last (1), linearly interpolated."""
    place = positions * (len(clip) - 1)
    low = np.minimum(place.astype(np.int64), len(clip) - 2)
    part = (place - low)[:, np.newaxis, np.newaxis]
    return np.asarray(clip[low] * (1.0 - part) + clip[low + 1] * part, np.float64)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm1d(inputs)
        self.conv1 = nn.Conv1d(inputs, outputs, _KERNEL, stride=stride, padding=_KERNEL // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, _KERNEL, padding=_KERNEL // 2, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(self.dropout(F.relu(self.norm2(y))))
        return cast("Tensor", y + self.shortcut(x))


class Temporal(nn.Module):
    """(b, inputs, frames) to (b, classes) logits and the (b, 300) tap.

    Args:
        inputs: Numbers that each frame holds.
        classes: Number of labels.
        width: Channels of the first stage; the second and third double it.
        dropout: Part of what is dropped while learning, in every block and before the head.
    """

    def __init__(self, *, inputs: int, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv1d(inputs, width, 1)
        self.blocks = nn.Sequential(
            _Residual(width, width, stride=1, dropout=dropout),
            _Residual(width, 2 * width, stride=2, dropout=dropout),
            _Residual(2 * width, 2 * width, stride=1, dropout=dropout),
            _Residual(2 * width, 4 * width, stride=2, dropout=dropout),
        )
        self.norm = nn.BatchNorm1d(4 * width)
        self.tap = nn.Linear(4 * width, FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, classes)

    def told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = self.embed(self.maps(x))
        return self.answer(features), features

    def maps(self, x: Tensor) -> Tensor:
        """(b, inputs, frames) to the last stage's (b, 4 width, frames / 4) maps."""
        return F.relu(self.norm(self.blocks(self.stem(x))))

    def embed(self, maps: Tensor) -> Tensor:
        """``maps`` to the (b, 300) tap, after its ReLU."""
        return F.relu(self.tap(0.5 * (maps.mean(2) + maps.amax(2))))

    def answer(self, tap: Tensor) -> Tensor:
        """The tap to (b, classes) logits."""
        logits: Tensor = self.head(self.dropout(tap))
        return logits
