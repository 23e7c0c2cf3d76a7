"""The shipped demo recording: a few minutes of one person of WISDM, as a watch would have sent them.

The data set has three minutes of each activity, on a time line of its own: here pieces of them follow one
another, with one silence. Nothing is smoothed or resampled: every sample is as far from the one before as
its stamp says, in whole mg.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from training.datasets import DatasetError, Recording, wisdm
from vskd_stream.errors import VskdError
from vskd_stream.recording import Header, Message, write

ARCHIVE = "wisdm-watch-accel.npz"
SUBJECT = "1602"
"""The first of those whom no shipped model learned from, and who chose none of its thresholds."""
TOPIC = "imu/demo-watch/samples"
PIECES = (
    ("sitting", 40.0),
    ("typing", 40.0),
    ("drinking", 40.0),
    ("walking", 50.0),
    ("stairs", 40.0),
    (None, 20.0),
    ("brushing_teeth", 40.0),
    ("folding_clothes", 40.0),
    ("jogging", 40.0),
)
"""Activities and for how many seconds; None: the watch is silent."""
FROM_S = 30.0
"""Where in its recording a piece begins: there the activity is well under way."""
BATCH_SAMPLES = 10
"""Half a second: what a watch gathers before it wakes its radio."""
TRANSPORT_S = 0.02
"""From a batch's last sample to its arrival; the data set cannot tell, so it is the same for all."""
BEGIN = datetime(2026, 1, 1, 8, tzinfo=UTC)
"""The data set knows no time of day."""

CHANGES = (
    f"Changes: parts of the watch's recordings of subject {SUBJECT} only, one after another; accelerometer "
    "only, in whole mg instead of m/s2; times from the first sample on; batches of "
    f"{BATCH_SAMPLES} samples as MessagePack, each arriving {TRANSPORT_S * 1e3:.0f} ms after its last "
    "sample; labels in a file of their own."
)


def pieces(place: Path) -> list[Recording]:
    """What the recording is made of; times are since its first sample.

    Raises:
        DatasetError: The data set is missing or damaged, or lacks any of this.
    """
    recordings = [each for each in wisdm.load(place) if each.subject == SUBJECT]
    period_s = 1.0 / wisdm.SAMPLING_RATE_HZ
    now_s = 0.0
    found = []
    for name, length_s in PIECES:
        if name is None:
            now_s += length_s
            continue
        for each in recordings:
            t_s = each.t_s - each.t_s[0] - FROM_S
            if _name(each) == name and t_s[-1] >= length_s:
                break
        else:
            raise DatasetError(place, f"subject {SUBJECT} has no {FROM_S + length_s:g} s of {name}")
        start, end = np.searchsorted(t_s, (0.0, length_s))
        stamps_s = (now_s + t_s[start:end] - t_s[start]).round(6)
        found.append(replace(each, t_s=stamps_s, acc_g=each.acc_g[start:end]))
        now_s = float(stamps_s[-1]) + period_s
    return found


def messages(played: Sequence[Recording]) -> Iterator[Message]:
    """The pieces as batches of the native format; stream time starts with the first sample."""
    sequence = 0
    for piece in played:
        acc_mg = np.rint(piece.acc_g.astype(np.float64) * 1e3).astype(np.int64)
        for first in range(0, len(piece.t_s), BATCH_SAMPLES):
            batch = slice(first, first + BATCH_SAMPLES)
            times_s = piece.t_s[batch].tolist()
            payload = {
                "schema": 1,
                "sequence": sequence,
                "sampling_rate_hz": wisdm.SAMPLING_RATE_HZ,
                "epoch": "device",
                "times_s": times_s,
                "unit": "mg",
                "acc": acc_mg[batch].tolist(),
            }
            arrival_s = round(BEGIN.timestamp() + times_s[-1] + TRANSPORT_S, 3)
            yield Message(arrival_s, TOPIC, msgspec.msgpack.encode(payload))
            sequence += 1


def labels(played: Sequence[Recording]) -> dict[str, Any]:
    """What the person did when, in seconds of stream time; both ends are samples that carry the label."""
    return {
        "attribution": wisdm.ATTRIBUTION,
        "licence": wisdm.SOURCE.licence,
        "labels": sorted({_name(piece) for piece in played}),
        "segments": [
            {"start_s": float(piece.t_s[0]), "end_s": float(piece.t_s[-1]), "label": _name(piece)}
            for piece in played
        ],
    }


def build(place: Path, out: Path) -> None:
    """Write the recording to ``out`` and its labels beside it: the same bytes from the same data.

    Raises:
        VskdError: The data set is missing or damaged, or ``out`` cannot be written.
    """
    played = pieces(place)
    header = Header(
        created=BEGIN,
        tool="training.demo",
        attribution=wisdm.ATTRIBUTION,
        licence=wisdm.SOURCE.licence,
        notes=CHANGES,
    )
    write(out, header, messages(played))
    text = json.dumps(labels(played), indent=1) + "\n"
    out.with_suffix(".labels.json").write_text(text, encoding="utf-8")


def find(data: Path) -> Path:
    """The data set in a folder of data sets, or ``data`` itself."""
    return data / ARCHIVE if data.is_dir() else data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; 0, or 1 and one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="training.demo", description="Make the shipped demo recording.")
    parser.add_argument("--data", type=Path, required=True, help=f"{ARCHIVE}, or the folder that holds it")
    parser.add_argument("--out", type=Path, required=True, help="recording to write, *.vskdrec")
    options = parser.parse_args(arguments)
    try:
        build(find(options.data), options.out)
    except VskdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _name(recording: Recording) -> str:
    return wisdm.SOURCE.labels[recording.label]


if __name__ == "__main__":
    sys.exit(main())
