"""Recordings to learn from: one data set a file, each in its own official layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream.errors import VskdError


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
    """(n, 3) acceleration in g, gravity included, finite."""
    sampling_rate_hz: float
    """The recording device's nominal rate."""


def checked(place: object, recording: Recording) -> Recording:
    """Return ``recording``, or raise ``DatasetError`` where it breaks its own promises."""
    n = len(recording.t_s)
    if n < 2:
        raise DatasetError(place, f"{n} samples are no recording")
    if recording.t_s.shape != (n,) or recording.acc_g.shape != (n, 3):
        raise DatasetError(
            place, f"times {recording.t_s.shape} and acceleration {recording.acc_g.shape} do not fit together"
        )
    if not np.isfinite(recording.acc_g).all() or not np.isfinite(recording.t_s).all():
        raise DatasetError(place, "a sample is not a finite number")
    if not (np.diff(recording.t_s) > 0.0).all():
        raise DatasetError(place, "time stands still or runs backwards")
    return recording
