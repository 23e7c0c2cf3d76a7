"""Berkeley-MHAD, MMAct, MEx, DSADS and SPAR: tiny files in their official layouts, and damaged ones."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training import utd_toys
from training.datasets import DatasetError, Trial, berkeley_mhad, dsads, mex, mmact, spar

G = 9.80665
Loader = Callable[[Path], list[Trial]]


def berkeley(folder: Path) -> Path:
    """Two people, one action, the right wrist at 25 Hz and two pictures of one camera."""
    for subject in ("01", "08"):
        path = folder / "Accelerometer" / "Shimmer02" / f"acc_h02_s{subject}_a03_r01.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"0.5 -1.0 0.25 {1e9 + i / 25:.6f}\n" for i in range(26)))
        place = folder / "Camera" / "Cluster01" / "Cam02" / f"S{subject}" / "A03" / "R01"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(2):
            bayer = np.tile(np.array([[10, 20], [30, 12]], np.uint8), (240, 320)) + number
            name = f"img_l01_c02_s{subject}_a03_r01_{number:05}.pgm"
            (place / name).write_bytes(b"P5\n640 480\n255\n" + bayer.tobytes())
    return folder


def test_berkeley_is_read_in_g_at_its_own_rate(tmp_path: Path) -> None:
    trials = berkeley_mhad.trials(berkeley(tmp_path))
    assert [trial.key for trial in trials] == ["s01_a03_r01", "s08_a03_r01"]
    assert trials[0].label == "bending"
    assert trials[0].rate_hz == pytest.approx(25.0)
    np.testing.assert_array_equal(trials[0].acc_g[0], np.array([0.5, -1.0, 0.25], np.float32))
    assert {trial.subject for trial in trials} <= {
        *berkeley_mhad.CROSS_SUBJECT.train,
        *berkeley_mhad.CROSS_SUBJECT.test,
    }


def test_berkeleys_pictures_lose_their_bayer_filter(tmp_path: Path) -> None:
    trial = berkeley_mhad.trials(berkeley(tmp_path), camera="l01_c02")[0]
    assert trial.frames is not None
    assert trial.frames.shape == (2, 120, 160, 3)
    np.testing.assert_array_equal(trial.frames[0, 0, 0], [30, 11, 20])


def test_a_camera_that_is_not_there_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match="Cam09/S01/A03/R01: not found; download the accelerometer archive"
    ):
        berkeley_mhad.trials(berkeley(tmp_path), camera="l01_c09")
    with pytest.raises(DatasetError, match="of the form l01_c01"):
        berkeley_mhad.trials(tmp_path, camera="front")


def act(folder: Path) -> Path:
    for subject, scene, session in ((1, 1, 1), (17, 2, 5)):
        for kind in ("acc_watch_clip", "acc_phone_clip"):
            path = (
                folder / kind / f"subject{subject}" / f"scene{scene}" / f"session{session}" / "Carrying.csv"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "".join(
                    f"20181016_13:37:28.{i:06},0.0,{G if kind == 'acc_watch_clip' else 0.0},{-G}\n"
                    for i in range(5)
                )
            )
    utd_toys.write_video(folder / "video" / "subject1" / "cam2" / "scene1" / "session1" / "carrying.mp4")
    return folder


def test_mmact_is_read_in_g_with_all_that_it_is_split_by(tmp_path: Path) -> None:
    first, second = mmact.trials(act(tmp_path))
    assert (first.key, second.key) == ("s17_sc2_ss5_carrying", "s1_sc1_ss1_carrying")
    assert (first.subject, first.session, first.scene, first.label) == ("17", "5", "2", "carrying")
    np.testing.assert_allclose(first.acc_g[0], [0.0, 1.0, -1.0], rtol=1e-6)
    for split in (mmact.CROSS_SUBJECT, mmact.CROSS_SESSION, mmact.cross_scene(())):
        assert str(getattr(second, split.by)) in split.train
        assert str(getattr(first, split.by)) in split.test
    assert mmact.trials(tmp_path, placement="phone")[0].acc_g[0, 1] == 0.0


def test_mmacts_videos_become_frames_of_a_view(tmp_path: Path) -> None:
    (trial,) = mmact.trials(act(tmp_path), camera=2)
    assert trial.view == "2"
    assert trial.frames is not None
    assert trial.frames.shape == (5, 120, 160, 3)
    with pytest.raises(DatasetError, match="no video of camera 3"):
        mmact.trials(tmp_path, camera=3)


def exercises(folder: Path, *, seconds: float = 12.0) -> Path:
    for name, rate_hz, columns in (("acw", 100.0, 3), ("dc_0.05_0.05", 10.0, 192)):
        path = folder / "mex" / name / "07" / f"04_{name[:3].rstrip('_')}_2.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = np.datetime64("2018-11-08T11:34:51.474") + (0 if name == "acw" else np.timedelta64(50, "ms"))
        rows = []
        for i in range(int(seconds * rate_hz)):
            stamp = str(start + np.timedelta64(round(i * 1e6 / rate_hz), "us")).replace("T", " ")
            rows.append(",".join([stamp, *["0.5"] * columns]))
        path.write_text("\n".join(rows) + "\n")
    return folder


def test_mex_is_cut_where_the_wall_clock_says(tmp_path: Path) -> None:
    trials = mex.trials(exercises(tmp_path), window_s=5.0, depth=True)
    assert [trial.key for trial in trials] == ["s07_e04_2_w00", "s07_e04_2_w01"]
    assert trials[0].label == "bilateral_clam"
    assert trials[0].rate_hz == pytest.approx(100.0)
    for trial in trials:
        assert 499 <= len(trial.acc_g) <= 501
        assert trial.frames is not None
        assert 49 <= len(trial.frames) <= 51
        assert trial.frames.shape[1:] == mex.FRAME_SHAPE
        assert (trial.frames == 128).all()
    (whole,) = mex.trials(tmp_path)
    assert whole.frames is None
    assert len(whole.acc_g) == 1200


def test_a_folder_and_its_archive_are_the_same_data(tmp_path: Path) -> None:
    (from_folder,) = mex.trials(exercises(tmp_path))
    with tarfile.open(tmp_path / "mex-acw-dc.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "mex", "mex")
    (tmp_path / "mex").rename(tmp_path / "away")
    (from_archive,) = mex.trials(tmp_path)
    np.testing.assert_array_equal(from_folder.acc_g, from_archive.acc_g)


def test_a_recording_without_depth_is_named(tmp_path: Path) -> None:
    exercises(tmp_path)
    (tmp_path / "mex" / "dc_0.05_0.05" / "07" / "04_dc_2.csv").rename(
        tmp_path / "mex" / "dc_0.05_0.05" / "07" / "05_dc_1.csv"
    )
    with pytest.raises(DatasetError, match="1 recordings have no depth file, s07_e04_2 first"):
        mex.trials(tmp_path, depth=True)


def segments(folder: Path) -> Path:
    path = folder / "data" / "a02" / "p3" / "s04.txt"
    path.parent.mkdir(parents=True)
    row = ["9"] * 9 + [str(G), "0", str(-G), "0.5", "0.25", "0.125"] + ["7"] * 30
    path.write_text("\n".join([",".join(row)] * 125))
    return folder


def test_dsads_official_files_and_the_derived_one_are_the_same(tmp_path: Path) -> None:
    (trial,) = dsads.trials(segments(tmp_path))
    assert (trial.key, trial.label, trial.subject, trial.repetition) == ("a02_p3_s04", "standing", "3", 4)
    np.testing.assert_allclose(trial.acc_g[0], [1.0, 0.0, -1.0])
    assert trial.gyro_rad_s is not None
    np.testing.assert_array_equal(trial.gyro_rad_s[0], [0.5, 0.25, 0.125])
    x = np.zeros((19, 3, 4, 125, 6), np.float32)
    x[1, 2, 3] = (G, 0, -G, 0.5, 0.25, 0.125)
    (tmp_path / "derived").mkdir()
    np.savez(tmp_path / "derived" / "dsads-right_wrist-acc-gyr.npz", x=x)
    derived = {one.key: one for one in dsads.trials(tmp_path / "derived")}
    assert len(derived) == 19 * 3 * 4
    np.testing.assert_array_equal(derived[trial.key].acc_g, trial.acc_g)


def watch(folder: Path, **changes: object) -> Path:
    content = {
        "X": [np.full((40, 6), 0.5), np.full((50, 6), 0.25)],
        "y_labels": ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"],
        "y": np.array([0, 6]),
        "subject": np.array([7, 10]),
        "side": np.array([1.0, 0.0]),
        "X_labels": ["ax"],
    } | changes
    path = folder / "spar-seglearn" / "watch_dataset.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def test_spar_is_read_from_seglearns_file(tmp_path: Path) -> None:
    watch(tmp_path)
    first, second = spar.trials(tmp_path)
    assert (first.label, first.subject, first.rate_hz) == ("pendulum", "07", 50.0)
    assert (second.label, second.acc_g.shape, second.acc_g[0, 0]) == ("row", (50, 3), -0.25)


class Evil:
    """Would run what it likes when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run",))


