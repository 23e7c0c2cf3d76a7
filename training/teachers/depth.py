"""Depth clips: a person's points, seen from a little elsewhere, become frames of one size.

A depth frame holds the distance of every point, so what augmentation turns is the person before the camera,
not the picture. Nothing is mirrored: left is not right here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.datasets import DatasetError, Trial
from training.documents import Frozen
from vskd_stream._jit import jit_for

CHANNELS = 3
EXTENT_M = 2.2
"""What a frame spans, in height and in width: someone with raised arms."""
_RELIEF_M = 1.5
_DARKEST = 0.25  # the background is 0, so the farthest point of a person is not
_HEAD_ROOM_M = 1.0  # from the floor up to a frame's centre
# Where a skeleton's joints fall on the depth image: of 120, 125 … 170 px these put most on the person.
_FOCAL_PX_PER_WIDTH = 137.0 / 160.0


class DepthView(Frozen):
    """How depth clips are varied while learning; zeros leave them as they are."""

    turn_deg: float = Field(ge=0.0, le=90.0)
    """Standard deviation of the angle turned about the vertical."""
    tilt_deg: float = Field(ge=0.0, le=45.0)
    """Standard deviation of the angle turned about the two horizontals."""
    scale: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the person's size."""
    shift_m: float = Field(ge=0.0, le=0.5)
    """Standard deviation of where the person stands."""
    crop: float = Field(ge=0.0, le=0.4)
    """At most this part of a clip is cut off at either end."""


