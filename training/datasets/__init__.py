"""Recordings to learn from: one data set a file, each in its own official layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream.errors import VskdError

DEPTH_STEP_M = 0.016


class DatasetError(VskdError):
    """A data set that is missing, damaged or not what its layout promises."""

    def __init__(self, place: object, reason: str) -> None:
        super().__init__(f"data set {place}: {reason}")
        self.place = place
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Source:
    """What a data set is, whoever reads it."""

    name: str
    licence: str
    attribution: str
    """How its authors want to be named, and what was changed."""
    labels: tuple[str, ...]
    """In the order of ``Recording.label``."""
    limits: tuple[str, ...]
    """What a model that learned from it cannot know; Markdown list items for the model card."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One subject doing one activity without interruption."""

    subject: str
    label: int
    """Index into the source's labels."""
    t_s: NDArray[np.float64]
    """(n,) seconds, strictly increasing, on the recording device's own time line."""
    acc_g: NDArray[np.float32]
    """(n, 3) acceleration in g, gravity included, finite, C-contiguous."""
    sampling_rate_hz: float
    """The recording device's nominal rate."""
    dataset: str = ""
    """Which data set it is of, where there are several."""


def checked(place: object, recording: Recording) -> Recording:
    """Return ``recording``, or raise ``DatasetError`` where it breaks its own promises."""
    n = len(recording.t_s)
    if n < 2:
        raise DatasetError(place, f"{n} samples are no recording")
    if recording.t_s.shape != (n,) or recording.acc_g.shape != (n, 3):
        raise DatasetError(
            place, f"times {recording.t_s.shape} and acceleration {recording.acc_g.shape} do not fit together"
        )
    if not recording.acc_g.flags.c_contiguous:
        raise DatasetError(place, "a sample's axes do not lie side by side in memory")
    if not np.isfinite(recording.acc_g).all() or not np.isfinite(recording.t_s).all():
        raise DatasetError(place, "a sample is not a finite number")
    if not (np.diff(recording.t_s) > 0.0).all():
        raise DatasetError(place, "time stands still or runs backwards")
    return recording


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One person performing one activity once, as every sensor saw it.

    The sensors' clocks are not the same: what belongs together begins and ends together, so clips of one
    trial are stretched end to end.
    """

    key: str
    """Unique in its data set; pairs what the sensors of one trial recorded."""
    label: str
    subject: str
    repetition: int
    acc_g: NDArray[np.float32]
    """(n, 3) acceleration in g, gravity included, finite."""
    rate_hz: float
    """Of acceleration and angular rate."""
    gyro_rad_s: NDArray[np.float32] | None = None
    """(n, 3) angular rate in radians per second."""
    skeleton_m: NDArray[np.float32] | None = None
    """(f, joints, 3) positions in metres."""
    frames: NDArray[np.uint8] | None = None
    """(f, h, w) depth, of a Kinect in steps of ``DEPTH_STEP_M``, or (f, h, w, 3) RGB."""
    placement: str = "right_wrist"
    """Where the sensor sat."""
    session: str = ""
    scene: str = ""
    view: str = ""


def checked_trial(place: object, trial: Trial) -> Trial:
    """Return ``trial``, or raise ``DatasetError`` where it breaks its own promises."""
    n = len(trial.acc_g)
    if n < 2:
        raise DatasetError(place, f"{n} samples are no trial")
    if trial.acc_g.shape != (n, 3):
        raise DatasetError(place, f"acceleration {trial.acc_g.shape} is not (n, 3)")
    gyro = trial.gyro_rad_s
    if gyro is not None and gyro.shape != (n, 3):
        raise DatasetError(place, f"angular rate {gyro.shape} and acceleration {(n, 3)} do not fit together")
    skeleton = trial.skeleton_m
    if skeleton is not None and (skeleton.ndim != 3 or skeleton.shape[2] != 3 or len(skeleton) < 2):
        raise DatasetError(place, f"a skeleton {skeleton.shape} is not (frames, joints, 3)")
    frames = trial.frames
    if frames is not None and (frames.ndim not in {3, 4} or 0 in frames.shape):
        raise DatasetError(place, f"frames {frames.shape} are neither depth (f, h, w) nor RGB (f, h, w, 3)")
    for name, values in (("acceleration", trial.acc_g), ("angular rate", gyro), ("skeleton", skeleton)):
        if values is not None and not np.isfinite(values).all():
            raise DatasetError(place, f"a value of its {name} is not a finite number")
    return trial
