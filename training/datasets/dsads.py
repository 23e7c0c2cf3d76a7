"""DSADS: 19 daily and sports activities of 8 people, 5 minutes each, cut into 60 segments of 5 seconds.

Altun, Barshan and Tunçel (2010), CC BY 4.0. Read in the official layout (``data/aNN/pN/sNN.txt``: 125 rows
of 45 values, the right arm's in columns 10 to 15, m/s2 and rad/s, 25 Hz), a folder or a zip archive, or from
one .npz of the right arm: ``x`` (19, 8, 60, 125, 6).
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Source, Trial, checked_trial, tables
from training.datasets.members import first_of, members

RATE_HZ = 25.0
STANDARD_GRAVITY_MPS2 = 9.80665
SOURCE = Source(
    name="Daily and Sports Activities Data Set (DSADS)",
    licence="CC BY 4.0",
    attribution=(
        "Altun, K., Barshan, B. and Tunçel, O. (2010). Comparative study on classifying human activities "
        "with miniature inertial and magnetic sensors. Pattern Recognition 43(10). https://doi.org/10.24432/C5C59F"
    ),
    labels=(
        "sitting", "standing", "lying_on_back", "lying_on_side", "ascending_stairs", "descending_stairs",
        "standing_in_elevator", "moving_in_elevator", "walking_in_parking_lot", "walking_on_treadmill",
        "walking_on_inclined_treadmill", "running_on_treadmill", "stepping", "cross_training",
        "cycling_lying", "cycling_upright", "rowing", "jumping", "playing_basketball",
    ),
    limits=("- Eight people; the sensor was strapped to the right wrist and is no watch.",),
)  # fmt: skip

_HINT = (
    "download the set from https://archive.ics.uci.edu/dataset/256 and put its folder data, or the archive "
    "daily+and+sports+activities.zip, or dsads-right_wrist-acc-gyr.npz, into the folder given with --data"
)
_DERIVED = "dsads-right_wrist-acc-gyr.npz"
_PLACES = ("data", "daily+and+sports+activities.zip", _DERIVED)
_PATH = re.compile(r"(?:.*/)?a(\d{2})/p(\d)/s(\d{2})\.txt")
_SHAPE = (19, 8, 60, 125, 6)


def trials(folder: Path) -> list[Trial]:
    """Every segment, by activity, subject and number.

    Raises:
        DatasetError: The set is missing, damaged, of another shape, or not finite.
    """
    place = first_of(folder, _PLACES, hint=_HINT)
    if place.name != _DERIVED:
        return _official(place)
    try:
        # Opened here, for numpy leaves its own file open when it is no archive.
        with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            x = archive["x"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DatasetError(place, f"not a readable .npz archive with x ({error}); {_HINT}") from error
    if x.ndim != len(_SHAPE) or x.shape[0] != _SHAPE[0] or x.shape[4] != _SHAPE[4]:
        raise DatasetError(place, f"x has shape {x.shape}, not {_SHAPE}")
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