def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = watch(tmp_path, X=[Evil(), Evil()])
    assert b"print" in pickle.dumps(Evil())
    with pytest.raises(DatasetError, match=r"builtins\.print is no part of an array"):
        spar.trials(tmp_path)
    assert capsys.readouterr().out == ""
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"not seglearn's watch_dataset\.npy"):
        spar.trials(tmp_path)


@pytest.mark.parametrize(
    "loader", [berkeley_mhad.trials, mmact.trials, mex.trials, dsads.trials, spar.trials]
)
def test_a_missing_set_says_what_to_put_where(tmp_path: Path, loader: Loader) -> None:
    with pytest.raises(DatasetError, match="into the folder given with --data"):
        loader(tmp_path)


DAMAGED: list[tuple[Callable[[Path], object], str, Loader]] = [
    (berkeley, "Accelerometer/Shimmer02/acc_h02_s08_a03_r01.txt", berkeley_mhad.trials),
    (act, "acc_watch_clip/subject17/scene2/session5/Carrying.csv", mmact.trials),
    (exercises, "mex/acw/07/04_acw_2.csv", mex.trials),
    (segments, "data/a02/p3/s04.txt", dsads.trials),
]


@pytest.mark.parametrize(("make", "file", "loader"), DAMAGED, ids=["berkeley", "mmact", "mex", "dsads"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: "", "0 samples are no recording"),
        (lambda text: text.split("\n")[0], "1 samples are no recording"),
        (lambda text: text + "\n1,2", "line .* has . columns, not"),
        (lambda text: text.replace("0.5", "nan", 1).replace("9.80665", "nan", 1), "not a finite number"),
        (lambda text: text.replace("0.5", "zero", 1).replace("9.80665", "zero", 1), "not to be understood"),
        (lambda text: text + "ä", "not a text file"),
    ],
    ids=["empty", "one", "cut", "nan", "word", "bytes"],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path,
    make: Callable[[Path], object],
    file: str,
    loader: Loader,
    spoil: Callable[[str], str],
    reason: str,
) -> None:
    make(tmp_path)
    path = tmp_path / file
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DatasetError, match=reason) as caught:
        loader(tmp_path)
    assert path.name in str(caught.value)


def test_the_sets_at_hand_are_whole(shared_data: Path) -> None:
    if not (shared_data / "berkeley-mhad.tar.xz").exists():
        pytest.skip("Berkeley-MHAD is not among the data sets")
    trials = berkeley_mhad.trials(shared_data)
    assert len(trials) == 658
    sides = [len(berkeley_mhad.CROSS_SUBJECT.select(trials, side)) for side in ("train", "test")]
    assert sides == [383, 275]
    assert len(spar.trials(shared_data)) == 140
