"""UTD-MHAD: 27 actions of 8 people, each done 4 times before a Kinect with an inertial sensor on the body.

Chen, Jafari and Kehtarnavaz (ICIP 2015); free for research, no word on redistribution. Read in the official
layout (``Inertial``, ``Skeleton``, ``Depth``, ``RGB``, as folders or zip archives; the RGB parts in one
folder), or from what was derived of it: one tar archive of inertial and skeleton files, and depth as one .npz
an action, in steps of 16 mm, background 0, every second pixel.

The camera ran at about 19 frames per second of the inertial sensor's time, not at the 30 that its authors
state: stretch the clips of a trial end to end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training import npz
from training.datasets import DEPTH_STEP_M, DatasetError, Source, Trial, checked_trial, matfiles, video
from training.datasets.members import first_of, members
from training.datasets.splits import cross_subject, cross_trial

Modality = Literal["inertial", "skeleton", "depth", "rgb"]

RATE_HZ = 50.0
JOINTS = (
    "head", "shoulder_center", "spine", "hip_center",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
)  # fmt: skip
RGB_HEIGHT_PX = 120
SOURCE = Source(
    name="UTD Multimodal Human Action Dataset (UTD-MHAD)",
    licence="none stated: use, do not redistribute",
    attribution=(
        "Chen, C., Jafari, R. and Kehtarnavaz, N. (2015). UTD-MHAD: A multimodal dataset for human action "
        "recognition utilizing a depth camera and a wearable inertial sensor. ICIP 2015."
    ),
    labels=(
        "swipe_left", "swipe_right", "wave", "clap", "throw", "arm_cross", "basketball_shoot", "draw_x",
        "draw_circle_clockwise", "draw_circle_counterclockwise", "draw_triangle", "bowling", "boxing",
        "baseball_swing", "tennis_swing", "arm_curl", "tennis_serve", "push", "knock", "catch",
        "pickup_throw", "jog", "walk", "sit_to_stand", "stand_to_sit", "lunge", "squat",
    ),
    limits=(
        "- The sensor sat on the right wrist for 21 actions and on the right thigh for the other 6.",
        "- Eight people, one room, each action on request and from its beginning to its end.",
    ),
)  # fmt: skip
WRIST_LABELS = SOURCE.labels[:21]

CROSS_SUBJECT = cross_subject(train=("1", "3", "5", "7"), test=("2", "4", "6", "8"))
"""The data set's own protocol."""
CROSS_TRIAL = cross_trial(train=(1, 2), test=(3, 4))
"""What VSKD's released code uses: everybody stands on both sides."""

_HINT = (
    "download Inertial.zip, Skeleton.zip, Depth.zip and RGB-part1.zip to RGB-part4.zip from "
    "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html as far as needed, and put them, or the folders "
    "Inertial, Skeleton, Depth and RGB that they unpack to, into the folder given with --data"
)
_DERIVED = "utd-mhad-inertial-skeleton.tar.xz"
_DERIVED_DEPTH = "utd-mhad-depth"
_DEPTH_STEP_MM = round(1e3 * DEPTH_STEP_M)
_KEY = re.compile(r"a([1-9]|1\d|2[0-7])_s([1-8])_t([1-4])")
_NAME = r"(a(?:[1-9]|1\d|2[0-7])_s[1-8]_t[1-4])"
# The first frame of a 640 x 480 depth clip of 125 frames in float64 would be 300 MB.
_MAX_DEPTH_BYTES = 400 * 2**20
_MAX_VIDEO_BYTES = 64 * 2**20


def trials(
    folder: Path, *, modalities: Collection[Modality] = (), labels: Collection[str] | None = None
) -> list[Trial]:
    """Every trial that all the ``modalities`` have, by action, subject and repetition.

    Args:
        folder: Holds the official archives or folders, or the derived ones.
        modalities: What to read beside the inertial sensor, which always is; of depth and RGB at most
            one, for both become ``Trial.frames``.
        labels: Only these; all 27 by default.

    Raises:
        DatasetError: Something asked for is missing, damaged, empty or not finite, or the modalities do not
            hold the same trials.
    """
    wanted = frozenset(modalities)
    if {"depth", "rgb"} <= wanted:
        raise DatasetError(folder, "depth and RGB are both frames: ask for one of them")
    if labels is not None and (strange := sorted(set(labels) - set(SOURCE.labels))):
        raise DatasetError(folder, f"{strange} are no labels of UTD-MHAD")
    keep = frozenset(SOURCE.labels if labels is None else labels)
    inertial = dict(_arrays(folder, "inertial", "d_iner", _inertial, keep))
    skeletons: dict[str, NDArray[np.float32]] = {}
    frames: dict[str, NDArray[np.uint8]] = {}
    if "skeleton" in wanted:
        skeletons = dict(_arrays(folder, "skeleton", "d_skel", _skeleton, keep))
        _same_trials(folder, "skeleton", inertial, skeletons)
    if "depth" in wanted:
        frames = dict(_depth(folder, keep))
        _same_trials(folder, "depth", inertial, frames)
    if "rgb" in wanted:
        frames = dict(_rgb(folder, keep))
        _same_trials(folder, "rgb", inertial, frames)
    return [
        _trial(folder, key, inertial[key], skeletons.get(key), frames.get(key))
        for key in sorted(inertial, key=_order)
    ]


