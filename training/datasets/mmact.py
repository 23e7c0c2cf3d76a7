"""MMAct: 36 actions of 20 people in 4 scenes before 4 cameras, with a watch and a phone.

Kong, Wu, Deng, Klinkigt, Tong and Murakami (ICCV 2019), on request, for research. Read in the official
layout: ``acc_watch_clip/subjectN/sceneN/sessionN/ACTION.csv`` (a stamp, then m/s2), ``acc_phone_clip/…``
alike, and videos as ``subjectN/camN/sceneN/sessionN/ACTION.mp4``. Its moments are not always in order, so its
samples are taken to be evenly spaced at 100 Hz.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Source, Trial, checked_trial, tables, video
from training.datasets.members import first_of, members
from training.datasets.splits import TrialSplit
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

Placement = Literal["watch", "phone"]

RATE_HZ = 100.0
VIDEO_HEIGHT_PX = 120
SOURCE = Source(
    name="MMAct",
    licence="on request, for research only: do not redistribute",
    attribution=(
        "Kong, Q., Wu, Z., Deng, Z., Klinkigt, M., Tong, B. and Murakami, T. (2019). MMAct: A large-scale "
        "dataset for cross modal human action understanding. ICCV 2019."
    ),
    labels=(
        "carrying", "carrying_heavy", "carrying_light", "checking_time", "closing", "crouching", "drinking",
        "entering", "exiting", "fall", "jumping", "kicking", "loitering", "looking_around", "opening",
        "picking_up", "pocket_in", "pocket_out", "pointing", "pulling", "pushing", "running", "setting_down",
        "sitting", "sitting_down", "standing", "standing_up", "talking", "talking_on_phone", "throwing",
        "transferring_object", "using_pc", "using_phone", "walking", "waving_hand",
    ),
    limits=("- Twenty people, acting on request; the watch's wrist is not told.",),
)  # fmt: skip
CROSS_SUBJECT = TrialSplit(
    by="subject", train=tuple(map(str, range(1, 17))), test=tuple(map(str, range(17, 21)))
)
CROSS_SESSION = TrialSplit(by="session", train=("1", "2", "3", "4"), test=("5",))
CROSS_VIEW = TrialSplit(by="view", train=("1", "2", "3"), test=("4",))


def cross_scene(lacking: tuple[str, ...]) -> TrialSplit:
    """Scenes 1, 3 and 4 teach, 2 judges; in it some actions were not done: name them."""
    return TrialSplit(by="scene", train=("1", "3", "4"), test=("2",), lacking=lacking)


_HINT = (
    "ask for MMAct at https://mmact19.github.io/2019/ and put acc_watch_clip, acc_phone_clip (folders or "
    ".tar.gz) and, for frames, the folder video with subjectN/camN/… into the folder given with --data"
)
_PATH = r"(?:.*/)?subject(\d{1,2})/scene(\d)/session(\d)/([A-Za-z_]+)\.csv"
_MAX_VIDEO_BYTES = 128 * 2**20


def trials(folder: Path, *, placement: Placement = "watch", camera: int | None = None) -> list[Trial]:
    """Every trial of the watch or the phone, by key.

    Args:
        folder: Holds the official folders or archives.
        placement: Which accelerometer.
        camera: 1 to 4: its videos become frames, and a trial without one is left out, as the set lacks some;
            none by default.

    Raises:
        DatasetError: Something is missing, damaged, empty or not finite.
    """
    kind = f"acc_{placement}_clip"
    place = first_of(folder, (kind, f"{kind}.tar.gz"), hint=_HINT)
    films = None if camera is None else _films(folder, camera)
    found = []
    for match, name, data in members(place, re.compile(_PATH), hint=_HINT):
        subject, scene, session, action = match.groups()
        label, where = action.lower(), f"{place}, {match[0]}"
        if label not in SOURCE.labels:
            raise DatasetError(where, f"{action} is no action of MMAct")
        key = f"s{subject}_sc{scene}_ss{session}_{label}"
        if films is not None and key not in films:
            continue
        rows = tables.numbers(where, data, columns=3, delimiter=",", stamped=True)
        trial = Trial(
            key=key,
            label=label,
            subject=subject,
            repetition=int(session),
            acc_g=(rows / STANDARD_GRAVITY_MPS2).astype(np.float32),
            rate_hz=RATE_HZ,
            frames=None if films is None else films[key],
            placement=placement,
            session=session,
            scene=scene,
            view="" if camera is None else str(camera),
        )
        found.append(checked_trial(where, trial))
        del name
    if not found:
        raise DatasetError(place, f"no file subjectN/sceneN/sessionN/ACTION.csv is in it; {_HINT}")
    return sorted(found, key=lambda trial: trial.key)


def _films(folder: Path, camera: int) -> dict[str, NDArray[np.uint8]]:
    place = first_of(folder, ("video",), hint=_HINT)
    pattern = re.compile(rf"(?:.*/)?subject(\d{{1,2}})/cam{camera}/scene(\d)/session(\d)/([A-Za-z_]+)\.mp4")
    found = {}
    for match, _, data in members(place, pattern, hint=_HINT, max_bytes=_MAX_VIDEO_BYTES):
        subject, scene, session, action = match.groups()
        key = f"s{subject}_sc{scene}_ss{session}_{action.lower()}"
        found[key] = video.decode(f"{place}, {match[0]}", data, height_px=VIDEO_HEIGHT_PX)
    if not found:
        raise DatasetError(place, f"no video of camera {camera} is in it; {_HINT}")
    return found
