"""Berkeley MHAD: 11 actions of 12 people, 5 times each, with six accelerometers and cameras around them.

Ofli, Chaudhry, Kurillo, Vidal and Bajcsy (WACV 2013), BSD-2. Read in the official layout: accelerometers as
``Accelerometer/ShimmerNN/acc_hNN_sSS_aAA_rRR.txt`` (g, Unix seconds), camera pictures as
``Camera/ClusterCC/CamMM/SSS/AAA/RRR/img_lCC_cMM_sSS_aAA_rRR_FFFFF.pgm``, grey as the Bayer filter left them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Source, Trial, checked_trial, tables, video
from training.datasets.members import first_of, members
from training.datasets.splits import cross_subject

Placement = Literal["left_wrist", "right_wrist", "left_hip", "right_hip", "left_ankle", "right_ankle"]

_SHIMMER: dict[Placement, str] = {
    "left_wrist": "01", "right_wrist": "02", "left_hip": "03",
    "right_hip": "04", "left_ankle": "05", "right_ankle": "06",
}  # fmt: skip
SOURCE = Source(
    name="Berkeley Multimodal Human Action Database (MHAD)",
    licence="BSD-2-Clause",
    attribution=(
        "Ofli, F., Chaudhry, R., Kurillo, G., Vidal, R. and Bajcsy, R. (2013). Berkeley MHAD: A "
        "comprehensive multimodal human action database. WACV 2013."
    ),
    labels=(
        "jumping", "jumping_jacks", "bending", "punching", "waving_two_hands", "waving_one_hand",
        "clapping", "throwing", "sit_down_stand_up", "sit_down", "stand_up",
    ),
    limits=("- Twelve people, one studio, each action on request, repeated for some seconds.",),
)  # fmt: skip
CROSS_SUBJECT = cross_subject(
    train=tuple(f"{number:02}" for number in range(1, 8)),
    test=tuple(f"{number:02}" for number in range(8, 13)),
)
"""People 1 to 7 teach, 8 to 12 judge."""
VIDEO_HEIGHT_PX = 120

_HINT = (
    "download the accelerometer archive (and, for video, those of Camera) from "
    "https://tele-immersion.citris-uc.org/berkeley_mhad and put their folders Accelerometer and Camera, or "
    "the archive berkeley-mhad.tar.xz of both, into the folder given with --data"
)
_PLACES = ("berkeley-mhad", "berkeley-mhad.tar.xz", "Accelerometer")
_STEM = r"s(\d{2})_a(\d{2})_r(\d{2})"


def trials(folder: Path, *, placement: Placement = "right_wrist", camera: str | None = None) -> list[Trial]:
    """Every trial of one accelerometer, by subject, action and repetition.

    Args:
        folder: Holds the official folders or an archive of them.
        placement: Which accelerometer.
        camera: Which camera's pictures become frames, as ``l01_c01``; none by default.

    Raises:
        DatasetError: Something is missing, damaged, empty or not finite, or a trial has no pictures.
    """
    place = first_of(folder, _PLACES, hint=_HINT)
    pattern = re.compile(rf"(?:.*/)?acc_h{_SHIMMER[placement]}_{_STEM}\.txt")
    found = []
    for match, name, data in members(place, pattern, hint=_HINT):
        subject, action, repetition = match.groups()
        where = f"{place}, {name}"
        if not 1 <= int(action) <= len(SOURCE.labels):
            raise DatasetError(where, f"there is no action {action}")
        rows = tables.numbers(where, data, columns=4)
        frames = None
        if camera is not None:
            frames = _pictures(folder, camera, f"s{subject}_a{action}_r{repetition}")
        trial = Trial(
            key=f"s{subject}_a{action}_r{repetition}",
            label=SOURCE.labels[int(action) - 1],
            subject=subject,
            repetition=int(repetition),
            acc_g=rows[:, :3].astype(np.float32),
            rate_hz=tables.mean_rate_hz(where, rows[:, 3]),
            placement=placement,
            frames=frames,
        )
        found.append(checked_trial(where, trial))
    if not found:
        raise DatasetError(place, f"no file acc_h{_SHIMMER[placement]}_sSS_aAA_rRR.txt is in it; {_HINT}")
    return sorted(found, key=lambda trial: trial.key)


def _pictures(folder: Path, camera: str, stem: str) -> NDArray[np.uint8]:
    match = re.fullmatch(r"l(\d{2})_c(\d{2})", camera)
    if not match:
        raise DatasetError(folder, f"camera {camera!r} is not of the form l01_c01")
    subject, action, repetition = stem.split("_")
    place = (
        first_of(folder, ("Camera", "berkeley-mhad/Camera"), hint=_HINT)
        / f"Cluster{match[1]}/Cam{match[2]}"
        / subject.upper() / action.upper() / repetition.upper()
    )  # fmt: skip
    pattern = re.compile(rf"(?:.*/)?img_{camera}_{stem}_\d{{5}}\.pgm")
    frames = [
        _demosaic(f"{place}, {name}", video.picture(f"{place}, {name}", data))
        for _, name, data in members(place, pattern, hint=_HINT)
    ]
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise DatasetError(place, f"has no pictures, or of several sizes; {_HINT}")
    return np.stack(frames)


def _demosaic(where: object, grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A Bayer picture (h, w) to RGB, four of its pixels to one, then to ``VIDEO_HEIGHT_PX`` rows.

    The filter's order is taken to be green, blue, red, green from the upper left corner; the set's papers do
    not tell it, and a network that learns from these pictures does not ask.
    """
    if grey.ndim != 2 or min(grey.shape) < 2:
        raise DatasetError(where, f"a picture of shape {grey.shape} is none of a camera")
    h, w = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    green = (grey[0:h:2, 0:w:2].astype(np.uint16) + grey[1:h:2, 1:w:2]) // 2
    rgb = np.stack([grey[1:h:2, 0:w:2], green.astype(np.uint8), grey[0:h:2, 1:w:2]], axis=2)
    step = max(1, len(rgb) // VIDEO_HEIGHT_PX)
    return np.ascontiguousarray(rgb[::step, ::step])
