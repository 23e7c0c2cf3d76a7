"""A made-up data set in WISDM's layout: five subjects, three activities that differ in pose and rhythm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import experiment as experiments
from training.experiment import Experiment

SMOKE = Path(__file__).parents[2] / "configs" / "train" / "wrist-wisdm-smoke.yaml"
FILE = "wisdm-watch-accel.npz"
SUBJECTS = ("1", "2", "3", "4", "5")
LETTERS = "ABE"
_RHYTHM_HZ = (1.0, 3.0, 0.0)
_UP = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def smoke_experiment() -> Experiment:
    return experiments.load(SMOKE)


def arrays(*, seconds: float = 12.0, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """The archive's arrays."""
    rng = np.random.default_rng(seed)
    made: dict[str, NDArray[np.generic]] = {"scale": np.array([0.001])}
    n = int(seconds * 20)
    for subject in SUBJECTS:
        codes, times, values = [], [], []
        for letter, rhythm_hz, up in zip(LETTERS, _RHYTHM_HZ, _UP, strict=True):
            t = np.arange(n) * 50_000_000 + rng.integers(-2_000_000, 2_000_000, n)
            phase = 2 * np.pi * rhythm_hz * t / 1e9
            swing = 0.8 * np.sin(phase + rng.uniform(0, 6)) if rhythm_hz else np.zeros(n)
            acc_g = np.array(up) + swing[:, np.newaxis] + 0.05 * rng.standard_normal((n, 3))
            codes.append(np.full(n, ord(letter) - ord("A"), np.int8))
            # Each activity on a time line of its own, as the watch's clock was rebased in between.
            times.append(t + rng.integers(0, 2**50))
            values.append(np.clip(acc_g * 9806.65, -20_000, 20_000).astype(np.int16))
        made[f"{subject}_act"] = np.concatenate(codes)
        made[f"{subject}_t_ns"] = np.concatenate(times).astype(np.int64)
        made[f"{subject}_xyz"] = np.concatenate(values)
    return made


def write(folder: Path, made: dict[str, NDArray[np.generic]] | None = None) -> Path:
    """Save the archive under the name that the smoke experiment reads."""
    path = folder / FILE
    np.savez(path, **(arrays() if made is None else made))  # type: ignore[arg-type]
    return path
