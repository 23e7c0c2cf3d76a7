"""MEx: 7 physiotherapy exercises of 30 people, with a wrist accelerometer and a depth camera above.

Wijekoon, Wiratunga and Cooper (2019), CC BY 4.0. Read in the official layout, a folder or a tar archive of
it: ``acw/SS/EE_acw_N.csv`` (a moment, then g) and ``dc_0.05_0.05/SS/EE_dc_N.csv`` (a moment, then 12 x 16
depths from 0 to 1); one wall clock stamps both. Once read, the wrist is a trial, with or without the camera,
and a recording.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Recording, Source, Trial, checked, checked_trial, tables
from training.datasets.members import first_of, members

FRAME_SHAPE = (12, 16)
SAMPLING_RATE_HZ = 100.0
"""Nominal, of the wrist."""
SOURCE = Source(
    name="MEx: multi-modal exercises dataset",
    licence="CC BY 4.0",
    attribution=(
        "Wijekoon, A., Wiratunga, N. and Cooper, K. (2019). MEx: Multi-modal exercises dataset for human "
        "activity recognition. UCI Machine Learning Repository. https://doi.org/10.24432/C59K6T. "
        "Changes: resampled to a regular grid and cut into windows."
    ),
    labels=(
        "knee_rolling", "bridging", "pelvic_tilt", "bilateral_clam",
        "repeated_extension_in_lying", "prone_punches", "superman",
    ),
    limits=(
        "- Thirty people on a mat; which way their sensor sat differed and is not recorded.",
    ),
)  # fmt: skip

_HINT = (
    "download MEx from https://archive.ics.uci.edu/dataset/500/mex and put its folder mex (with acw and "
    "dc_0.05_0.05), or the archive mex-acw-dc.tar.xz of it, into the folder given with --data"
)
_PLACES = ("mex", "mex-acw-dc.tar.xz")
# The sensor stamps whole milliseconds; a longer step than this is another recording.
_PAUSE_S = 1.0


def trials(
    folder: Path, *, window_s: float | None = None, hop_s: float | None = None, depth: bool = False
) -> list[Trial]:
    """Every recording, or what is cut from it, by subject and exercise.

    Args:
        folder: Holds the official folder or an archive of it.
        window_s: Length of a trial in seconds, by the wall clock of both sensors; a rest is left out. A whole
            recording, about a minute, by default.
        hop_s: From the beginning of a trial to that of the next; end to end by default.
        depth: Whether the camera's frames are read too.

    Raises:
        DatasetError: Something is missing, damaged, empty or not finite, or a recording has no depth file.
    """
    place = first_of(folder, _PLACES, hint=_HINT)
    wrist = _sensor(place, "acw", r"acw", columns=3)
    camera = _sensor(place, "dc", r"dc", columns=FRAME_SHAPE[0] * FRAME_SHAPE[1]) if depth else {}
    if depth and (lacking := sorted(set(wrist) - set(camera))):
        raise DatasetError(
            place, f"{len(lacking)} recordings have no depth file, {lacking[0]} first; {_HINT}"
        )
    found = []
    for key in sorted(wrist):
        found.extend(
            _cut(f"{place}, {key}", key, wrist[key], camera.get(key), window_s=window_s, hop_s=hop_s)
        )
    return found


def load(place: Path) -> list[Recording]:
    """Every uninterrupted stretch of one exercise at the wrist, by subject and exercise.

    Args:
        place: The official folder, or an archive of it.

    Raises:
        DatasetError: Something is missing, damaged, empty or not finite.
    """
    found = []
    for key, (t_s, acc_g) in sorted(_sensor(place, "acw", r"acw", columns=3).items()):
        subject, exercise, _ = key.split("_")
        bounds = [0, *(np.flatnonzero(np.diff(t_s) > _PAUSE_S) + 1).tolist(), len(t_s)]
        for start, end in pairwise(bounds):
            if end - start < 2:
                continue
            recording = Recording(
                subject[1:],
                int(exercise[1:]) - 1,
                t_s[start:end] - t_s[start],
                acc_g[start:end].astype(np.float32),
                SAMPLING_RATE_HZ,
            )
            found.append(checked(f"{place}, {key}", recording))
    return found


_Stamped = tuple[NDArray[np.float64], NDArray[np.float64]]


def _sensor(place: Path, folder: str, name: str, *, columns: int) -> dict[str, _Stamped]:
    pattern = re.compile(rf"(?:.*/)?{folder}[^/]*/(\d{{2}})/(0[1-7])_{name}_(\d)\.csv")
    found = {}
    for match, file_name, data in members(place, pattern, hint=_HINT):
        where = f"{place}, {file_name} of subject {match[1]}"
        values = tables.numbers(where, data, columns=columns, delimiter=",", stamped=True)
        t_s = tables.moments_s(where, data)
        if (np.diff(t_s) <= 0.0).any():
            raise DatasetError(where, "time stands still or runs backwards")
        found[f"s{match[1]}_e{match[2]}_{match[3]}"] = (t_s, values)
    if not found:
        raise DatasetError(place, f"no file {folder}/SS/EE_{name}_N.csv is in it; {_HINT}")
    return found


def _cut(
    where: str,
    key: str,
    wrist: _Stamped,
    camera: _Stamped | None,
    *,
    window_s: float | None,
    hop_s: float | None,
) -> list[Trial]:
    subject, exercise, take = key.split("_")
    t_s, acc_g = wrist
    rate_hz = tables.mean_rate_hz(where, t_s)
    begin_s, end_s = t_s[0], t_s[-1]
    if camera is not None:
        begin_s, end_s = max(begin_s, camera[0][0]), min(end_s, camera[0][-1])
    if end_s <= begin_s:
        raise DatasetError(where, "wrist and camera were not on at the same time")
    length_s = end_s - begin_s if window_s is None else window_s
    step_s = length_s if hop_s is None else hop_s
    found = []
    for number in range(1 + int((end_s - begin_s - length_s) / step_s) if end_s - begin_s >= length_s else 0):
        start_s = begin_s + number * step_s
        inside = (t_s >= start_s) & (t_s <= start_s + length_s)
        frames = None
        if camera is not None:
            seen = camera[1][(camera[0] >= start_s) & (camera[0] <= start_s + length_s)]
            frames = np.round(np.clip(seen, 0.0, 1.0) * 255.0).astype(np.uint8).reshape(-1, *FRAME_SHAPE)
        trial = Trial(
            key=key if window_s is None else f"{key}_w{number:02}",
            label=SOURCE.labels[int(exercise[1:]) - 1],
            subject=subject[1:],
            repetition=int(take),
            acc_g=acc_g[inside].astype(np.float32),
            rate_hz=rate_hz,
            frames=frames,
            placement="wrist",
        )
        found.append(checked_trial(where, trial))
    return found
