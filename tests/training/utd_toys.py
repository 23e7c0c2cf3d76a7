"""A made-up UTD-MHAD in its official layout: actions of other rhythm and pose, by either arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import scipy.io
from numpy.typing import NDArray

from training.datasets import utd_mhad


class Action(NamedTuple):
    """What makes one action another than the others."""

    cycles: float
    up: tuple[float, float, float]
    """Where gravity is felt."""
    hand: tuple[int, int]
    """Joints that swing."""


_RIGHT, _LEFT = (10, 11), (6, 7)
ACTIONS = {
    1: Action(1.0, (0.0, 0.0, 1.0), _RIGHT),
    2: Action(4.0, (0.0, 1.0, 0.0), _RIGHT),
    3: Action(2.0, (1.0, 0.0, 0.0), _LEFT),
    4: Action(3.0, (0.0, 0.0, -1.0), _LEFT),
}


def keys(
    *, actions: Sequence[int] = (1, 3), subjects: Sequence[int] = (1, 2), repetitions: Sequence[int] = (1, 2)
) -> list[str]:
    """In the data set's order."""
    return [f"a{a}_s{s}_t{t}" for a in actions for s in subjects for t in repetitions]


KEYS = keys()
LABELS = tuple(utd_mhad.SOURCE.labels[action - 1] for action in (1, 3))


def skeleton(action: int, *, frames: int = 24, seed: int = 0, noise_m: float = 0.005) -> NDArray[np.float64]:
    """(20, 3, frames) metres: someone 2.8 m away who swings a hand."""
    rng = np.random.default_rng(seed)
    heights = np.array(
        [0.5, 0.3, 0.0, -0.1, *([0.2, -0.05, -0.3, -0.35] * 2), *([-0.2, -0.6, -1.0, -1.05] * 2)]
    )
    sides = np.array([0, 0, 0, 0, -1, -1.3, -1.4, -1.4, 1, 1.3, 1.4, 1.4, *([-0.5] * 4), *([0.5] * 4)])
    made = np.zeros((20, 3, frames))
    made[:, 0] = 0.2 * sides[:, np.newaxis]
    made[:, 1] = heights[:, np.newaxis]
    made[:, 2] = 2.8
    made[list(ACTIONS[action].hand), 1] += 0.4 + 0.4 * _swing(action, frames)
    return made + noise_m * rng.standard_normal(made.shape)


def depth_mm(body: NDArray[np.float64]) -> NDArray[np.uint16]:
    """(240, 320, frames) millimetres: a blob around every joint, nothing elsewhere."""
    frames = body.shape[2]
    made = np.zeros((240, 320, frames), np.uint16)
    for frame in range(frames):
        for x, y, z in body[:, :, frame]:
            row, column = round(119.5 - 274 * y / z), round(159.5 + 274 * x / z)
            made[row - 8 : row + 9, column - 8 : column + 9, frame] = round(z * 1000)
    return made


def write(
    folder: Path, *, names: Sequence[str] = tuple(KEYS), samples: int = 60, depth: bool = False
) -> Path:
    """The folders Inertial, Skeleton and perhaps Depth, with the trials ``names``."""
    for name in ("Inertial", "Skeleton", "Depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(names):
        action = int(key[1 : key.index("_")])
        rng = np.random.default_rng(number)
        inertial = np.full((samples, 6), 180.0)
        inertial[:, :3] = rng.normal(0.0, 0.03, (samples, 3))
        if action in ACTIONS:
            inertial[:, :3] += ACTIONS[action].up + 0.7 * _swing(action, samples)[:, np.newaxis]
        scipy.io.savemat(folder / "Inertial" / f"{key}_inertial.mat", {"d_iner": inertial})
        if action not in ACTIONS:
            continue
        body = skeleton(action, seed=number)
        scipy.io.savemat(folder / "Skeleton" / f"{key}_skeleton.mat", {"d_skel": body})
        if depth:
            scipy.io.savemat(
                folder / "Depth" / f"{key}_depth.mat", {"d_depth": depth_mm(body)}, do_compression=True
            )
    return folder


def _swing(action: int, count: int) -> NDArray[np.float64]:
    return np.asarray(np.sin(np.linspace(0.0, 2.0 * np.pi * ACTIONS[action].cycles, count)))


def write_video(path: Path, *, frames: int = 5) -> Path:
    """A film of 64 x 48 pixels whose red grows frame by frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[..., 0] = 50 * number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
