"""DSADS: 19 daily and sports activities of 8 people, 5 minutes each, cut into 60 segments of 5 seconds.

Altun, Barshan and Tunçel (2010), CC BY 4.0. Read in the official layout (``data/aNN/pN/sNN.txt``: 125 rows
of 45 values, the right arm's in columns 10 to 15, m/s2 and rad/s, 25 Hz), a folder or a zip archive, or from
one .npz of the right arm: ``x`` (19, 8, 60, 125, 6). Once read, a segment is a trial in the sensor's axes,
and what goes on without a break is a recording in a watch's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import npz
from training.datasets import DatasetError, Recording, Source, Trial, checked, checked_trial, tables
from training.datasets.members import first_of, members
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

RATE_HZ = 25.0
SOURCE = Source(
    name="Daily and Sports Activities Data Set (DSADS)",
    licence="CC BY 4.0",
    attribution=(
        "Altun, K., Barshan, B. and Tunçel, O. (2010). Comparative study on classifying human activities "
        "with miniature inertial and magnetic sensors. Pattern Recognition 43(10). "
        "https://doi.org/10.24432/C5C59F. Changes: only one wrist was used, turned into a "
        "watch's axes, converted to g, resampled and cut."
    ),
    labels=(
        "sitting", "standing", "lying_on_back", "lying_on_side", "ascending_stairs", "descending_stairs",
        "standing_in_elevator", "moving_in_elevator", "walking_in_parking_lot", "walking_on_treadmill",
        "walking_on_inclined_treadmill", "running_on_treadmill", "stepping", "cross_training",
        "cycling_lying", "cycling_upright", "rowing", "jumping", "playing_basketball",
    ),
    limits=(
        "- Gym activities are known from eight people between 20 and 30 only.",
        "- The sensor of these was strapped to the right wrist and was no watch.",
    ),
)  # fmt: skip
PIECES = frozenset({"ascending_stairs", "descending_stairs"})
"""Labels whose segments do not follow each other: stairs were cut out flight by flight. (Measured: from one
segment's end to the next one's begin acceleration steps by 2.1 m/s2 on average there, by 0.5 within.)"""

_HINT = (
    "download the set from https://archive.ics.uci.edu/dataset/256 and put its folder data, or the archive "
    "daily+and+sports+activities.zip, or dsads-right_wrist-acc-gyr.npz, into the folder given with --data"
)
_DERIVED = "dsads-right_wrist-acc-gyr.npz"
_PLACES = ("data", "daily+and+sports+activities.zip", _DERIVED)
_PATH = re.compile(r"(?:.*/)?a(\d{2})/p(\d)/s(\d{2})\.txt")
_SHAPE = (19, 8, 60, 125, 6)
# Where stream time begins is free; from here on every segment holds a whole window of 120 samples, of those
# that end at multiples of 120.
_START_S = 116 / RATE_HZ
# The sensor's x pointed to the elbow and its y to the thumb (a hanging arm reads +x, a bent one +y); on a
# watch y points away from the thumb. Half a turn about z, which points out of the back of the hand on both,
# makes of it a watch on a left wrist.
_AS_A_WATCH = np.array([-1.0, -1.0, 1.0], np.float32)


def trials(folder: Path) -> list[Trial]:
    """Every segment, by activity, subject and number.

    Raises:
        DatasetError: The set is missing, damaged, of another shape, or not finite.
    """
    return _read(first_of(folder, _PLACES, hint=_HINT))


def load(place: Path) -> list[Recording]:
    """Every uninterrupted stretch of one activity as a watch would have seen it, by subject and activity.

    Args:
        place: The official folder or archive, or the .npz.

    Raises:
        DatasetError: As ``trials``.
    """

    def order(trial: Trial) -> tuple[str, int, int]:
        return trial.subject, SOURCE.labels.index(trial.label), trial.repetition

    ordered = sorted(_read(place), key=order)
    return [
        _recording(place, piece)
        for _, segments in groupby(ordered, key=lambda trial: order(trial)[:2])
        for piece in _pieces(list(segments))
    ]


def _pieces(segments: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    start = 0
    for i, (before, after) in enumerate(pairwise(segments), start=1):
        if before.label in PIECES or after.repetition != before.repetition + 1:
            yield segments[start:i]
            start = i
    yield segments[start:]


def _recording(place: Path, piece: Sequence[Trial]) -> Recording:
    acc_g = np.concatenate([trial.acc_g for trial in piece]) * _AS_A_WATCH
    t_s = _START_S + np.arange(len(acc_g)) / RATE_HZ
    first = piece[0]
    recording = Recording(first.subject, SOURCE.labels.index(first.label), t_s, acc_g, RATE_HZ)
    return checked(f"{place}, {first.key}", recording)


def _read(place: Path) -> list[Trial]:
    if place.suffix != ".npz":
        return _official(place)
    if not place.exists():
        raise DatasetError(place, f"not found; {_HINT}")
    try:
        with npz.opened(place) as archive:
            x = archive["x"]
    except npz.UNREADABLE as error:
        raise DatasetError(place, f"not a readable .npz archive with x ({error}); {_HINT}") from error
    if x.ndim != len(_SHAPE) or x.shape[0] != _SHAPE[0] or x.shape[4] != _SHAPE[4] or x.dtype.kind != "f":
        raise DatasetError(place, f"x is {x.dtype} {x.shape}, not floating-point {_SHAPE}")
    return [
        _trial(place, activity, subject, number, x[activity, subject, number])
        for activity, subject, number in np.ndindex(*x.shape[:3])
    ]


def _official(place: Path) -> list[Trial]:
    found = []
    for match, name, data in members(place, _PATH, hint=_HINT):
        activity, subject, number = (int(text) - 1 for text in match.groups())
        where = f"{place}, {match[0]}"
        if not 0 <= activity < len(SOURCE.labels):
            raise DatasetError(where, f"there is no activity {name}")
        rows = tables.numbers(where, data, columns=45, delimiter=",")
        found.append(_trial(where, activity, subject, number, rows[:, 9:15]))
    if not found:
        raise DatasetError(place, f"no file aNN/pN/sNN.txt is in it; {_HINT}")
    return sorted(found, key=lambda trial: trial.key)


def _trial(where: object, activity: int, subject: int, number: int, values: NDArray[np.floating]) -> Trial:
    return checked_trial(
        where,
        Trial(
            key=f"a{activity + 1:02}_p{subject + 1}_s{number + 1:02}",
            label=SOURCE.labels[activity],
            subject=str(subject + 1),
            repetition=number + 1,
            acc_g=(values[:, :3] / STANDARD_GRAVITY_MPS2).astype(np.float32),
            rate_hz=RATE_HZ,
            gyro_rad_s=values[:, 3:].astype(np.float32),
        ),
    )
