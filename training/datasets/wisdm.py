"""WISDM 2019: the watch's accelerometer, 18 activities of daily life.

"WISDM Smartphone and Smartwatch Activity and Biometrics Dataset" (Gary M. Weiss, 2019), UCI Machine
Learning Repository, CC BY 4.0. Read from one .npz that holds the watch's accelerometer files:
``scale``, and per subject ``NNNN_act`` (the activity's letter minus "A"), ``NNNN_t_ns`` and
``NNNN_xyz`` (integers; times ``scale`` gives m/s2).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import npz
from training.datasets import DatasetError, Recording, Source, checked
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2

SAMPLING_RATE_HZ = 20.0

# There is no letter N.
_LABEL_OF_LETTER = {
    "A": "walking",
    "B": "jogging",
    "C": "stairs",
    "D": "sitting",
    "E": "standing",
    "F": "typing",
    "G": "brushing_teeth",
    "H": "eating_soup",
    "I": "eating_chips",
    "J": "eating_pasta",
    "K": "drinking",
    "L": "eating_sandwich",
    "M": "kicking_ball",
    "O": "playing_catch",
    "P": "dribbling_ball",
    "Q": "writing",
    "R": "clapping",
    "S": "folding_clothes",
}
ATTRIBUTION = (
    "Weiss, G. M. (2019). WISDM Smartphone and Smartwatch Activity and Biometrics Dataset. "
    "UCI Machine Learning Repository. https://doi.org/10.24432/C5HK59"
)
SOURCE = Source(
    name="WISDM Smartphone and Smartwatch Activity and Biometrics Dataset: watch accelerometer",
    licence="CC BY 4.0",
    attribution=(
        f"{ATTRIBUTION}. Changes: only the watch's accelerometer was used; converted to g, resampled to a "
        "regular grid and cut into windows."
    ),
    labels=tuple(_LABEL_OF_LETTER.values()),
    limits=(
        "- The watch sat on the dominant hand; on the other one its x axis points the other way, unseen.",
        "- The watch's accelerometer railed at 2 g: harder movement was seen clipped.",
        "- Each activity was done for three minutes, on request: daily life is messier.",
    ),
)
_INDEX = {label: index for index, label in enumerate(SOURCE.labels)}

# The watch's clock is rebased between activities, and some recordings pause: the sampling interval
# is 50 ms, so whatever is longer than this is another recording.
_PAUSE_S = 1.0


def load(path: Path) -> list[Recording]:
    """Every uninterrupted stretch of one activity, by subject and in recorded order.

    Raises:
        DatasetError: The file is missing, is no such archive, or holds impossible values.
    """
    try:
        with npz.opened(path) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise DatasetError(path, "no such file; name the folder that holds it with --data") from None
    except npz.UNREADABLE as error:
        raise DatasetError(path, f"not a readable .npz archive ({error})") from error
    subjects = sorted(match[1] for key in arrays if (match := re.fullmatch(r"(\d+)_xyz", key)))
    if not subjects or "scale" not in arrays:
        raise DatasetError(path, 'neither "scale" nor any subject\'s "NNNN_xyz" is in it')
    scale = arrays["scale"]
    if scale.size != 1 or not np.isfinite(scale.item()) or not scale.item() > 0.0:
        raise DatasetError(path, f"a scale of {scale.tolist()} is impossible")
    scale_g = float(scale.item()) / STANDARD_GRAVITY_MPS2
    recordings: list[Recording] = []
    for subject in subjects:
        recordings.extend(_recordings(path, subject, arrays, scale_g))
    return recordings


def _recordings(
    path: Path, subject: str, arrays: dict[str, NDArray[np.generic]], scale_g: float
) -> list[Recording]:
    try:
        codes = np.asarray(arrays[f"{subject}_act"])
        t_ns = np.asarray(arrays[f"{subject}_t_ns"])
        xyz = np.asarray(arrays[f"{subject}_xyz"])
    except KeyError as error:
        raise DatasetError(path, f"subject {subject} lacks {error}") from error
    n = len(t_ns)
    if n == 0:
        raise DatasetError(path, f"subject {subject} has no samples")
    if codes.shape != (n,) or t_ns.shape != (n,) or xyz.shape != (n, 3):
        raise DatasetError(
            path,
            f"subject {subject}: activities {codes.shape}, times {t_ns.shape} and acceleration {xyz.shape} "
            "do not fit together",
        )
    if not np.issubdtype(codes.dtype, np.integer) or not np.issubdtype(t_ns.dtype, np.integer):
        raise DatasetError(path, f"subject {subject}: activities and times must be integers")
    step_ns = np.diff(t_ns)
    breaks = (np.diff(codes) != 0) | (step_ns <= 0) | (step_ns > _PAUSE_S * 1e9)
    bounds = [0, *(np.flatnonzero(breaks) + 1).tolist(), n]
    found = []
    for start, end in pairwise(bounds):
        letter = chr(ord("A") + int(codes[start]))
        label = _LABEL_OF_LETTER.get(letter)
        if label is None:
            raise DatasetError(path, f"subject {subject}: {letter!r} is no activity of this data set")
        if end - start < 2:
            continue
        # From the recording's own start: float64 keeps nanoseconds for hours, not for decades.
        t_s = (t_ns[start:end] - t_ns[start]) / 1e9
        acc_g = (xyz[start:end].astype(np.float64) * scale_g).astype(np.float32)
        recording = Recording(subject, _INDEX[label], t_s, acc_g, SAMPLING_RATE_HZ)
        found.append(checked(f"{path}, subject {subject}", recording))
    return found
