"""WISDM: archives become recordings, and a damaged one is told in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training import toys
from training.datasets import DatasetError, wisdm


def test_recordings_are_cut_where_the_activity_changes_and_converted_to_g(tmp_path: Path) -> None:
    recordings = wisdm.load(toys.write(tmp_path))
    assert [(r.subject, wisdm.SOURCE.labels[r.label]) for r in recordings[:4]] == [
        ("1", "walking"),
        ("1", "jogging"),
        ("1", "standing"),
        ("2", "walking"),
    ]
    standing = recordings[2]
    assert standing.t_s[0] == 0.0
    assert standing.t_s[-1] == pytest.approx(12.0, abs=0.1)
    assert standing.acc_g.dtype == np.float32
    assert np.linalg.norm(standing.acc_g.mean(0)) == pytest.approx(1.0, abs=0.02)


def test_time_that_runs_back_or_pauses_begins_another_recording(tmp_path: Path) -> None:
    made = toys.arrays()
    jumps_ns = np.zeros(720, np.int64)
    jumps_ns[60:] += 5_000_000_000
    jumps_ns[120:] -= 8_000_000_000
    made["1_t_ns"] = np.asarray(made["1_t_ns"], np.int64) + jumps_ns
    lengths = [len(r.t_s) for r in wisdm.load(toys.write(tmp_path, made)) if r.subject == "1"]
    assert lengths == [60, 60, 120, 240, 240]


def test_there_are_eighteen_labels_and_no_letter_n() -> None:
    assert len(wisdm.SOURCE.labels) == len(set(wisdm.SOURCE.labels)) == 18


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file; name the folder that holds it with --data"):
        wisdm.load(tmp_path / toys.FILE)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / toys.FILE
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"not a readable \.npz archive"):
        wisdm.load(path)


def test_an_archive_with_a_flipped_byte_is_told(tmp_path: Path) -> None:
    path = toys.write(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"not a readable \.npz archive"):
        wisdm.load(path)


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / toys.FILE
    np.savez(path, x=np.zeros(3))
    with pytest.raises(DatasetError, match='neither "scale" nor any subject'):
        wisdm.load(path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    made = toys.arrays()
    made["1_xyz"] = np.array([{"a": 1}], dtype=object)
    with pytest.raises(DatasetError, match=r"not a readable \.npz archive"):
        wisdm.load(toys.write(tmp_path, made))


def test_a_subject_without_samples_is_told(tmp_path: Path) -> None:
    made = toys.arrays()
    for key in ("act", "t_ns", "xyz"):
        made[f"2_{key}"] = made[f"2_{key}"][:0]
    with pytest.raises(DatasetError, match="subject 2 has no samples"):
        wisdm.load(toys.write(tmp_path, made))


def test_a_missing_array_is_told(tmp_path: Path) -> None:
    made = toys.arrays()
    del made["3_t_ns"]
    with pytest.raises(DatasetError, match="subject 3 lacks '3_t_ns'"):
        wisdm.load(toys.write(tmp_path, made))


def test_arrays_of_different_lengths_are_told(tmp_path: Path) -> None:
    made = toys.arrays()
    made["3_xyz"] = made["3_xyz"][:-1]
    with pytest.raises(DatasetError, match=r"subject 3: .* do not fit together"):
        wisdm.load(toys.write(tmp_path, made))


def test_an_activity_that_does_not_exist_is_told(tmp_path: Path) -> None:
    made = toys.arrays()
    made["3_act"][:] = np.int8(ord("N") - ord("A"))
    with pytest.raises(DatasetError, match="subject 3: 'N' is no activity"):
        wisdm.load(toys.write(tmp_path, made))


def test_a_sample_that_is_no_number_is_told(tmp_path: Path) -> None:
    made = toys.arrays()
    made["4_xyz"] = made["4_xyz"].astype(np.float32)
    made["4_xyz"][7, 1] = np.float32("nan")
    with pytest.raises(DatasetError, match="subject 4: a sample is not a finite number"):
        wisdm.load(toys.write(tmp_path, made))


def test_an_impossible_scale_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="scale"):
        wisdm.load(toys.write(tmp_path, toys.arrays() | {"scale": np.array([float("nan")])}))
