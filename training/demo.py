"""The shipped demo recording: one person of GeoTec sp-sw-har, as a watch would have sent what was measured.

Nothing is stitched or smoothed: all executions in their order, with the pauses between them, every
sample at the time that its stamp says. Only the accelerometer is kept, in whole mg.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from training.datasets import geotec
from vskd_stream.errors import VskdError
from vskd_stream.recording import Header, Message, write

ARCHIVE = "geotec-watch.tar.xz"
SUBJECT = "s16"
"""Shortest pauses of all 23 people, ten executions, seated at both ends of each."""
TOPIC = "imu/demo-watch/samples"
BATCH_SAMPLES = 52
"""Half a second: what a watch gathers before it wakes its radio."""
TRANSPORT_S = 0.02
"""From a batch's last sample to its arrival; the data set cannot tell, so it is the same for all."""

CHANGES = (
    f"Changes: the watch's recordings of subject {SUBJECT} only; accelerometer only, in whole mg instead "
    "of m/s2; times from the first sample on, samples of one and the same millisecond spread evenly within "
    f"it; batches of {BATCH_SAMPLES} samples as MessagePack, each arriving {TRANSPORT_S * 1e3:.0f} ms after "
    "its last sample; labels in a file of their own."
)


def messages(executions: Sequence[geotec.Execution]) -> Iterator[Message]:
    """The executions as batches of the native format; stream time starts with the first sample."""
    start_ms = int(executions[0].t_ms[0])
    sequence = 0
    for execution in executions:
        t_s = _t_s(execution, start_ms)
        acc_mg = np.rint(execution.acc_g.astype(np.float64) * 1e3).astype(np.int64)
        for first in range(0, len(t_s), BATCH_SAMPLES):
            last = min(first + BATCH_SAMPLES, len(t_s)) - 1
            batch = {
                "schema": 1,
                "sequence": sequence,
                "sampling_rate_hz": geotec.SAMPLING_RATE_HZ,
                "epoch": "device",
                "times_s": t_s[first : last + 1],
                "unit": "mg",
                "acc": acc_mg[first : last + 1].tolist(),
            }
            arrival_s = round(int(execution.t_ms[last]) / 1e3 + TRANSPORT_S, 3)
            yield Message(arrival_s, TOPIC, msgspec.msgpack.encode(batch))
            sequence += 1


def labels(executions: Sequence[geotec.Execution]) -> dict[str, Any]:
    """What the person did when: runs of equal labels, in seconds of stream time."""
    start_ms = int(executions[0].t_ms[0])
    found = []
    for execution in executions:
        t_s = _t_s(execution, start_ms)
        for start, end, label in geotec.segments(execution):
            # Both ends are samples that carry the label.
            segment = {"start_s": t_s[start], "end_s": t_s[end - 1], "label": geotec.LABELS[label]}
            found.append(segment)
    return {
        "attribution": geotec.ATTRIBUTION,
        "licence": geotec.LICENCE,
        "labels": list(geotec.LABELS),
        "segments": found,
    }


def build(place: Path, out: Path) -> None:
    """Write the recording to ``out`` and its labels beside it: the same bytes from the same data.

    Raises:
        VskdError: The data set is missing or damaged, or ``out`` cannot be written.
    """
    executions = geotec.executions(place, only={SUBJECT})
    header = Header(
        created=datetime.fromtimestamp(int(executions[0].t_ms[0]) // 1000, UTC),
        tool="training.demo",
        attribution=geotec.ATTRIBUTION,
        licence=geotec.LICENCE,
        notes=CHANGES,
    )
    write(out, header, messages(executions))
    text = json.dumps(labels(executions), indent=1) + "\n"
    out.with_suffix(".labels.json").write_text(text, encoding="utf-8")


def find(data: Path) -> Path:
    """The data set in a folder of data sets, or ``data`` itself."""
    archive = data / ARCHIVE
    return archive if archive.exists() else data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; 0, or 1 and one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="training.demo", description="Make the shipped demo recording.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds GeoTec sp-sw-har")
    parser.add_argument("--out", type=Path, required=True, help="recording to write, *.vskdrec")
    options = parser.parse_args(arguments)
    try:
        build(find(options.data), options.out)
    except VskdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _t_s(execution: geotec.Execution, start_ms: int) -> list[float]:
    return [round(t_ms / 1e3, 6) for t_ms in geotec.spread_ms(execution.t_ms - start_ms).tolist()]


if __name__ == "__main__":
    sys.exit(main())
