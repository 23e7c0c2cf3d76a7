"""UTD-MHAD: official files become trials, and what is missing or damaged is told in one sentence."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.training import utd_toys
from training.datasets import DEPTH_STEP_M, DatasetError, utd_mhad


def test_trials_come_by_action_subject_and_repetition_in_g_and_radians(tmp_path: Path) -> None:
    trials = utd_mhad.trials(utd_toys.write(tmp_path), modalities=["skeleton"])
    assert [trial.key for trial in trials] == utd_toys.KEYS
    first = trials[0]
    assert (first.label, first.subject, first.repetition) == ("swipe_left", "1", 1)
    assert first.acc_g.shape == (60, 3)
    assert first.acc_g.dtype == np.float32
    assert first.gyro_rad_s is not None
    np.testing.assert_allclose(first.gyro_rad_s, np.pi, rtol=1e-6)
    assert first.skeleton_m is not None
    assert first.skeleton_m.shape == (24, 20, 3)
    expected = scipy.io.loadmat(tmp_path / "Skeleton" / f"{first.key}_skeleton.mat")["d_skel"]
    np.testing.assert_allclose(first.skeleton_m[7, 10], expected[10, :, 7], rtol=1e-6)
    assert first.frames is None


def test_the_first_21_actions_are_of_the_wrist_and_the_others_of_the_thigh(tmp_path: Path) -> None:
    utd_toys.write(tmp_path, names=["a21_s1_t1", "a22_s1_t1"])
    assert [trial.placement for trial in utd_mhad.trials(tmp_path)] == ["right_wrist", "right_thigh"]


def test_zip_archives_are_read_without_unpacking(tmp_path: Path) -> None:
    utd_toys.write(tmp_path)
    unpacked = utd_mhad.trials(tmp_path)
    shutil.make_archive(str(tmp_path / "Inertial"), "zip", tmp_path, "Inertial")
    shutil.rmtree(tmp_path / "Inertial")
    for one, other in zip(unpacked, utd_mhad.trials(tmp_path), strict=True):
        np.testing.assert_array_equal(one.acc_g, other.acc_g)


def test_depth_comes_in_steps_of_16_mm_at_every_second_pixel(tmp_path: Path) -> None:
    utd_toys.write(tmp_path, depth=True, names=["a1_s1_t1"])
    (trial,) = utd_mhad.trials(tmp_path, modalities=["depth"])
    assert trial.frames is not None
    assert trial.frames.shape == (24, 120, 160)
    assert trial.frames.dtype == np.uint8
    body = trial.frames[trial.frames > 0]
    assert abs(float(np.median(body)) * DEPTH_STEP_M - 2.8) <= DEPTH_STEP_M


def test_rgb_is_decoded_small(tmp_path: Path) -> None:
    utd_toys.write(tmp_path, names=["a1_s1_t1"])
    utd_toys.write_video(tmp_path / "RGB" / "a1_s1_t1_color.avi")
    (trial,) = utd_mhad.trials(tmp_path, modalities=["rgb"])
    assert trial.frames is not None
    assert trial.frames.shape == (5, 120, 160, 3)
    reds = trial.frames[..., 0].mean(axis=(1, 2))
    assert (np.diff(reds) > 20).all()


@pytest.mark.parametrize("modality", ["skeleton", "depth", "rgb"])
def test_a_modality_that_is_not_there_says_what_to_download(
    tmp_path: Path, modality: utd_mhad.Modality
) -> None:
    utd_toys.write(tmp_path)
    for name in ("Skeleton", "Depth"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(DatasetError, match=r"is in it; download .*RGB-part1.zip.* --data"):
        utd_mhad.trials(tmp_path, modalities=[modality])


def test_a_missing_data_set_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"download Inertial\.zip"):
        utd_mhad.trials(tmp_path)
    (tmp_path / "Inertial").mkdir()
    with pytest.raises(DatasetError, match=r"no file aA_sS_tT_inertial\.mat is in it"):
        utd_mhad.trials(tmp_path)


def test_a_trial_without_its_skeleton_is_named(tmp_path: Path) -> None:
    utd_toys.write(tmp_path)
    (tmp_path / "Skeleton" / "a3_s2_t1_skeleton.mat").unlink()
    with pytest.raises(DatasetError, match="1 trials have no skeleton file, a3_s2_t1 first"):
        utd_mhad.trials(tmp_path, modalities=["skeleton"])
    (tmp_path / "Skeleton" / "a4_s2_t1_skeleton.mat").write_bytes(b"")
    assert len(utd_mhad.trials(tmp_path)) == len(utd_toys.KEYS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "not a readable MATLAB 5 file"),
        ({"other": np.ones((4, 6))}, "has no variable d_iner"),
        ({"d_iner": "text"}, "d_iner holds no numbers"),
        ({"d_iner": np.ones((0, 6))}, "empty"),
        ({"d_iner": np.ones((4, 6, 2))}, "has not 2 axes"),
        ({"d_iner": np.ones((4, 5))}, r"not \(n, 6\)"),
        ({"d_iner": np.ones((1, 6))}, "1 samples are no trial"),
        ({"d_iner": np.full((9, 6), np.nan)}, "not a finite number"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, content: dict[str, object] | None, reason: str
) -> None:
    utd_toys.write(tmp_path)
    path = tmp_path / "Inertial" / "a1_s1_t2_inertial.mat"
    if content is None:
        path.write_bytes(path.read_bytes()[:150])
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(DatasetError, match=reason) as caught:
        utd_mhad.trials(tmp_path)
    assert "a1_s1_t2" in str(caught.value)


def test_a_video_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    utd_toys.write(tmp_path, names=["a1_s1_t1"])
    (tmp_path / "RGB").mkdir()
    (tmp_path / "RGB" / "a1_s1_t1_color.avi").write_bytes(b"no video" * 99)
    with pytest.raises(DatasetError, match=r"a1_s1_t1_color\.avi: not a readable video"):
        utd_mhad.trials(tmp_path, modalities=["rgb"])


def test_a_derived_archive_that_is_damaged_is_refused(tmp_path: Path) -> None:
    utd_toys.write(tmp_path, names=["a1_s1_t1"])
    shutil.rmtree(tmp_path / "Depth")
    folder = tmp_path / "utd-mhad-depth"
    folder.mkdir()
    (folder / "a01.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DatasetError, match=r"a01\.npz: not a readable \.npz archive"):
        utd_mhad.trials(tmp_path, modalities=["depth"])
    np.savez(folder / "a01.npz", a2_s1_t1=np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(DatasetError, match="'a2_s1_t1' is no trial of action 1"):
        utd_mhad.trials(tmp_path, modalities=["depth"])


def test_depth_and_rgb_together_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="ask for one of them"):
        utd_mhad.trials(tmp_path, modalities=["depth", "rgb"])
    with pytest.raises(DatasetError, match=r"\['juggling'\] are no labels"):
        utd_mhad.trials(tmp_path, labels=("juggling",))


def test_the_whole_set_has_861_trials_on_both_splits(shared_data: Path) -> None:
    if not (shared_data / "utd-mhad-inertial-skeleton.tar.xz").exists():
        pytest.skip("UTD-MHAD is not among the data sets")
    trials = utd_mhad.trials(shared_data)
    assert len(trials) == 861
    assert Counter(trial.placement for trial in trials) == {"right_wrist": 671, "right_thigh": 190}
    sides = [len(utd_mhad.CROSS_SUBJECT.select(trials, side)) for side in ("train", "test")]
    assert sides == [431, 430]
    sides = [len(utd_mhad.CROSS_TRIAL.select(trials, side)) for side in ("train", "test")]
    assert sides == [432, 429]
    assert all(0.5 < np.median(np.linalg.norm(trial.acc_g, axis=1)) < 2.5 for trial in trials)
