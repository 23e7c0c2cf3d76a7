"""A made-up UTD-MHAD in its official layout: four actions of other rhythm and pose, seen by two sensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from training.datasets import utd_mhad

ACTIONS = (1, 2, 3, 4)
LABELS = tuple(utd_mhad.SOURCE.labels[action - 1] for action in ACTIONS)
SUBJECTS = (1, 2, 3, 4)
REPETITIONS = (1, 2, 3)
_CYCLES = (1.0, 4.0, 2.0, 3.0)
_UP = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def write(folder: Path, *, seed: int = 0) -> Path:
    """Save inertial and skeleton files; 48 trials of two to three seconds."""
    rng = np.random.default_rng(seed)
    for name in ("Inertial", "Skeleton"):
        (folder / name).mkdir(parents=True)
    for action, cycles, up in zip(ACTIONS, _CYCLES, _UP, strict=True):
        for subject in SUBJECTS:
            for repetition in REPETITIONS:
                key = f"a{action}_s{subject}_t{repetition}"
                n = int(rng.integers(100, 150))
                inertial = rng.normal(0.0, 0.03, (n, 6))
                inertial[:, :3] += np.array(up) + 0.7 * np.sin(
                    2 * np.pi * cycles * np.linspace(0, 1, n)
                ).reshape(-1, 1)
                frames = int(n * 0.38)
                skeleton = rng.normal(0.0, 0.01, (20, 3, frames)) + np.arange(20).reshape(20, 1, 1) * 0.1
                skeleton[10:12, 1] += 0.3 * np.sin(2 * np.pi * cycles * np.linspace(0, 1, frames))
                skeleton[10:12] += 0.3 * np.array(up).reshape(3, 1)
                scipy.io.savemat(folder / "Inertial" / f"{key}_inertial.mat", {"d_iner": inertial})
                scipy.io.savemat(folder / "Skeleton" / f"{key}_skeleton.mat", {"d_skel": skeleton})
    return folder
