"""MEx: CSV files become recordings, from a folder and from an archive alike."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from training.datasets import DatasetError, mex


def lines(count: int, *, start_ms: int = 0, x: str = "0.5") -> str:
    stamps = [start_ms + 10 * i for i in range(count)]
    return "".join(f"2018-11-08 11:34:{ms // 1000:02}.{ms % 1000:03}000,{x},-1.0,0.25\n" for ms in stamps)


def write(folder: Path, text: str, name: str = "acw/03/05_acw_1.csv") -> Path:
    path = folder / "mex" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder / "mex"


def test_the_folder_and_its_archive_are_the_same_recordings(tmp_path: Path) -> None:
    place = write(tmp_path, lines(50))
    archive = tmp_path / "mex.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(place, arcname="mex")
    for found in (mex.load(place), mex.load(archive)):
        (recording,) = found
        assert (recording.subject, mex.SOURCE.labels[recording.label]) == (
            "03",
            "repeated_extension_in_lying",
        )
        np.testing.assert_allclose(recording.t_s, np.arange(50) / 100, atol=1e-6)
        np.testing.assert_array_equal(recording.acc_g[0], np.array([0.5, -1.0, 0.25], np.float32))


def test_a_pause_begins_another_recording(tmp_path: Path) -> None:
    place = write(tmp_path, lines(30) + lines(40, start_ms=9000))
    assert [len(each.t_s) for each in mex.load(place)] == [30, 40]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (lines(5, x="much"), "not to be understood"),
        ("yesterday,0,0,0\n" * 2, "not to be understood"),
        (lines(5) + "2018-11-08 11:35:00.000000,0.5\n", "has 1 columns, not 3"),
        (lines(5, x="nan"), "not a finite number"),
        (lines(5) + lines(5), "time stands still or runs backwards"),
        ("", "0 samples"),
    ],
)
def test_a_damaged_file_is_told_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DatasetError, match=rf"05_acw_1\.csv of subject 03: .*{complaint}"):
        mex.load(write(tmp_path, text))


def test_an_exercise_that_does_not_exist_and_a_place_without_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no file acw"):
        mex.load(write(tmp_path / "a", lines(5), name="acw/03/09_acw_1.csv"))
    with pytest.raises(DatasetError, match="not found"):
        mex.load(tmp_path / "none")
    with pytest.raises(DatasetError, match="no file acw"):
        mex.load(write(tmp_path / "b", "", name="act/03/05_act_1.csv"))
    (tmp_path / "broken.tar.xz").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="no tar archive"):
        mex.load(tmp_path / "broken.tar.xz")
