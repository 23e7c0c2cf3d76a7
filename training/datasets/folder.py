"""A folder of one's own recordings: what a watch of one's own sent, with what one did meanwhile.

``SUBJECT/LABEL/ANYTHING.csv`` is one trial: the header ``t_s,x_g,y_g,z_g``, then seconds and g, gravity
included. ``SUBJECT/ANYTHING.vskdrec`` is what ``vskd record`` wrote, of one device, and beside it
``ANYTHING.labels.json`` says which seconds of it, from its first sample, are which activity:
``{"segments": [{"start_s": 3.0, "end_s": 9.5, "label": "walking"}]}``; what is not labelled is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.datasets import DatasetError, Trial, checked_trial, tables
from vskd_stream import recording
from vskd_stream.decode import decode
from vskd_stream.errors import DecodeError, RecordingError
from vskd_stream.resample import Resampler

HEADER = "t_s,x_g,y_g,z_g"
MAX_GAP_S = 0.5
"""A longer hole between two samples makes two trials of one."""
_MAX_FILE_BYTES = 64 * 2**20
_HINT = (
    f"expected SUBJECT/LABEL/NAME.csv with the header {HEADER}, or SUBJECT/NAME.vskdrec with NAME.labels.json"
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Segment(_Frozen):
    start_s: Annotated[float, Field(ge=0.0)]
    end_s: float
    label: Annotated[str, Field(min_length=1, max_length=64)]


class _Labels(_Frozen):
    segments: tuple[_Segment, ...]


def trials(folder: Path, *, rate_hz: float, placement: str = "wrist") -> list[Trial]:
    """Every labelled stretch without a gap, brought to ``rate_hz`` by the daemon's own resampler.

    Raises:
        DatasetError: The folder is missing or empty, or a file is damaged, not finite, or has no labels.
    """
    if not folder.is_dir():
        raise DatasetError(folder, f"not a folder; {_HINT}")
    found: list[Trial] = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if len(parts) == 3 and path.suffix == ".csv":
            stretches = iter([(parts[1], *_table(path))])
        elif len(parts) == 2 and path.suffix == recording.SUFFIX:
            stretches = _recorded(path)
        else:
            continue
        for label, t_s, acc_g in stretches:
            for grid_g in _regular(path, t_s, acc_g, rate_hz):
                key = f"{'/'.join(parts)}#{len(found)}"
                repetition = 1 + sum(one.subject == parts[0] and one.label == label for one in found)
                trial = Trial(key, label, parts[0], repetition, grid_g, rate_hz, placement=placement)
                found.append(checked_trial(path, trial))
    if not found:
        raise DatasetError(folder, f"no recording is in it; {_HINT}")
    return found


def _regular(
    path: Path, t_s: NDArray[np.float64], acc_g: NDArray[np.float32], rate_hz: float
) -> list[NDArray[np.float32]]:
    if (np.diff(t_s) <= 0.0).any():
        raise DatasetError(path, "time stands still or runs backwards")
    resampler = Resampler(rate_hz=rate_hz, max_gap_s=MAX_GAP_S)
    blocks = resampler.push(t_s, acc_g, sampling_rate_hz=tables.mean_rate_hz(path, t_s))
    return [block.acc_g for block in blocks if len(block.acc_g) >= 2]


def _table(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DatasetError(path, f"longer than {_MAX_FILE_BYTES >> 20} MiB: cut it into trials")
        head, _, rest = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({error.strerror})") from error
    if head.strip() != HEADER.encode():
        raise DatasetError(path, f"its first line must be {HEADER}")
    values = tables.numbers(path, rest, columns=4, delimiter=",")
    return np.ascontiguousarray(values[:, 0]), values[:, 1:].astype(np.float32)


def _recorded(path: Path) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float32]]]:
    place = path.with_suffix(".labels.json")
    try:
        labels = _Labels.model_validate_json(place.read_bytes())
    except OSError as error:
        raise DatasetError(place, f"cannot be read ({error.strerror}); it says what was done when") from error
    except ValidationError as error:
        raise DatasetError(place, f"not what it should be ({error.errors()[0]['msg']}); {_HINT}") from error
    times: list[NDArray[np.float64]] = []
    values: list[NDArray[np.float32]] = []
    devices: set[tuple[str, str]] = set()
    try:
        for message in recording.read(path):
            for samples in decode(message.payload, format="auto", device="unnamed", sampling_rate_hz=None):
                devices.add((message.topic, samples.device))
                times.append(samples.t_s)
                values.append(samples.acc_g)
    except (RecordingError, DecodeError) as error:
        raise DatasetError(path, f"cannot be read as a recording ({error})") from error
    if len(devices) != 1:
        raise DatasetError(path, f"has samples of {len(devices)} devices; one recording, one device")
    t_s, acc_g = np.concatenate(times), np.concatenate(values)
    t_s = t_s - t_s[0]
    for segment in labels.segments:
        inside = (t_s >= segment.start_s) & (t_s <= segment.end_s)
        count = np.count_nonzero(inside)
        if count == 0:
            raise DatasetError(place, f"no samples from {segment.start_s:g} to {segment.end_s:g} s")
        if count > 1:
            yield segment.label, t_s[inside], acc_g[inside]
