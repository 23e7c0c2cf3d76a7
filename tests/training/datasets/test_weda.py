"""WEDA-FALL: the watch's files in the official layout, delivered in blocks, and damaged ones."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from training.datasets import DatasetError, weda

HEAD = "accel_time_list,accel_x_list,accel_y_list,accel_z_list\n"
N = 100


def delivered(n: int = N) -> list[str]:
    """A line each sample: five are delivered at once, a few milliseconds apart."""
    return [f"{0.1 * (i // 5) + 0.002 * (i % 5):.3f},{i / 10},-9.8,0.0\n" for i in range(n)]


def write(folder: Path, text: str, *, name: str = "D01/U21_R02") -> Path:
    path = folder / "weda-fall" / "dataset" / "50Hz" / f"{name}_accel.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder / "weda-fall"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("D10/U02_R01", "D01/U21_R02", "D01/U02_R01"):
        place = write(tmp_path, HEAD + "".join(delivered()), name=name)
        for other in ("gyro", "orientation", "vertical_accel"):
            (place / "dataset" / "50Hz" / f"{name}_{other}.csv").write_text("not ours")
    write(tmp_path, "a fall", name="F01/U02_R01")
    return place


def test_samples_are_in_g_and_evenly_apart_however_they_were_delivered(folder: Path) -> None:
    found = weda.load(folder)
    told = [(each.subject, weda.SOURCE.labels[each.label]) for each in found]
    assert told == [("U02", "walking"), ("U02", "clapping"), ("U21", "walking")]
    first = found[0]
    assert first.sampling_rate_hz == 50.0
    np.testing.assert_allclose(np.diff(first.t_s), 1.908 / (N - 1))
    np.testing.assert_allclose(first.acc_g[:, 0] * 9.80665, np.arange(N) / 10, rtol=1e-6)
    np.testing.assert_allclose(first.acc_g[:, 1], -9.8 / 9.80665, rtol=1e-6)


def test_the_archive_of_the_folder_is_the_same_data(folder: Path) -> None:
    archive = folder.with_suffix(".tar.xz")
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(folder, arcname="WEDA-FALL")
    for one, other in zip(weda.load(folder), weda.load(archive), strict=True):
        assert (one.subject, one.label) == (other.subject, other.label)
        np.testing.assert_array_equal(one.acc_g, other.acc_g)


def test_a_block_that_came_after_the_next_goes_where_it_belongs(tmp_path: Path) -> None:
    lines = delivered()
    swapped = lines[:20] + lines[40:60] + lines[20:40] + lines[60:]
    (found,) = weda.load(write(tmp_path, HEAD + "".join(swapped)))
    np.testing.assert_allclose(found.acc_g[:, 0] * 9.80665, np.arange(N) / 10, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "its first line must be accel_time_list"),
        (HEAD, "0 samples are no recording"),
        (HEAD + "0.0,1.0,2.0\n" * 2, "line 1 has 3 columns, not 4"),
        (HEAD + "0.0,1.0,2.0,x\n" * 2, "not to be understood"),
        (HEAD + "0.0,1.0,2.0,inf\n" * 2, "not a finite number"),
        (HEAD + "0.0,1.0,2.0,3.0\n" * 2, "2 samples in 0 s are not the 50 a second"),
        (HEAD + "0.0,1.0,2.0,3.0\n1.0,1.0,2.0,3.0\n", "2 samples in 1 s are not the 50 a second"),
    ],
)
def test_what_is_damaged_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DatasetError, match=rf"D01/U21_R02_accel\.csv.*{expected}"):
        weda.load(write(tmp_path, text))


def test_a_movement_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="D77 is none of its movements D01, D02"):
        weda.load(write(tmp_path, HEAD + "".join(delivered()), name="D77/U21_R02"))


def test_a_missing_set_says_where_to_get_it(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(DatasetError, match=r"clone https://github\.com/joaojtmarques/WEDA-FALL"):
            weda.load(place)


def test_the_set_itself(shared_data: Path) -> None:
    found = weda.load(shared_data / "weda-fall.tar.xz")
    assert len(found) == 619
    assert len({each.subject for each in found}) == 25
    walks = [each for each in found if weda.SOURCE.labels[each.label] == "walking"]
    assert len(walks) == 68
    # Of an arm that hangs, nearly all of gravity lies along the arm, which is the watch's x.
    assert np.median([each.acc_g[:, 0].mean() for each in walks]) == pytest.approx(-0.85, abs=0.02)
