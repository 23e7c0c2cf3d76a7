"""Virtual inertial sensors: what a sensor on a limb would have measured, had the body moved in another way.

The teacher's modality multiplies the student's data: two people's motions of one label are blended as
skeletons, and what that would change of the acceleration is added to what was measured. Positions are
smoothed, differentiated twice, given gravity, and seen from the limb; cf. Young et al., "IMUSim" (2011).
How the sensor sat on the limb is found by Procrustes on training trials. Nothing is known here of rotation
about a straight limb, of soft tissue, or of motion that the camera did not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter1d

from training.datasets import DatasetError, Trial, utd_mhad
from training.documents import Frozen
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

_UP = np.array((0.0, 1.0, 0.0))
"""In the camera's frame: x right, y up, z away."""
_SMOOTHING_S = 0.1
"""Standard deviation of the Gaussian; twice differentiated, faster motion is the camera's noise."""
_LIMBS = {
    "right_wrist": ("right_wrist", "right_elbow", "right_shoulder", 1.0),
    "right_thigh": ("right_knee", "right_hip", "spine", 0.5),
}
"""Far joint, near joint, the one before that, and how far along the limb the sensor sat."""


class Virtual(Frozen):
    """How many trials are made up for each that was recorded."""

    blends: int = Field(ge=1, le=16)
    """With other people's trials of the same label and placement."""
    reach: float = Field(default=0.5, gt=0.0, le=1.0)
    """At most this part of the motion is the other one's."""


def force(
    skeleton_m: NDArray[np.floating], placement: str, *, samples: int, rate_hz: float
) -> NDArray[np.float64]:
    """Specific force on a limb, in the limb's own frame.

    Args:
        skeleton_m: (f, 20, 3) positions in metres, stretched end to end to ``samples``.
        placement: "right_wrist" or "right_thigh".
        samples: How many.
        rate_hz: Theirs.

    Returns:
        (samples, 3) in g: along the limb outwards, towards the joint before it, and across.
    """
    if placement not in _LIMBS:
        raise DatasetError("virtual sensor", f"{placement} is none of {', '.join(_LIMBS)}")
    far, near, before, along = _LIMBS[placement]
    at = np.linspace(0.0, len(skeleton_m) - 1.0, samples)
    a, b, c = (
        gaussian_filter1d(
            _read(skeleton_m[:, utd_mhad.JOINTS.index(name)], at),
            _SMOOTHING_S * rate_hz,
            axis=0,
            mode="nearest",
        )
        for name in (far, near, before)
    )
    place = b + along * (a - b)
    acceleration = np.gradient(np.gradient(place, 1.0 / rate_hz, axis=0), 1.0 / rate_hz, axis=0)
    felt = acceleration / STANDARD_GRAVITY_MPS2 + _UP
    x = _unit(a - b)
    y = _unit((c - b) - ((c - b) * x).sum(1, keepdims=True) * x)
    frame = np.stack([x, y, np.cross(x, y)], axis=1)
    return np.asarray(np.einsum("nij,nj->ni", frame, felt))


def mounting(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """(3, 3) rotation from the limb's frame to the sensor's that fits trials of one placement (Kabsch)."""
    measured = np.concatenate([trial.acc_g for trial in trials]).astype(np.float64)
    expected = np.concatenate([_force_of(trial) for trial in trials])
    u, _, vt = np.linalg.svd(measured.T @ expected)
    turn: NDArray[np.float64] = u @ np.diag((1.0, 1.0, np.linalg.det(u @ vt))) @ vt
    return turn


def blends(trials: Sequence[Trial], virtual: Virtual, *, seed: int) -> list[Trial]:
    """Trials as they would have been measured, had each person moved a little more like another one.

    Args:
        trials: Those learned from, and no others, with skeletons.
        virtual: How many of each.
        seed: Who is blended with whom, and how much.

    Returns:
        Trials with the key of the trial that was measured: its teacher's answers hold for them as well.
        A trial that nobody else did has none.
    """
    rng = np.random.default_rng([seed, virtual.blends])
    turns = {
        placement: mounting([trial for trial in trials if trial.placement == placement])
        for placement in sorted({trial.placement for trial in trials})
    }
    made = []
    for trial in trials:
        others = [
            other
            for other in trials
            if (other.label, other.placement) == (trial.label, trial.placement)
            and other.subject != trial.subject
        ]
        for _ in range(virtual.blends if others else 0):
            other = others[rng.integers(len(others))]
            share = virtual.reach * rng.random()
            made.append(_blend(trial, other, share=share, turn=turns[trial.placement]))
    return made


def _blend(trial: Trial, other: Trial, *, share: float, turn: NDArray[np.float64]) -> Trial:
    assert trial.skeleton_m is not None  # asked for when the mounting was found
    assert other.skeleton_m is not None
    samples = round((1.0 - share) * len(trial.acc_g) + share * len(other.acc_g))
    frames = len(trial.skeleton_m)
    at = np.linspace(0.0, 1.0, frames)
    theirs = _read(other.skeleton_m.reshape(len(other.skeleton_m), -1), at * (len(other.skeleton_m) - 1))
    # People stand in other places; what is blended is how they move about theirs.
    theirs = theirs.reshape(frames, -1, 3)
    mine = trial.skeleton_m
    theirs = theirs - theirs.mean((0, 1)) + mine.mean((0, 1))
    skeleton = (1.0 - share) * mine + share * theirs
    expected = force(skeleton, trial.placement, samples=samples, rate_hz=trial.rate_hz)
    # The part that the skeleton does not explain is kept as it was measured.
    rest = trial.acc_g - _force_of(trial) @ turn.T
    rest = _read(rest, np.linspace(0.0, len(rest) - 1.0, samples))
    acc_g = (rest + expected @ turn.T).astype(np.float32)
    return replace(trial, acc_g=acc_g, gyro_rad_s=None, frames=None, skeleton_m=skeleton.astype(np.float32))


def _force_of(trial: Trial) -> NDArray[np.float64]:
    if trial.skeleton_m is None:
        raise DatasetError(trial.key, "has no skeleton for a virtual sensor")
    return force(trial.skeleton_m, trial.placement, samples=len(trial.acc_g), rate_hz=trial.rate_hz)


def _read(values: NDArray[np.floating], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(f, k) at positions (n,) in frames, linearly interpolated."""
    low = np.minimum(at.astype(np.int64), len(values) - 2)
    part = (at - low)[:, np.newaxis]
    return np.asarray(values[low] * (1.0 - part) + values[low + 1] * part, np.float64)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6))