@jit_for(
    "void(uint8[:,:,::1], int64[::1], float64, float64[::1], float64[:,::1], float64[::1], float32[:,:,::1])"
)
def _render(
    clip: NDArray[np.uint8],
    which: NDArray[np.int64],
    step_m: float,
    centre_m: NDArray[np.float64],
    turn: NDArray[np.float64],
    shift_m: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    rows, columns = clip.shape[1], clip.shape[2]
    size = out.shape[1]
    focal_px = _FOCAL_PX_PER_WIDTH * columns
    out[:] = 0.0
    for k in range(len(which)):
        for row in range(rows):
            for column in range(columns):
                value = clip[which[k], row, column]
                if value == 0:
                    continue
                z = value * step_m
                x = (column - 0.5 * (columns - 1)) / focal_px * z - centre_m[0]
                y = (row - 0.5 * (rows - 1)) / focal_px * z - centre_m[1]
                z -= centre_m[2]
                u = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z + shift_m[0]
                v = turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z + shift_m[1]
                w = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
                i = int(np.floor((v / EXTENT_M + 0.5) * size))
                j = int(np.floor((u / EXTENT_M + 0.5) * size))
                if 0 <= i < size and 0 <= j < size:
                    near = min(1.0, max(0.0, 0.5 - w / _RELIEF_M))
                    light = _DARKEST + (1.0 - _DARKEST) * near
                    out[k, i, j] = max(out[k, i, j], light)


class DepthClips:
    """Trials' depth frames, ready to be drawn as clips.

    Args:
        trials: With depth frames; with skeletons too if poses are asked for.
        segments: Frames of a clip, one from each part of the trial.
        size: Side of a frame in pixels.
        reach: Frames between a frame and those it is compared with: its second channel is the change since,
            its third the change until.
        step_m: What a step of the frames' values is worth.
        view: How drawn clips vary.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        *,
        segments: int,
        size: int,
        reach: int,
        step_m: float,
        view: DepthView,
    ) -> None:
        self._view = view
        self._segments, self._size, self._reach, self._step_m = segments, size, reach, step_m
        self._clips: list[NDArray[np.uint8]] = []
        self._centres_m: list[NDArray[np.float64]] = []
        self._skeletons: list[NDArray[np.float32] | None] = []
        for trial in trials:
            if trial.frames is None or trial.frames.ndim != 3:
                raise DatasetError(trial.key, "has no depth frames")
            if trial.skeleton_m is not None and len(trial.skeleton_m) != len(trial.frames):
                raise DatasetError(
                    trial.key, f"{len(trial.frames)} depth frames but {len(trial.skeleton_m)} of the skeleton"
                )
            self._clips.append(np.ascontiguousarray(trial.frames))
            self._centres_m.append(_centre_m(trial, step_m))
            self._skeletons.append(trial.skeleton_m)

    def plain(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """(segments, 3, size, size) of a trial: each part's middle frame, seen as the camera saw it."""
        edges = np.linspace(0, len(self._clips[number]), self._segments + 1)
        which = np.floor((edges[:-1] + edges[1:]) / 2).astype(np.int64)
        return (self._frames(number, which, np.eye(3), np.zeros(3)),)

    def drawn(self, number: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """A varied clip of a trial, a random frame of each part, and where its joints are then.

        Returns:
            (segments, 3, size, size) frames, and (1, segments, 3 * joints) metres from the frame's centre,
            turned with the person; without a skeleton (1, segments, 0).
        """
        view = self._view
        count = len(self._clips[number])
        start, end = count * rng.uniform(0.0, view.crop), count * (1.0 - rng.uniform(0.0, view.crop))
        edges = np.linspace(start, end, self._segments + 1)
        which = np.minimum(rng.uniform(edges[:-1], edges[1:]).astype(np.int64), count - 1)
        turn = _turn(rng.normal(0.0, (view.tilt_deg, view.turn_deg, view.tilt_deg)))
        turn *= np.exp(rng.normal(0.0, view.scale))
        shift_m = rng.normal(0.0, view.shift_m, 3)
        frames = self._frames(number, which, turn, shift_m)
        skeleton = self._skeletons[number]
        if skeleton is None:
            return frames, np.zeros((1, self._segments, 0), np.float32)
        # A camera's rows count downwards, a skeleton's y upwards.
        joints = skeleton[which] * np.array((1.0, -1.0, 1.0)) - self._centres_m[number]
        pose = joints @ turn.T + shift_m * np.array((1.0, 1.0, 0.0))
        return frames, pose.reshape(1, self._segments, -1).astype(np.float32)

    def _frames(
        self, number: int, which: NDArray[np.int64], turn: NDArray[np.float64], shift_m: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        clip = self._clips[number]
        last = len(clip) - 1
        both = np.concatenate(
            [which, np.maximum(which - self._reach, 0), np.minimum(which + self._reach, last)]
        )
        out = np.empty((len(both), self._size, self._size), np.float32)
        _render(clip, both, self._step_m, self._centres_m[number], turn, shift_m, out)
        now, before, after = out.reshape(3, self._segments, self._size, self._size)
        return np.stack([now, now - before, after - now], axis=1)


def _centre_m(trial: Trial, step_m: float) -> NDArray[np.float64]:
    """The middle of the person over the whole clip, in the camera's coordinates, a metre above the floor."""
    assert trial.frames is not None
    _, row, column = np.nonzero(trial.frames)
    if len(row) == 0:
        raise DatasetError(trial.key, "its depth frames are empty")
    z = trial.frames[trial.frames > 0] * step_m
    rows, columns = trial.frames.shape[1:]
    focal_px = _FOCAL_PX_PER_WIDTH * columns
    x = (column - 0.5 * (columns - 1)) / focal_px * z
    y = (row - 0.5 * (rows - 1)) / focal_px * z
    return np.array((np.median(x), np.percentile(y, 99.5) - _HEAD_ROOM_M, np.median(z)))


def _turn(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y (the vertical), then z."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians(angles_deg)), np.sin(np.radians(angles_deg))
    about_x = np.array(((1, 0, 0), (0, ca, -sa), (0, sa, ca)))
    about_y = np.array(((cb, 0, sb), (0, 1, 0), (-sb, 0, cb)))
    about_z = np.array(((cc, -sc, 0), (sc, cc, 0), (0, 0, 1)))
    return np.asarray(about_z @ about_y @ about_x, np.float64)
