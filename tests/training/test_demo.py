from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from training import demo
from training.datasets import DatasetError, wisdm
from vskd_stream import recording
from vskd_stream.decode import decode

LETTERS = {"sitting": "D", "typing": "F", "drinking": "K", "walking": "A", "stairs": "C", "jogging": "B"}
LETTERS |= {"brushing_teeth": "G", "folding_clothes": "S"}


def write(folder: Path, *, seconds: float = 90.0) -> Path:
    """The person's activities, each on a time line of its own: samples count upwards in raw units."""
    n = int(seconds * 20)
    codes = [np.full(n, ord(letter) - ord("A"), np.int8) for letter in LETTERS.values()]
    times = [np.arange(n) * 50_000_000 + start * 10**12 for start in range(len(LETTERS))]
    xyz = np.zeros((n * len(LETTERS), 3), np.int16)
    xyz[:, 0] = np.tile(np.arange(n), len(LETTERS))
    path = folder / demo.ARCHIVE
    arrays: dict[str, Any] = {
        "scale": np.array([0.00980665]),
        f"{demo.SUBJECT}_act": np.concatenate(codes),
        f"{demo.SUBJECT}_t_ns": np.concatenate(times),
        f"{demo.SUBJECT}_xyz": xyz,
    }
    np.savez(path, **arrays)
    return path


def test_the_demo_is_what_the_watch_measured_piece_by_piece(tmp_path: Path) -> None:
    write(tmp_path)
    out = tmp_path / "demo.vskdrec"
    assert demo.main(["--data", str(tmp_path), "--out", str(out)]) == 0
    source = recording.read(out)
    assert "Weiss" in source.header.attribution
    assert source.header.licence == "CC BY 4.0"
    messages = list(source)
    batches = [msgspec.msgpack.decode(message.payload) for message in messages]
    assert [batch["sequence"] for batch in batches] == list(range(len(batches)))
    first = batches[0]
    # A raw unit is a milli-g here, and the piece begins 30 s into its recording.
    assert [x for x, _, _ in first["acc"]] == list(range(600, 610))
    assert first["times_s"] == pytest.approx(np.arange(10) / 20)
    assert messages[0].arrival_s == pytest.approx(demo.BEGIN.timestamp() + 0.45 + demo.TRANSPORT_S)
    times_s = np.concatenate([batch["times_s"] for batch in batches])
    steps_s = np.diff(times_s)
    # One silence, and no sample repeats another's time.
    assert np.flatnonzero(steps_s > 0.051).tolist() == [(250 * 20) - 40 * 20 - 1]
    assert steps_s.min() > 0.049
    told = json.loads(out.with_suffix(".labels.json").read_text())["segments"]
    assert [each["label"] for each in told] == [name for name, _ in demo.PIECES if name]


def test_a_person_without_enough_of_an_activity_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="subject 1602 has no 70 s of sitting"):
        demo.pieces(write(tmp_path, seconds=60.0))


def test_making_the_demo_without_the_data_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "a.vskdrec")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_shipped_demo_decodes_to_one_stream_of_a_persons_acceleration() -> None:
    path = recording.resolve("demo")
    assert path.stat().st_size < 250 * 2**10
    previous_s = -1.0
    for sequence, message in enumerate(recording.read(path)):
        (samples,) = decode(message.payload, format="auto", device="demo-watch", sampling_rate_hz=None)
        assert samples.sequence == sequence
        assert samples.sampling_rate_hz == wisdm.SAMPLING_RATE_HZ
        assert samples.epoch == "device"
        assert previous_s < samples.t_s[0]
        assert len(samples) <= demo.BATCH_SAMPLES
        assert 0.1 < np.median(np.linalg.norm(samples.acc_g, axis=1)) < 3.0
        previous_s = float(samples.t_s[-1])
    segments = json.loads(path.with_suffix(".labels.json").read_text())["segments"]
    assert [each["label"] for each in segments] == [name for name, _ in demo.PIECES if name]
    assert segments[-1]["end_s"] == previous_s
    assert all(a["end_s"] < b["start_s"] for a, b in pairwise(segments))


def test_the_shipped_demo_is_what_the_data_set_makes(shared_data: Path, tmp_path: Path) -> None:
    if not demo.find(shared_data).exists():
        pytest.skip(f"{demo.ARCHIVE} is not among the data sets")
    out, shipped = tmp_path / "demo.vskdrec", recording.resolve("demo")
    demo.build(demo.find(shared_data), out)
    for made, had in ((out, shipped), (path.with_suffix(".labels.json") for path in (out, shipped))):
        assert made.read_bytes() == had.read_bytes()
