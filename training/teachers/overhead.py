"""The overhead teacher: a small convolution on each of a depth camera's few pixels, then their order in time.

A frame is what it shows and how that differs from the clip's mean: posture and motion. Nothing is mirrored:
left is not right here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from training.datasets import DatasetError, Trial
from training.documents import Frozen
from training.teachers import Seen, energy
from training.teachers.temporal import Temporal, at, way

_MOTION = 8.0  # brings what moves to the order of what there is
_REDUCED = 32


class OverheadView(Frozen):
    """How overhead clips are varied while learning; zeros leave them as they are."""

    shift_px: float = Field(ge=0.0, le=4.0)
    """Standard deviation of where the person lies, along either side of the picture."""
    scale: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the person's size, along either side."""
    depth: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of all depths: the camera hung higher or lower."""
    warp: float = Field(ge=0.0, le=1.0)
    """Standard deviation of the logarithm of the speed along the trial."""
    crop: float = Field(ge=0.0, le=0.4)
    """At most this part of a trial is cut off at either end."""
    noise: float = Field(ge=0.0, le=0.5)
    """Standard deviation of a pixel's depth, of which the whole range is 1."""


class OverheadClips:
    """Trials' frames of relative depth, ready to be drawn as clips of ``frames`` frames."""

    def __init__(self, trials: Sequence[Trial], *, frames: int, view: OverheadView) -> None:
        self._frames, self._view = frames, view
        self._clips: list[NDArray[np.float32]] = []
        for trial in trials:
            if trial.frames is None or trial.frames.ndim != 3 or len(trial.frames) < 2:
                raise DatasetError(trial.key, "has no two depth frames")
            self._clips.append(trial.frames.astype(np.float32) / 255.0)

    def plain(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """(1, frames, h, w) of a trial as it was recorded, from 0 to 1."""
        clip = at(self._clips[number], np.linspace(0.0, 1.0, self._frames))
        return (clip[np.newaxis].astype(np.float32),)

    def drawn(self, number: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """A varied clip of a trial, as ``plain``."""
        view = self._view
        clip = at(self._clips[number], way(self._frames, warp=view.warp, crop=view.crop, rng=rng))
        down, across = (_moved(side, view, rng) for side in clip.shape[1:])
        clip = down @ clip @ across.T * np.exp(rng.normal(0.0, view.depth))
        clip += rng.normal(0.0, view.noise, clip.shape)
        return (clip[np.newaxis].astype(np.float32),)


def _moved(side: int, view: OverheadView, rng: np.random.Generator) -> NDArray[np.float64]:
    """(side, side) weights that read a line of pixels shifted and scaled, its ends going on for ever."""
    middle = 0.5 * (side - 1)
    place = (np.arange(side) - middle) * np.exp(rng.normal(0.0, view.scale)) + middle
    place = np.clip(place + rng.normal(0.0, view.shift_px), 0.0, side - 1.0)
    weights: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.abs(place[:, np.newaxis] - np.arange(side)))
    return weights


class OverheadNet(Temporal):
    """(b, frames, h, w) clips to what is ``Seen`` in them.

    Args:
        shape: (h, w) of a frame, multiples of 4.
        channels: Of the first convolution; the second and third double it.
        classes: Number of labels.
        width: Channels of the first temporal stage.
        dropout: Part of what is dropped while learning, in every temporal block and before the head.
    """

    def __init__(
        self, *, shape: tuple[int, int], channels: int, classes: int, width: int, dropout: float
    ) -> None:
        inputs = _REDUCED * (shape[0] // 4) * (shape[1] // 4)
        super().__init__(inputs=inputs, classes=classes, width=width, dropout=dropout)
        self.encoder = nn.Sequential(
            *_convolution(2, channels, stride=1),
            *_convolution(channels, 2 * channels, stride=2),
            *_convolution(2 * channels, 4 * channels, stride=2),
        )
        self.reduce = nn.Conv2d(4 * channels, _REDUCED, 1)

    def forward(self, clip: Tensor) -> Seen:
        """See the class."""
        b, frames, h, w = clip.shape
        moved = _MOTION * (clip - clip.mean(1, keepdim=True))
        maps = self.encoder(torch.stack([clip, moved], dim=2).reshape(b * frames, 2, h, w))
        held = F.relu(self.reduce(maps)).reshape(b, frames, -1).transpose(1, 2)
        logits, features = self.told(held)
        return Seen(logits, features, energy(cast("Tensor", maps), frames))


def _convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
