"""What a teacher said of every trial, kept as arrays: it cannot learn, and pairing is by the trial's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import npz
from vskd_stream.errors import VskdError

_LEAST = 1e-9
"""Of a probability: its logarithm is finite."""


class TeacherError(VskdError):
    """A teacher whose answers are missing, damaged, or of other trials."""

    def __init__(self, place: object, reason: str) -> None:
        super().__init__(f"teacher {place}: {reason}")
        self.place = place
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """A teacher's answers to trials, in an order of one's own."""

    logits: NDArray[np.float32]
    """(t, classes)."""
    features: NDArray[np.float32]
    """(t, d) tap."""
    maps: NDArray[np.float32] | None = None
    """(t, c, h, w), of teachers that have any."""


def load(path: Path, keys: Sequence[str], *, classes: int, varied: bool = False) -> Lessons:
    """A teacher's answers to the trials ``keys``, in that order.

    Args:
        path: ``outputs.npz`` with keys (t,), logits (t, classes), features (t, d) and perhaps maps.
        keys: Of the trials that a student will see.
        classes: How many labels the student has.
        varied: Logits are those of the mean probability over variations of the trial, of which the file
            holds ``view_keys`` (v,) and ``view_logits`` (v, variations, classes).

    Raises:
        TeacherError: The file is missing or damaged, lacks a trial, or knows other labels.
    """
    try:
        with npz.opened(path) as archive:
            found = {name: archive[name] for name in ("keys", "logits", "features")}
            maps = archive["maps"] if "maps" in archive.files else None
            if varied:
                found |= _varied(found, archive["view_keys"], archive["view_logits"])
    except FileNotFoundError:
        raise TeacherError(path, "not there; train it first: vskd-train teacher") from None
    except npz.UNREADABLE as error:
        raise TeacherError(path, f"not to be read ({error}); train it again") from error
    count = len(found["keys"])
    if len(set(found["keys"].tolist())) != count:
        raise TeacherError(path, "a trial is in it twice")
    arrays = {"logits": found["logits"], "features": found["features"]}
    if maps is not None:
        arrays["maps"] = maps
    for name, array in arrays.items():
        if len(array) != count or array.ndim != (4 if name == "maps" else 2):
            raise TeacherError(path, f"{name} {array.shape} do not fit {count} trials")
        if not np.isfinite(array).all():
            raise TeacherError(path, f"{name} hold a number that is not finite")
    if found["logits"].shape[1] != classes:
        raise TeacherError(path, f"it knows {found['logits'].shape[1]} labels, the student {classes}")
    row: dict[str, int] = {str(key): i for i, key in enumerate(found["keys"])}
    if absent := [key for key in keys if key not in row]:
        raise TeacherError(path, f"{len(absent)} trials have no answer, {absent[0]} first")
    rows = np.array([row[key] for key in keys], np.int64)
    return Lessons(**{name: np.ascontiguousarray(a[rows], np.float32) for name, a in arrays.items()})


def _varied(
    found: dict[str, NDArray[Any]], keys: NDArray[np.str_], logits: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Answers to the trials that have variations, and to no others."""
    row = {str(key): i for i, key in enumerate(found["keys"])}
    rows = np.array([row[str(key)] for key in keys], np.int64)
    powers = np.exp(logits.astype(np.float64) - logits.max(2, keepdims=True))
    mean = (powers / powers.sum(2, keepdims=True)).mean(1)
    answers = np.log(np.maximum(mean, _LEAST)).astype(np.float32)
    return {"keys": keys, "logits": answers, "features": found["features"][rows]}
