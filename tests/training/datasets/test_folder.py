"""One's own recordings: tables and what ``vskd record`` wrote, with labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from training.datasets import DatasetError, folder
from vskd_stream import recording

RATE_HZ = 25.0


def table(place: Path, name: str = "anna/walking/one.csv", *, gap_s: float = 0.0, n: int = 200) -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    t_s = np.arange(n) / 50.0
    t_s[n // 2 :] += gap_s
    rows = "".join(f"{t:.3f},0.0,{np.sin(t):.5f},1.0\n" for t in t_s)
    path.write_text(f"{folder.HEADER}\n{rows}")
    return path


def test_a_table_becomes_a_trial_at_the_wished_rate(tmp_path: Path) -> None:
    table(tmp_path)
    table(tmp_path, "anna/walking/two.csv")
    table(tmp_path, "ben/clapping/one.csv")
    trials = folder.trials(tmp_path, rate_hz=RATE_HZ, placement="left_wrist")
    assert [(t.subject, t.label, t.repetition) for t in trials] == [
        ("anna", "walking", 1),
        ("anna", "walking", 2),
        ("ben", "clapping", 1),
    ]
    assert len({trial.key for trial in trials}) == 3
    first = trials[0]
    assert first.rate_hz == RATE_HZ
    assert first.placement == "left_wrist"
    assert 88 <= len(first.acc_g) <= 100
    np.testing.assert_allclose(first.acc_g[:, 2], 1.0, atol=1e-5)


def test_a_gap_makes_two_trials_of_one(tmp_path: Path) -> None:
    table(tmp_path, gap_s=3.0)
    assert [len(t.acc_g) > 40 for t in folder.trials(tmp_path, rate_hz=RATE_HZ)] == [True, True]


def test_a_recording_is_cut_by_its_labels(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    demo = recording.resolve("demo")
    shutil.copy(demo, tmp_path / "anna" / "day.vskdrec")
    shutil.copy(demo.with_suffix(".labels.json"), tmp_path / "anna" / "day.labels.json")
    trials = folder.trials(tmp_path, rate_hz=RATE_HZ)
    segments = json.loads(demo.with_suffix(".labels.json").read_text())["segments"]
    assert {trial.label for trial in trials} == {segment["label"] for segment in segments}
    assert {trial.subject for trial in trials} == {"anna"}
    assert all(0.5 < np.median(np.linalg.norm(trial.acc_g, axis=1)) < 1.6 for trial in trials)


def test_a_recording_without_labels_is_told(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    shutil.copy(recording.resolve("demo"), tmp_path / "anna" / "day.vskdrec")
    with pytest.raises(DatasetError, match="it says what was done when"):
        folder.trials(tmp_path, rate_hz=RATE_HZ)
    place = tmp_path / "anna" / "day.labels.json"
    place.write_text('{"segments": [{"start_s": 1e6, "end_s": 2e6, "label": "resting"}]}')
    with pytest.raises(DatasetError, match="no samples from 1e"):
        folder.trials(tmp_path, rate_hz=RATE_HZ)
    place.write_text('{"segments": [{"start_s": -1, "end_s": 2, "label": "resting"}]}')
    with pytest.raises(DatasetError, match="not what it should be"):
        folder.trials(tmp_path, rate_hz=RATE_HZ)


def test_a_damaged_recording_is_told(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "day.vskdrec").write_bytes(b"no recording")
    (tmp_path / "anna" / "day.labels.json").write_text('{"segments": []}')
    with pytest.raises(DatasetError, match="cannot be read as a recording"):
        folder.trials(tmp_path, rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "its first line must be t_s,x_g,y_g,z_g"),
        (f"{folder.HEADER}\n", "0 samples"),
        (f"{folder.HEADER}\n0,1,2,3\n1,2,3\n", "line 2 has 3 columns"),
        (f"{folder.HEADER}\n0,1,2,3\n1,2,3,inf\n", "not a finite number"),
        (f"{folder.HEADER}\n1,1,2,3\n0,2,3,4\n2,2,3,4\n", "runs backwards"),
    ],
)
def test_a_damaged_table_is_refused_by_name(tmp_path: Path, content: str, reason: str) -> None:
    table(tmp_path).write_text(content)
    with pytest.raises(DatasetError, match=reason) as caught:
        folder.trials(tmp_path, rate_hz=RATE_HZ)
    assert "one.csv" in str(caught.value)


def test_an_empty_folder_says_what_belongs_in_it(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(DatasetError, match=r"expected SUBJECT/LABEL/NAME\.csv"):
            folder.trials(place, rate_hz=RATE_HZ)
