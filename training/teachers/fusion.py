"""The fusion of teachers: the weighted mean of what they say, of the same trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from training import teaching
from training.teachers.answers import Answers


def fuse(runs: dict[Path, float], keys: list[str], *, classes: int) -> Answers:
    """The mean of log-probabilities, and of taps brought to one size, over teachers.

    Args:
        runs: Folders with outputs.npz, each with its weight.
        keys: Of the trials that all of them must have answered.
        classes: How many labels they must know.

    Raises:
        TeacherError: A teacher's answers are missing, damaged, or of other trials.
    """
    whole = sum(runs.values())
    logits: NDArray[np.float64] = np.zeros((len(keys), classes))
    features: NDArray[np.float64] | None = None
    for run, weight in runs.items():
        lessons = teaching.load(run / "outputs.npz", keys, classes=classes)
        logits += weight / whole * log_softmax(lessons.logits.astype(np.float64), axis=1)
        tap = lessons.features.astype(np.float64)
        tap *= weight / whole / max(np.sqrt(np.mean(tap**2)), np.finfo(np.float64).tiny)
        features = tap if features is None else features + tap
    assert features is not None  # a fusion has two runs at least
    return Answers(np.array(keys), logits.astype(np.float32), features.astype(np.float32))
