"""The skeleton teacher: a residual temporal convolution network on what joints do.

Positions from the hip, velocities, and positions from the spine, of a body brought to one size, on a fixed
number of frames; a trial is stretched end to end. Cf. Kim and Reiter, "Interpretable 3D Human Action
Analysis with Temporal Convolutional Networks" (CVPRW 2017). Nothing is mirrored: left is not right here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from training.datasets import DatasetError, Trial
from training.teachers import FEATURES

CHANNELS = 9
"""Of a clip: positions from the hip, velocities, positions from the spine."""
_NECK, _SPINE, _HIP = 1, 2, 3  # in the order of UTD-MHAD, which is the first Kinect's
_TRUNK_M = 0.45
_KNOTS = 5
_KERNEL = 5
_VELOCITY = 8.0  # brings metres per frame to the order of positions


class SkeletonView(BaseModel):
    """How skeleton clips are varied while learning; zeros leave them as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    turn_deg: float = Field(ge=0.0, le=180.0)
    """Standard deviation of the angle turned about the vertical."""
    scale: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the body's size."""
    warp: float = Field(ge=0.0, le=1.0)
    """Standard deviation of the logarithm of the speed along the trial."""
    crop: float = Field(ge=0.0, le=0.4)
    """At most this part of a trial is cut off at either end."""
    noise_m: float = Field(ge=0.0, le=0.2)
    """Standard deviation of the joints' positions."""


class SkeletonClips:
    """Trials' skeletons, ready to be drawn as clips of ``frames`` frames."""

    def __init__(self, trials: Sequence[Trial], *, frames: int) -> None:
        self._frames = frames
        self._skeletons: list[NDArray[np.float32]] = []
        for trial in trials:
            if trial.skeleton_m is None:
                raise DatasetError(trial.key, "has no skeleton")
            self._skeletons.append(_sized(trial.skeleton_m))

    def plain(self, number: int) -> NDArray[np.float32]:
        """(9, frames, joints) of a trial as it was recorded."""
        return _channels(_at(self._skeletons[number], np.linspace(0.0, 1.0, self._frames)))

    def drawn(self, number: int, view: SkeletonView, rng: np.random.Generator) -> NDArray[np.float32]:
        """A varied clip of a trial, shape as ``plain``."""
        knots = rng.normal(0.0, view.warp, _KNOTS)
        speed = np.exp(np.interp(np.linspace(0, 1, self._frames), np.linspace(0, 1, _KNOTS), knots))
        way = np.concatenate([[0.0], np.cumsum(speed[1:])])
        start, end = rng.uniform(0.0, view.crop), 1.0 - rng.uniform(0.0, view.crop)
        joints = _at(self._skeletons[number], start + (end - start) * way / way[-1])
        angle = np.radians(rng.normal(0.0, view.turn_deg))
        turn = np.array(((np.cos(angle), 0, np.sin(angle)), (0, 1, 0), (-np.sin(angle), 0, np.cos(angle))))
        joints = joints @ turn.T * np.exp(rng.normal(0.0, view.scale))
        return _channels(joints + rng.normal(0.0, view.noise_m, joints.shape))


def _sized(skeleton_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """The body scaled to one length of trunk: how tall someone is says nothing of what they do."""
    trunk_m = float(np.median(np.linalg.norm(skeleton_m[:, _NECK] - skeleton_m[:, _HIP], axis=1)))
    if trunk_m <= 0.0:
        raise DatasetError("skeleton", "its shoulders and hip are one point")
    return np.asarray(skeleton_m * (_TRUNK_M / trunk_m), np.float32)


def _at(skeleton: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read (f, joints, 3) at positions between its first frame (0) and its last (1)."""
    place = at * (len(skeleton) - 1)
    low = np.minimum(place.astype(np.int64), len(skeleton) - 2)
    part = (place - low)[:, np.newaxis, np.newaxis]
    return np.asarray(skeleton[low] * (1.0 - part) + skeleton[low + 1] * part, np.float64)


def _channels(joints: NDArray[np.float64]) -> NDArray[np.float32]:
    from_hip = joints - joints[:, _HIP : _HIP + 1]
    velocity = np.diff(joints, axis=0, append=joints[-1:]) * _VELOCITY
    from_spine = joints - joints[:, _SPINE : _SPINE + 1]
    stacked = np.concatenate([from_hip, velocity, from_spine], axis=2)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1), np.float32)


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


class SkeletonTCN(nn.Module):
    """(b, 9, frames, joints) clips to (b, classes) logits and the (b, 300) tap.

    Args:
        joints: Of a skeleton.
        classes: Number of labels.
        width: Channels of the first stage; the second and third double it.
        dropout: Part of what is dropped while learning, in every block and before the head.
    """

    def __init__(self, *, joints: int, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv1d(CHANNELS * joints, width, 1)
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

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.stem(clip.transpose(2, 3).flatten(1, 2))
        x = F.relu(self.norm(self.blocks(x)))
        x = 0.5 * (x.mean(2) + x.amax(2))
        features = F.relu(self.tap(x))
        return self.head(self.dropout(features)), features
