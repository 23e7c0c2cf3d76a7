"""SPAR: 7 shoulder exercises of 10 people, both sides, with an Apple Watch.

Burns et al. (2018), in the edition that the package seglearn carries (BSD-3): ``watch_dataset.npy``, a
pickled dictionary, read by an unpickler that knows numpy's arrays and nothing else; a folder or tar
archive holds it. Once read, each is a trial and a recording.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets import DatasetError, Recording, Source, Trial, checked, checked_trial
from training.datasets.members import first_of, members

RATE_HZ = 50.0
SOURCE = Source(
    name="SPAR: shoulder physiotherapy activity recognition",
    licence="BSD-3-Clause (as part of seglearn)",
    attribution=(
        "Burns, D. M., Leung, N., Hardisty, M., Whyne, C. M., Henry, P. and McLachlin, S. (2018). Shoulder "
        "physiotherapy exercise recognition. Physiological Measurement 39(7). Changes: acceleration's "
        "sign was turned to that of a device at rest; resampled to a regular grid and cut into windows."
    ),
    labels=(
        "pendulum", "abduction", "forward_elevation", "internal_rotation", "external_rotation", "trapezius",
        "row",
    ),
    limits=("- Shoulder exercises were done by ten healthy people, twenty times each, as instructed.",),
)  # fmt: skip

_HINT = (
    "take watch_dataset.npy from the package seglearn (seglearn/data) and put it, in the folder "
    "spar-seglearn or the archive spar-seglearn.tar.xz, into the folder given with --data"
)
_PLACES = ("spar-seglearn", "spar-seglearn.tar.xz")
_PATH = re.compile(r"(?:.*/)?watch_dataset\.npy")
_MAX_BYTES = 64 * 2**20
_CODES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]
# The codec turns text into bytes, which is how the older protocols wrote an array's.
_NUMPY = {("_codecs", "encode")} | {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
    )
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def trials(folder: Path) -> list[Trial]:
    """Every recording: one person, one side, one exercise some twenty times; in the file's order.

    Raises:
        DatasetError: The file is missing, damaged, holds more than arrays, or a value is not finite.
    """
    return _found(first_of(folder, _PLACES, hint=_HINT))


def load(place: Path) -> list[Recording]:
    """One recording for each exercise and arm, by subject, exercise and side.

    Args:
        place: ``watch_dataset.npy``, or a folder or archive that holds it.

    Raises:
        DatasetError: As ``trials``.
    """

    def order(trial: Trial) -> tuple[str, int, int]:
        return trial.subject, SOURCE.labels.index(trial.label), trial.repetition

    return [
        checked(
            f"{place}, {trial.key}",
            Recording(
                trial.subject,
                SOURCE.labels.index(trial.label),
                np.arange(len(trial.acc_g)) / RATE_HZ,
                trial.acc_g,
                RATE_HZ,
            ),
        )
        for trial in sorted(_found(place), key=order)
    ]


def _found(place: Path) -> list[Trial]:
    if place.suffix == ".npy" and place.is_file():
        return _read(str(place), place.read_bytes())
    for _, name, data in members(place, _PATH, hint=_HINT, max_bytes=_MAX_BYTES):
        return _read(f"{place}, {name}", data)
    raise DatasetError(place, f"watch_dataset.npy is not in it; {_HINT}")


def _read(where: str, data: bytes) -> list[Trial]:
    try:
        stream = io.BytesIO(data)
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of the .npy format")
        np.lib.format.read_array_header_1_0(stream)
        # Nothing but arrays can come out of it, whoever wrote it.
        content = _ArraysOnly(stream).load().item()
        clips, codes = list(content["X"]), list(content["y_labels"])
        labels, subjects, sides = (np.asarray(content[name]) for name in ("y", "subject", "side"))
    except Exception as error:  # an unpickler raises whatever a damaged byte leads it to
        raise DatasetError(where, f"not seglearn's watch_dataset.npy ({error})") from error
    if codes != _CODES or not len(clips) == len(labels) == len(subjects) == len(sides) > 0:
        raise DatasetError(where, "its exercises or lengths are not those of SPAR")
    found = []
    for number, clip in enumerate(clips):
        values = np.asarray(clip)
        if values.ndim != 2 or values.shape[1] != 6 or values.dtype.kind != "f":
            raise DatasetError(where, f"recording {number} has shape {values.shape}, not (n, 6)")
        label = int(labels[number])
        if not 0 <= label < len(_CODES):
            raise DatasetError(where, f"recording {number} is of exercise {label}, which does not exist")
        trial = Trial(
            key=f"r{number:03}_s{int(subjects[number]):02}_e{label}_{int(sides[number])}",
            label=SOURCE.labels[label],
            subject=f"{int(subjects[number]):02}",
            repetition=int(sides[number]) + 1,
            # iOS gives gravity, not what holds against it: a hanging left arm reads +1 g along x there.
            acc_g=np.ascontiguousarray(-values[:, :3], np.float32),
            rate_hz=RATE_HZ,
            gyro_rad_s=np.ascontiguousarray(values[:, 3:], np.float32),
            placement="wrist",
        )
        found.append(checked_trial(f"{where}, recording {number}", trial))
    return found
