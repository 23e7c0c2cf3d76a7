from __future__ import annotations

import io
import tarfile
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import DatasetError, geotec

HEAD = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n"
START_MS = 1_657_539_356_236


def csv_of(*rows: str) -> str:
    return HEAD + "".join(f"{row}\n" for row in rows)


def row(t_ms: int, label: str = "SEATED", *, x: float = 9.80665) -> str:
    return f"{x},0.0,-4.903325,3.141592653589793,0.0,0.0,{START_MS + t_ms},{label}"


SITTING = csv_of(row(0), row(9), row(19), row(19), row(29))
WALKING = csv_of(*(row(20_000 + 10 * i, "WALKING" if i < 70 else "TURNING", x=i / 10) for i in range(120)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "geotec"
    for subject, number, text in (("s16", 1, SITTING), ("s16", 2, WALKING), ("s02", 1, WALKING)):
        path = place / "DATA" / subject / f"{subject}_{number:02}_sw.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.with_name(f"{subject}_{number:02}_sp.csv").write_text("the phone's, not ours")
    (place / "DATA" / "subjects_info.csv").write_text("subject_id\n")
    return place


@pytest.fixture
def archive(folder: Path) -> Path:
    path = folder.with_suffix(".tar.xz")
    with tarfile.open(path, "w:xz") as tar:
        tar.add(folder, arcname="geotec-spsw")
    return path


def spoil(folder: Path, text: str) -> Path:
    (folder / "DATA" / "s16" / "s16_01_sw.csv").write_text(text)
    return folder


def test_the_folder_and_its_archive_are_the_same_data(folder: Path, archive: Path) -> None:
    assert geotec.subjects(folder) == geotec.subjects(archive) == ("s02", "s16")
    for from_folder, from_archive in zip(geotec.executions(folder), geotec.executions(archive), strict=True):
        assert from_folder.subject == from_archive.subject
        assert from_folder.number == from_archive.number
        np.testing.assert_array_equal(from_folder.acc_g, from_archive.acc_g)
        np.testing.assert_array_equal(from_folder.t_ms, from_archive.t_ms)


def test_units_are_converted_and_labels_kept(folder: Path) -> None:
    first, second = geotec.executions(folder, only={"s16"})
    assert (first.subject, first.number, second.number) == ("s16", 1, 2)
    np.testing.assert_array_equal(first.acc_g[0], np.array([1.0, 0.0, -0.5], np.float32))
    np.testing.assert_array_equal(first.gyro_dps[0], np.array([180.0, 0.0, 0.0], np.float32))
    np.testing.assert_array_equal(first.t_ms - START_MS, [0, 9, 19, 19, 29])
    assert geotec.segments(first) == [(0, 5, geotec.LABELS.index("seated"))]
    assert [geotec.LABELS[segment.label] for segment in geotec.segments(second)] == ["walking", "turning"]
    assert [segment[:2] for segment in geotec.segments(second)] == [(0, 70), (70, 120)]


def test_a_stretch_of_one_label_is_one_recording(folder: Path) -> None:
    found = geotec.load(folder)
    assert [(r.subject, geotec.LABELS[r.label], len(r.t_s)) for r in found] == [
        ("s02", "walking", 70), ("s02", "turning", 50),
        ("s16", "seated", 5),
        ("s16", "walking", 70), ("s16", "turning", 50),
    ]  # fmt: skip
    np.testing.assert_allclose(found[2].t_s, [0.0, 0.009, 0.019, 0.0195, 0.029])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_equal_stamps_share_their_millisecond(steps: list[int]) -> None:
    t_ms = np.cumsum(np.array(steps, np.int64))
    spread = geotec.spread_ms(t_ms)
    assert (np.diff(spread) > 0.0).all()
    np.testing.assert_array_equal(np.floor(spread), t_ms)
    for _, group in groupby(spread.tolist(), key=int):
        assert np.allclose(np.diff(together := list(group)), 1.0 / len(together))


def test_a_missing_data_set_says_where_to_get_it(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(DatasetError, match=r"zenodo\.8398688"):
            geotec.executions(place)
        with pytest.raises(DatasetError, match=r"zenodo\.8398688"):
            geotec.subjects(place)


def test_a_subject_who_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"subjects \['s99'\] are not in it"):
        geotec.executions(folder, only={"s16", "s99"})


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_damaged_archive_is_refused(archive: Path, keep: float) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DatasetError, match=r"damaged, or no tar archive.*zenodo"):
        geotec.executions(archive)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "its first line must be x_acc,"),
        ("a,b\n1,2\n", "its first line must be x_acc,"),
        (HEAD, "0 samples are no recording"),
        (csv_of(row(0), "1,2,3"), "line 3 has 3 columns, not 8"),
        (csv_of(row(0), row(9).replace("0.0", "zero", 1)), "not to be understood"),
        (csv_of(row(0), row(9).replace("0.0", "nan", 1)), "not a finite number"),
        (csv_of(row(0), row(9, "JUGGLING")), "not to be understood"),
        (csv_of(row(0), row(10**20)), "not to be understood"),
        (csv_of(row(9), row(0)), "time runs backwards"),
        (csv_of(row(0), 'x"y,' * 8), "line 3 has 9 columns"),
        (csv_of(row(0), "ä"), "not a readable CSV file"),
    ],
)
def test_a_damaged_file_is_refused_by_name(folder: Path, text: str, expected: str) -> None:
    with pytest.raises(DatasetError) as caught:
        geotec.executions(spoil(folder, text), only={"s16"})
    assert expected in str(caught.value)
    assert "s16_01_sw.csv" in str(caught.value)


def test_an_archive_with_a_huge_member_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "huge.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("DATA/s16/s16_01_sw.csv")
        member.size = 17 * 2**20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(DatasetError, match="another data set"):
        geotec.executions(path)
