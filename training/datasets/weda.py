"""WEDA-FALL: a Fitbit Sense on the wrists of 14 young people and 11 old ones, up to 95; daily activities.

Marques and Moreno (2023). Read in the official layout, a folder or a tar archive of it:
``.../50Hz/D01/U21_R02_accel.csv`` is what the watch of user 21 measured in the second trial of movement
D01, acceleration in m/s2 in steps of 0.1, each sample beside the second at which it was delivered.
Its falls are left out: nothing here tells them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Recording, Source, checked
from training.datasets.members import members
from training.datasets.tables import numbers
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

SAMPLING_RATE_HZ = 50.0
_CODES = {
    "D01": "walking",
    "D02": "jogging",
    "D03": "stairs",
    "D04": "sitting_down_and_getting_up",
    "D05": "collapsing_into_a_chair",
    "D06": "tying_shoes",
    "D07": "stumbling",
    "D08": "jumping_gently",
    "D09": "hitting_a_table",
    "D10": "clapping",
    "D11": "opening_a_door",
}
SOURCE = Source(
    name="WEDA-FALL: Fitbit Sense",
    licence="none stated: use, do not redistribute",
    attribution=(
        "Marques, J. and Moreno, P. (2023). Online fall detection using wrist devices. Sensors 23(3), 1146. "
        "https://github.com/joaojtmarques/WEDA-FALL. Changes: only the accelerometer was used; converted to "
        "g, samples spread evenly, resampled to a regular grid and cut into windows."
    ),
    labels=tuple(_CODES.values()),
    limits=("- Walks, runs and flights of stairs of the people of WEDA-FALL last ten to forty seconds.",),
)

_HINT = (
    "clone https://github.com/joaojtmarques/WEDA-FALL and name its folder weda-fall, or a tar archive of it "
    "weda-fall.tar.xz, in the folder given with --data"
)
_PATH = re.compile(r"(?:.*/)?50Hz/(D\d{2})/U(\d{2})_R(\d{2})_accel\.csv")
_HEAD = b"accel_time_list,accel_x_list,accel_y_list,accel_z_list"
_RATES_HZ = (45.0, 55.0)


def load(place: Path) -> list[Recording]:
    """Every trial, by subject (``U21``), movement and number.

    Raises:
        DatasetError: The data set is missing, damaged, or holds impossible values.
    """
    found = {}
    for match, name, data in members(place, _PATH, hint=_HINT):
        code, subject, number = match.groups()
        where = f"{place}, {code}/{Path(name).name}"
        if code not in _CODES:
            raise DatasetError(where, f"{code} is none of its movements {', '.join(_CODES)}")
        t_s, acc_g = _read(where, data)
        recording = Recording(f"U{subject}", list(_CODES).index(code), t_s, acc_g, SAMPLING_RATE_HZ)
        found[subject, code, number] = checked(where, recording)
    if not found:
        raise DatasetError(place, f"no file 50Hz/Dnn/Unn_Rnn_accel.csv is in it; {_HINT}")
    return [found[key] for key in sorted(found)]


def _read(where: str, data: bytes) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    head, _, rows = data.partition(b"\n")
    if head.strip() != _HEAD:
        raise DatasetError(where, f"its first line must be {_HEAD.decode()}")
    values = numbers(where, rows, columns=4, delimiter=",")
    # The watch delivers in blocks, one now and then after the next.
    values = values[np.argsort(values[:, 0], kind="stable")]
    # Five samples share a delivery: when each was taken is known no better than that they are evenly apart.
    first_s, last_s = values[[0, -1], 0]
    rate_hz = (len(values) - 1) / (last_s - first_s) if last_s > first_s else np.inf
    if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        raise DatasetError(
            where, f"{len(values)} samples in {last_s - first_s:g} s are not the 50 a second of this watch"
        )
    t_s = np.linspace(0.0, last_s - first_s, len(values))
    return t_s, np.ascontiguousarray(values[:, 1:] / STANDARD_GRAVITY_MPS2, np.float32)
