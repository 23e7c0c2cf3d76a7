"""The skeleton teacher: a residual temporal convolution network on what joints do.

Positions from the hip, velocities, and positions from the spine, of a body brought to one size, on a fixed
number of frames; a trial is stretched end to end. Cf. Kim and Reiter, "Interpretable 3D Human Action
Analysis with Temporal Convolutional Networks" (CVPRW 2017). Nothing is mirrored: left is not right here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from training.datasets import DatasetError, Trial
from training.documents import Frozen
from training.teachers import Seen
from training.teachers.temporal import Temporal, at, way

CHANNELS = 9
"""Of a clip: positions from the hip, velocities, positions from the spine."""
_NECK, _SPINE, _HIP = 1, 2, 3  # in the order of UTD-MHAD, which is the first Kinect's
_TRUNK_M = 0.45
_VELOCITY = 8.0  # brings metres per frame to the order of positions


class SkeletonView(Frozen):
    """How skeleton clips are varied while learning; zeros leave them as they are."""

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

    def __init__(self, trials: Sequence[Trial], *, frames: int, view: SkeletonView) -> None:
        self._frames, self._view = frames, view
        self._skeletons: list[NDArray[np.float32]] = []
        for trial in trials:
            if trial.skeleton_m is None:
                raise DatasetError(trial.key, "has no skeleton")
            self._skeletons.append(_sized(trial.skeleton_m))

    def plain(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """(1, 9, frames, joints) of a trial as it was recorded."""
        return (_channels(at(self._skeletons[number], np.linspace(0.0, 1.0, self._frames))),)

    def drawn(self, number: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """A varied clip of a trial, as ``plain``."""
        view = self._view
        joints = at(self._skeletons[number], way(self._frames, warp=view.warp, crop=view.crop, rng=rng))
        angle = np.radians(rng.normal(0.0, view.turn_deg))
        turn = np.array(((np.cos(angle), 0, np.sin(angle)), (0, 1, 0), (-np.sin(angle), 0, np.cos(angle))))
        joints = joints @ turn.T * np.exp(rng.normal(0.0, view.scale))
        return (_channels(joints + rng.normal(0.0, view.noise_m, joints.shape)),)


def _sized(skeleton_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """The body scaled to one length of trunk: how tall someone is says nothing of what they do."""
    trunk_m = float(np.median(np.linalg.norm(skeleton_m[:, _NECK] - skeleton_m[:, _HIP], axis=1)))
    if trunk_m <= 0.0:
        raise DatasetError("skeleton", "its shoulders and hip are one point")
    return np.asarray(skeleton_m * (_TRUNK_M / trunk_m), np.float32)


def _channels(joints: NDArray[np.float64]) -> NDArray[np.float32]:
    from_hip = joints - joints[:, _HIP : _HIP + 1]
    velocity = np.diff(joints, axis=0, append=joints[-1:]) * _VELOCITY
    from_spine = joints - joints[:, _SPINE : _SPINE + 1]
    stacked = np.concatenate([from_hip, velocity, from_spine], axis=2)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1), np.float32)[np.newaxis]


class SkeletonTCN(Temporal):
    """(b, 9, frames, joints) clips to what is ``Seen`` in them.

    Args:
        joints: Of a skeleton.
        classes: Number of labels.
        width: Channels of the first stage; the second and third double it.
        dropout: Part of what is dropped while learning, in every block and before the head.
    """

    def __init__(self, *, joints: int, classes: int, width: int, dropout: float) -> None:
        super().__init__(inputs=CHANNELS * joints, classes=classes, width=width, dropout=dropout)

    def forward(self, clip: Tensor) -> Seen:
        """See the class."""
        return Seen(*self.told(clip.transpose(2, 3).flatten(1, 2)))
