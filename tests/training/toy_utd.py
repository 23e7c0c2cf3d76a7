"""A made-up UTD-MHAD in its official layout: two actions that differ in which arm moves."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import scipy.io
from numpy.typing import NDArray

ACTIONS = (1, 3)
SUBJECTS = (1, 2)
REPETITIONS = (1, 2)
KEYS = [f"a{a}_s{s}_t{t}" for a in ACTIONS for s in SUBJECTS for t in REPETITIONS]
LABELS = ("swipe_left", "wave")


def skeleton(action: int, *, frames: int = 24, seed: int = 0, noise_m: float = 0.005) -> NDArray[np.float64]:
    """(20, 3, frames) metres: someone 2.8 m away; action 1 swings the right hand, action 3 the left."""
    rng = np.random.default_rng(seed)
    heights = np.array(
        [0.5, 0.3, 0.0, -0.1, *([0.2, -0.05, -0.3, -0.35] * 2), *([-0.2, -0.6, -1.0, -1.05] * 2)]
    )
    sides = np.array([0, 0, 0, 0, -1, -1.3, -1.4, -1.4, 1, 1.3, 1.4, 1.4, *([-0.5] * 4), *([0.5] * 4)])
    made = np.zeros((20, 3, frames))
    made[:, 0] = 0.2 * sides[:, np.newaxis]
    made[:, 1] = heights[:, np.newaxis]
    made[:, 2] = 2.8
    hand = [10, 11] if action == 1 else [6, 7]
    made[hand, 1] += 0.4 + 0.4 * np.sin(np.linspace(0, 6, frames))
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


def write(folder: Path, *, depth: bool = False, keys: list[str] | None = None) -> Path:
    """The folders Inertial, Skeleton and perhaps Depth."""
    for name in ("Inertial", "Skeleton", "Depth"):
        (folder / name).mkdir(exist_ok=True)
    for number, key in enumerate(KEYS if keys is None else keys):
        action = int(key[1 : key.index("_")])
        rng = np.random.default_rng(number)
        inertial = np.concatenate([rng.normal(0, 1, (60, 3)), np.full((60, 3), 180.0)], axis=1)
        scipy.io.savemat(folder / "Inertial" / f"{key}_inertial.mat", {"d_iner": inertial})
        body = skeleton(action, seed=number)
        scipy.io.savemat(folder / "Skeleton" / f"{key}_skeleton.mat", {"d_skel": body})
        if depth:
            scipy.io.savemat(
                folder / "Depth" / f"{key}_depth.mat", {"d_depth": depth_mm(body)}, do_compression=True
            )
    return folder


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