def _order(key: str) -> tuple[int, ...]:
    match = _KEY.fullmatch(key)
    assert match is not None  # keys were matched when their file was found
    return tuple(map(int, match.groups()))


def _label(key: str) -> str:
    return SOURCE.labels[_order(key)[0] - 1]


def _same_trials(folder: Path, name: str, inertial: Collection[str], found: Collection[str]) -> None:
    if lacking := sorted(set(inertial) - set(found), key=_order):
        raise DatasetError(folder, f"{len(lacking)} trials have no {name} file, {lacking[0]} first; {_HINT}")
    if strange := sorted(set(found) - set(inertial), key=_order):
        raise DatasetError(
            folder, f"{len(strange)} trials have no inertial file, {strange[0]} first; {_HINT}"
        )


def _trial(
    folder: Path,
    key: str,
    inertial: NDArray[np.float32],
    skeleton: NDArray[np.float32] | None,
    frames: NDArray[np.uint8] | None,
) -> Trial:
    action, subject, repetition = _order(key)
    return checked_trial(
        f"{folder}, {key}",
        Trial(
            key=key,
            label=SOURCE.labels[action - 1],
            subject=str(subject),
            repetition=repetition,
            acc_g=inertial[:, :3],
            rate_hz=RATE_HZ,
            gyro_rad_s=inertial[:, 3:],
            skeleton_m=skeleton,
            frames=frames,
            placement="right_wrist" if action <= len(WRIST_LABELS) else "right_thigh",
        ),
    )


def _inertial(where: str, values: NDArray[np.float64]) -> NDArray[np.float32]:
    if values.shape[1] != 6:
        raise DatasetError(where, f"d_iner has shape {values.shape}, not (n, 6)")
    values[:, 3:] = np.radians(values[:, 3:])
    return values.astype(np.float32)


def _skeleton(where: str, values: NDArray[np.float64]) -> NDArray[np.float32]:
    if values.shape[:2] != (len(JOINTS), 3):
        raise DatasetError(where, f"d_skel has shape {values.shape}, not (20, 3, f)")
    return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)


def _arrays(
    folder: Path,
    name: str,
    variable: str,
    convert: Callable[[str, NDArray[np.float64]], NDArray[np.float32]],
    keep: Collection[str],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    place = first_of(folder, (name.capitalize(), f"{name.capitalize()}.zip", _DERIVED), hint=_HINT)
    pattern = re.compile(rf"(?:.*/)?{_NAME}_{name}\.mat")
    found = False
    for match, file_name, data in members(place, pattern, hint=_HINT):
        found = True
        if _label(match[1]) in keep:
            where = f"{place}, {file_name}"
            ndim = 2 if name == "inertial" else 3
            yield match[1], convert(where, matfiles.array(where, data, variable, ndim=ndim))
    if not found:
        raise DatasetError(place, f"no file aA_sS_tT_{name}.mat is in it; {_HINT}")


def _depth(folder: Path, keep: Collection[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    place = first_of(folder, ("Depth", "Depth.zip", _DERIVED_DEPTH), hint=_HINT)
    if place.name == _DERIVED_DEPTH:
        yield from _derived_depth(place, keep)
        return
    pattern = re.compile(rf"(?:.*/)?{_NAME}_depth\.mat")
    for match, file_name, data in members(place, pattern, hint=_HINT, max_bytes=_MAX_DEPTH_BYTES):
        if _label(match[1]) in keep:
            where = f"{place}, {file_name}"
            depth_mm = matfiles.array(where, data, "d_depth", ndim=3)
            # (h, w, f) in millimetres to what the derived files hold.
            steps = np.clip(depth_mm[::2, ::2] // _DEPTH_STEP_MM, 0, 255).astype(np.uint8)
            yield match[1], np.ascontiguousarray(steps.transpose(2, 0, 1))


def _derived_depth(place: Path, keep: Collection[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for action, label in enumerate(SOURCE.labels, start=1):
        path = place / f"a{action:02}.npz"
        if label not in keep or not path.exists():
            continue
        try:
            with npz.opened(path) as archive:
                for key in archive.files:
                    match = _KEY.fullmatch(key)
                    clip = archive[key]
                    if not match or int(match[1]) != action:
                        raise DatasetError(path, f"{key!r} is no trial of action {action}")
                    if clip.dtype != np.uint8 or clip.ndim != 3:
                        raise DatasetError(path, f"{key} is not uint8 (f, h, w)")
                    yield key, clip
        except npz.UNREADABLE as error:
            raise DatasetError(path, f"not a readable .npz archive ({error})") from error


def _rgb(folder: Path, keep: Collection[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    parts = [folder / f"RGB-part{part}.zip" for part in range(1, 5)]
    places = [part for part in parts if part.exists()] or [first_of(folder, ("RGB", "RGB.zip"), hint=_HINT)]
    pattern = re.compile(rf"(?:.*/)?{_NAME}_color\.avi")
    for place in places:
        for match, file_name, data in members(place, pattern, hint=_HINT, max_bytes=_MAX_VIDEO_BYTES):
            if _label(match[1]) in keep:
                yield match[1], video.decode(f"{place}, {file_name}", data, height_px=RGB_HEIGHT_PX)
