"""GeoTec sp-sw-har: a watch on the wrist of 23 people who stand up, walk, turn, walk back and sit down.

Matey-Sanz, Casteleyn and Granell (2023), CC BY 4.0. Read in the official layout, a folder or a tar
archive of it: ``.../DATA/sNN/sNN_EE_sw.csv`` is what subject NN's watch measured in execution EE,
with acceleration in m/s2, angular rate in rad/s, Unix time in ms and a label on every sample.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Recording, Source, checked
from training.datasets.members import Member, members
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

SAMPLING_RATE_HZ = 104.0
LABELS = ("seated", "standing_up", "walking", "turning", "sitting_down")
NAME = "GeoTec sp-sw-har: smartwatch"
LICENCE = "CC BY 4.0"
ATTRIBUTION = (
    "Matey-Sanz, M., Casteleyn, S. and Granell, C. (2023). Dataset of inertial measurements of "
    "smartphones and smartwatches for human activity recognition. Data in Brief, 109809. "
    "https://doi.org/10.1016/j.dib.2023.109809"
)
SOURCE = Source(
    name=NAME,
    licence=LICENCE,
    attribution=(
        f"{ATTRIBUTION}. Changes: only the watch's accelerometer was used; converted to g, resampled to a "
        "regular grid and cut into windows."
    ),
    labels=LABELS,
    limits=(
        "- Getting up and sitting down take a second or two, less than a window: they are not told apart.",
    ),
)

_HOW_TO_GET_IT = (
    "download the data set from https://doi.org/10.5281/zenodo.8398688 "
    "and name its folder, or a tar archive of it"
)
_COLUMNS = ["x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro", "timestamp", "label"]


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """One walk from the chair and back, as the watch recorded it."""

    subject: str
    number: int
    t_ms: NDArray[np.int64]
    """(n,) Unix time in milliseconds, never decreasing. Samples that the watch's system delivered
    together carry the same time."""
    acc_g: NDArray[np.float32]
    """(n, 3) acceleration in g, gravity included."""
    gyro_dps: NDArray[np.float32]
    """(n, 3) angular rate in degrees per second."""
    label: NDArray[np.int8]
    """(n,) index into ``LABELS``."""


class Segment(NamedTuple):
    """Samples [start, end) of an execution carry one label."""

    start: int
    end: int
    label: int


def subjects(place: Path) -> tuple[str, ...]:
    """Everyone who has a watch recording, sorted.

    Raises:
        DatasetError: There is no such data set at ``place``.
    """
    found = {file.match[1] for file in _files(place, None)}
    if not found:
        raise _nothing(place)
    return tuple(sorted(found))


def executions(place: Path, *, only: Collection[str] | None = None) -> list[Execution]:
    """Every execution (of the subjects in ``only``), by subject and in recorded order.

    Raises:
        DatasetError: The data set is missing or damaged, or has nothing of a subject in ``only``.
    """
    found = [_execution(place, file) for file in _files(place, only)]
    if absent := sorted(set(only or ()) - {execution.subject for execution in found}):
        raise DatasetError(place, f"subjects {absent} are not in it")
    if not found:
        raise _nothing(place)
    return sorted(found, key=lambda execution: (execution.subject, execution.number))


def segments(execution: Execution) -> list[Segment]:
    """The runs of equal labels, in order."""
    bounds = [0, *(np.flatnonzero(np.diff(execution.label)) + 1).tolist(), len(execution.label)]
    return [Segment(a, b, int(execution.label[a])) for a, b in itertools.pairwise(bounds)]


def spread_ms(t_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Times (n,) in milliseconds that strictly increase: those that are equal share their millisecond evenly.

    A stamp is known to the millisecond only, so every result is as true as its stamp; rounding down
    gives the stamps back.
    """
    starts = np.flatnonzero(np.diff(t_ms, prepend=t_ms[0] - 1))
    counts = np.diff(starts, append=len(t_ms))
    rank = np.arange(len(t_ms)) - np.repeat(starts, counts)
    return np.asarray(t_ms + rank / np.repeat(counts, counts), np.float64)


def load(place: Path) -> list[Recording]:
    """Every uninterrupted stretch of one activity, by subject and in recorded order.

    Raises:
        DatasetError: The data set is missing, damaged, or holds impossible values.
    """
    found = []
    for execution in executions(place):
        t_s = spread_ms(execution.t_ms - execution.t_ms[0]) / 1e3
        for start, end, label in segments(execution):
            if end - start < 2:
                continue
            where = f"{place}, {execution.subject} execution {execution.number}"
            recording = Recording(
                execution.subject, label, t_s[start:end], execution.acc_g[start:end], SAMPLING_RATE_HZ
            )
            found.append(checked(where, recording))
    return found


def _files(place: Path, only: Collection[str] | None) -> Iterator[Member]:
    """The watch's files, of the subjects in ``only`` if given."""
    subject = r"s\d{2}" if only is None else "|".join(map(re.escape, sorted(only))) or r"(?!)"
    pattern = re.compile(rf"(?:.*/)?({subject})/\1_(\d{{2}})_sw\.csv")
    return members(place, pattern, hint=_HOW_TO_GET_IT)


def _nothing(place: Path) -> DatasetError:
    return DatasetError(place, f"no watch file DATA/sNN/sNN_EE_sw.csv is in it; {_HOW_TO_GET_IT}")


def _execution(place: Path, file: Member) -> Execution:
    where = f"{place}, {file.name}"
    try:
        rows = list(csv.reader(io.StringIO(file.data.decode("ascii"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(where, f"not a readable CSV file ({error})") from error
    if not rows or rows[0] != _COLUMNS:
        raise DatasetError(where, f"its first line must be {','.join(_COLUMNS)}")
    if len(rows) < 3:
        raise DatasetError(where, f"{len(rows) - 1} samples are no recording")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS):
            raise DatasetError(where, f"line {number} has {len(row)} columns, not {len(_COLUMNS)}")
    try:
        values = np.array([row[:6] for row in rows[1:]], np.float64)
        t_ms = np.array([int(row[6]) for row in rows[1:]], np.int64)
        label = np.array([LABELS.index(row[7].lower()) for row in rows[1:]], np.int8)
    except (ValueError, OverflowError) as error:
        raise DatasetError(where, f"a value is not to be understood ({error})") from error
    if not np.isfinite(values).all():
        raise DatasetError(where, "a sample is not a finite number")
    if (np.diff(t_ms) < 0).any():
        raise DatasetError(where, "time runs backwards")
    acc_g = (values[:, :3] / STANDARD_GRAVITY_MPS2).astype(np.float32)
    gyro_dps = np.degrees(values[:, 3:]).astype(np.float32)
    return Execution(file.match[1], int(file.match[2]), t_ms, acc_g, gyro_dps, label)
