"""DSADS: an archive becomes recordings in a watch's axes, and a damaged one is told in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.datasets import DatasetError, dsads

SHAPE = (19, 8, 60, 125, 6)


def write(folder: Path, x: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Path:
    path = folder / "dsads.npz"
    np.savez(path, x=x)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = np.zeros(SHAPE, np.float32)
    x[..., 0] = 9.80665
    x[..., 2] = 4.903325
    return write(tmp_path_factory.mktemp("dsads"), x)


def test_a_hanging_arm_reads_minus_one_g_along_x_as_on_a_left_wrists_watch(archive: Path) -> None:
    recordings = dsads.load(archive)
    assert {each.subject for each in recordings} == set("12345678")
    np.testing.assert_allclose(recordings[0].acc_g[0], [-1.0, 0.0, 0.5], atol=1e-6)


def test_segments_that_go_on_are_one_recording_and_flights_of_stairs_are_not(archive: Path) -> None:
    lengths: dict[str, set[int]] = {}
    for each in dsads.load(archive):
        lengths.setdefault(dsads.SOURCE.labels[each.label], set()).add(len(each.t_s))
    assert {name for name, found in lengths.items() if found == {125}} == dsads.PIECES
    assert {name for name, found in lengths.items() if found == {7500}} == set(lengths) - dsads.PIECES


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dsads.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"not a readable \.npz archive"):
        dsads.load(path)


def test_a_missing_file_another_shape_and_values_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not found; download"):
        dsads.load(tmp_path / "none.npz")
    with pytest.raises(DatasetError, match="not floating-point"):
        dsads.load(write(tmp_path, np.zeros((19, 8, 3), np.float32)))
    with pytest.raises(DatasetError, match="not a finite number"):
        dsads.load(write(tmp_path, np.full(SHAPE, np.nan, np.float32)))


def test_a_segment_that_is_missing_ends_a_recording(tmp_path: Path) -> None:
    row = ",".join(["0"] * 9 + ["9.80665", "0", "0", "0", "0", "0"] + ["0"] * 30)
    for number in (1, 2, 4):
        path = tmp_path / "data" / "a02" / "p3" / f"s{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([row] * 125))
    assert [len(each.t_s) for each in dsads.load(tmp_path / "data")] == [250, 125]
