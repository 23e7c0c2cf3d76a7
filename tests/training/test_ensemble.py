"""Networks teach a student: those of the same file are taught first, and are asked what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.training import toys
from training import cli, ensemble, recording_commands
from training import experiment as experiments
from training.ensemble import Taught
from training.experiment import Experiment
from training.losses import soft_target
from training.networks import Network
from training.student import Student
from training.window_tcn import WindowTCN
from training.windows import RandomWindows
from vskd_stream.errors import ConfigError

TCN = {"student": {"kind": "window-tcn", "width": 4, "dropout": 0.1, "features": None}}
MEMBERS = {"tcn": TCN, "twin": {"seed": 7}}


def file_of(folder: Path, **changes: Any) -> Path:
    document = yaml.safe_load(toys.SMOKE.read_text()) | {"name": "pupil"} | changes
    path = folder / "pupil.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def taught(folder: Path, **members: Any) -> Experiment:
    return experiments.load(file_of(folder, teacher={"members": members or MEMBERS, "weight": 0.5}))


def test_members_are_the_experiment_but_for_what_they_name(tmp_path: Path) -> None:
    experiment = taught(tmp_path)
    tcn, twin = experiment.members.values()
    assert (tcn.name, twin.name) == ("pupil.tcn", "pupil.twin")
    assert twin.model_copy(update={"name": "pupil", "seed": 1, "teacher": experiment.teacher}) == experiment
    assert isinstance(tcn.student.network(channels=6, classes=3), WindowTCN)
    assert tcn.members == {}
    assert experiment.taught_by == "taught by labels and by the mean answer of 2 others (no camera teacher)"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"teacher": {}}, "nobody teaches: name runs or members"),
        ({"teacher": {"members": {"far": {"signal": {"window_samples": 60}}}}}, "far has another signal"),
        ({"teacher": {"members": {"odd": {"split": {"train": ["1"]}}}}}, "odd has another split"),
        ({"teacher": {"members": {"odd": {"colour": 1}}}}, "colour"),
        ({"teacher": {"members": {"Odd": {}}}}, "String should match pattern"),
        (
            {"student": {"kind": "window-tcn"}, "teacher": {"members": {"twin": {}}}},
            "a window-tcn teaches and is not taught",
        ),
    ],
)
def test_who_cannot_teach_is_told_before_anybody_learns(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        experiments.load(file_of(tmp_path, **changes))


def test_one_command_teaches_the_members_and_then_their_student(tmp_path: Path) -> None:
    toys.write(tmp_path)
    config, runs = str(file_of(tmp_path, teacher={"members": MEMBERS, "weight": 0.5})), tmp_path / "runs"
    arguments = ["--config", config, "--data", str(tmp_path), "--runs", str(runs)]
    assert cli.main(["train", *arguments]) == 0
    experiment, run = experiments.load(Path(config)), runs / "pupil"
    tcn, twin = ensemble.teachers(experiment, run=run, runs=runs)
    assert isinstance(tcn, WindowTCN)
    assert isinstance(twin, Student)
    assert cli.main(["export", *arguments]) == 0
    assert sorted(path.name for path in run.glob("*.onnx")) == ["pupil-fp32.onnx", "pupil-int8.onnx"]


def test_a_network_on_the_window_does_not_ship(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.write(tmp_path)
    config = str(file_of(tmp_path, student={"kind": "window-tcn", "width": 4}))
    arguments = ["--config", config, "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert cli.main(["train", *arguments]) == 0
    assert cli.main(["export", *arguments]) == 1
    assert "a window-tcn reads no image" in capsys.readouterr().err


def test_the_members_are_asked_about_the_very_windows_of_the_images(tmp_path: Path) -> None:
    toys.write(tmp_path)
    experiment = taught(tmp_path, tcn=TCN)
    supply = RandomWindows(
        experiment.split.select(experiment.recordings(tmp_path), "train"),
        signal=experiment.signal,
        image=experiment.image,
        augmentation=experiment.augmentation,
        seed=1,
    )
    windows, images, labels = next(supply.with_windows(0, batches=1, batch_size=8))
    torch.manual_seed(0)
    student = Student(channels=6, classes=18, width=4).eval()
    teachers: list[Network] = [
        Student(channels=6, classes=18, width=4),
        WindowTCN(classes=18, width=4, dropout=0.5),
    ]
    task = Taught(student, teachers, label_smoothing=0.0, weight=0.25, temperature=2.0).eval()
    x, y, w = map(torch.from_numpy, (images, labels, windows))
    result = task(x, y, w)
    mean = torch.stack([(teachers[0](x) / 2.0).softmax(1), (teachers[1](w) / 2.0).softmax(1)]).mean(0)
    expected = 0.75 * task(x, y)["loss"] + 0.25 * soft_target(result["logits"], 2.0 * mean.log(), 2.0)
    np.testing.assert_allclose(result["loss"].item(), expected.item(), rtol=1e-5)
    assert {id(p) for p in task.parameters()} == {id(p) for p in student.parameters()}
    assert recording_commands.make_task(experiment).student.training
