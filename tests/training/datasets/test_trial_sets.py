"""Data sets of trials, by kind: an experiment and a teacher ask for each in the same words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from training import trial_experiment
from training.datasets import Trial, mex
from training.datasets.trial_sets import AnyTrialSet, BerkeleyMhad, Mex, UtdMhad, is_asked_for
from training.teachers import experiment as teachers
from vskd_stream.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
OF_TRIALS = ["utd-mhad", "utd-mhad-smoke", "berkeley-mhad", "mex"]


def exercises(folder: Path) -> Path:
    """One recording of 13 s: the wrist from 0 s on, the camera 0.7 s later; both count seconds."""
    start = datetime(2018, 11, 8, 11, 34, 50, tzinfo=UTC)
    for name, file, first, rate_hz, columns in (
        ("acw", "04_acw_2.csv", 0.0, 100.0, 3),
        ("dc_0.05_0.05", "04_dc_2.csv", 0.7, 10.0, 192),
    ):
        lines = []
        for number in range(int((13.0 - first) * rate_hz)):
            at_s = first + number / rate_hz
            stamp = (start + timedelta(seconds=at_s)).strftime("%Y-%m-%d %H:%M:%S.%f")
            lines.append(",".join([stamp, *[f"{at_s / 13.0:.5f}"] * columns]))
        path = folder / "mex" / name / "07" / file
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
    return folder


def changed(tmp_path: Path, name: str, **sections: object) -> Path:
    document = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document | sections))
    return path


@pytest.mark.parametrize("name", OF_TRIALS)
def test_shipped_experiments_on_trials_are_told_from_those_on_recordings(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert trial_experiment.is_one(path)
    experiment = trial_experiment.load(path)
    assert experiment.labels == experiment.dataset.names
    assert not trial_experiment.is_one(CONFIGS / "wrist.yaml")
    assert not is_asked_for({"kind": "mex", "file": "mex"})


def test_labels_stand_in_the_data_sets_order_or_are_refused() -> None:
    assert UtdMhad(kind="utd_mhad", labels=("wave", "swipe_left")).names == ("swipe_left", "wave")
    assert len(UtdMhad(kind="utd_mhad", labels="wrist").names) == 21
    with pytest.raises(ValueError, match="'juggling'"):
        UtdMhad(kind="utd_mhad", labels=("wave", "juggling"))
    with pytest.raises(ValueError, match="placement"):
        TypeAdapter(AnyTrialSet).validate_python({"kind": "berkeley_mhad", "placement": "head"})


def test_a_placement_is_another_sensor_of_the_same_trials(tmp_path: Path) -> None:
    for shimmer, x in (("02", 0.5), ("05", -0.5)):
        path = tmp_path / "Accelerometer" / f"Shimmer{shimmer}" / f"acc_h{shimmer}_s01_a03_r01.txt"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{x} -1.0 0.25 {1e9 + i / 25:.6f}\n" for i in range(26)))
    (wrist,) = BerkeleyMhad(kind="berkeley_mhad").trials(tmp_path)
    (ankle,) = BerkeleyMhad(kind="berkeley_mhad", placement="left_ankle").trials(tmp_path)
    assert (wrist.key, wrist.placement, wrist.acc_g[0, 0]) == ("s01_a03_r01", "right_wrist", 0.5)
    assert (ankle.key, ankle.placement, ankle.acc_g[0, 0]) == ("s01_a03_r01", "left_ankle", -0.5)


def told_s(trial: Trial) -> tuple[float, float]:
    """When a window of ``exercises`` begins and ends, as its wrist says."""
    return float(trial.acc_g[0, 0]) * 13.0, float(trial.acc_g[-1, 0]) * 13.0


def test_teacher_and_student_see_a_window_of_the_same_seconds(tmp_path: Path) -> None:
    windows = Mex(kind="mex", window_s=5.0)
    student = windows.trials(exercises(tmp_path))
    teacher = windows.trials(tmp_path, ["overhead_depth"])
    assert [trial.key for trial in student] == [trial.key for trial in teacher]
    for mine, theirs in zip(student, teacher, strict=True):
        np.testing.assert_array_equal(mine.acc_g, theirs.acc_g)
        assert mine.frames is None
        assert theirs.frames is not None
        begin_s, end_s = told_s(mine)
        seen_s = theirs.frames[:, 0, 0] / 255.0 * 13.0
        assert seen_s[0] == pytest.approx(begin_s, abs=0.15)
        assert seen_s[-1] == pytest.approx(end_s, abs=0.15)
    assert [told_s(trial)[0] for trial in student] == pytest.approx([0.7, 5.7], abs=0.02)


def test_windows_overlap_where_they_are_asked_to(tmp_path: Path) -> None:
    found = Mex(kind="mex", window_s=5.0, hop_s=2.5).trials(exercises(tmp_path))
    assert [told_s(trial)[0] for trial in found] == pytest.approx([0.7, 3.2, 5.7], abs=0.02)
    assert [trial.key[-3:] for trial in found] == ["w00", "w01", "w02"]
    assert mex.trials(tmp_path, window_s=14.0) == []


def test_what_a_data_set_does_not_show_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from skeletons, which berkeley_mhad has not"):
        trial_experiment.load(changed(tmp_path, "berkeley-mhad", virtual={"blends": 1}))
    with pytest.raises(ConfigError, match=r"tcn needs \['overhead_depth'\], which utd_mhad does not"):
        teachers.load(changed(tmp_path, "mex-teacher-depth", dataset={"kind": "utd_mhad"}))
    with pytest.raises(ConfigError, match=r"trn needs \['depth', 'skeleton'\], which mex does not show"):
        teachers.load(changed(tmp_path, "utd-mhad-teacher-depth", dataset={"kind": "mex"}))


def test_mex_and_its_teacher_have_the_same_windows_and_sides() -> None:
    student = trial_experiment.load(CONFIGS / "mex.yaml")
    teacher = teachers.load(CONFIGS / "mex-teacher-depth.yaml")
    assert (student.dataset, student.split) == (teacher.dataset, teacher.split)
    assert student.teacher is not None
    assert student.teacher.run == teacher.name
