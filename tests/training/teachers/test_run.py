"""``vskd-train teacher``: it learns, keeps what it says, and ends the same after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.training import utd_toys
from training import cli, teaching
from training.distill import Distillation
from training.methods import METHODS
from training.student import Student
from training.teachers import experiment as teachers
from vskd_stream.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
SKELETON = {"kind": "skeleton-tcn", "frames": 16, "width": 8, "dropout": 0.1}
SKELETON_VIEW = {"turn_deg": 5.0, "scale": 0.05, "warp": 0.1, "crop": 0.05, "noise_m": 0.002}
DEPTH = {"kind": "depth-trn", "segments": 2, "size": 64, "dropout": 0.1, "pose_weight": 1.0}
DEPTH_VIEW = {"turn_deg": 5.0, "tilt_deg": 1.0, "scale": 0.05, "shift_m": 0.02, "crop": 0.05}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return utd_toys.write(place, depth=True)


def config(place: Path, teacher: dict[str, object], *, name: str = "toy", **fit: object) -> Path:
    document = {
        "name": name,
        "seed": 3,
        "dataset": {"kind": "utd_mhad", "labels": list(utd_toys.LABELS)},
        "split": {"by": "subject", "train": ["1"], "test": ["2"]},
        "teacher": teacher,
    }
    if teacher["kind"] != "fusion":
        document["fit"] = {
            "epochs": 12,
            "windows_per_epoch": 32,
            "batch_size": 8,
            "peak_learning_rate": 0.02,
            "weight_decay": 0.01,
            "label_smoothing": 0.0,
            "threads": 1,
            "autocast": "off",
        } | fit
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def teach(path: Path, data: Path, place: Path, *more: str) -> int:
    places = ["--runs", str(place / "runs"), "--results", str(place / "results")]
    return cli.main(["teacher", "--config", str(path), "--data", str(data), *places, *more])


def test_a_skeleton_teacher_learns_and_leaves_what_it_says_of_every_trial(data: Path, tmp_path: Path) -> None:
    path = config(tmp_path, SKELETON | {"view": SKELETON_VIEW})
    assert teach(path, data, tmp_path, "--seeds", "2") == 0
    run = tmp_path / "runs" / "toy"
    with np.load(run / "outputs.npz") as outputs:
        assert outputs["keys"].tolist() == utd_toys.KEYS
        assert outputs["logits"].shape == (8, 2)
        assert outputs["features"].shape == (8, 300)
        assert outputs["view_logits"].shape == (4, 8, 2)
        assert set(outputs["view_keys"].tolist()) == {key for key in utd_toys.KEYS if "_s1_" in key}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["sides"]["train"]["accuracy"] == 1.0
    assert len(metrics["curves"]) == 12
    assert yaml.safe_load((run / "config.yaml").read_text())["teacher"]["width"] == 8
    table = json.loads((tmp_path / "results" / "toy.json").read_text())
    assert [one["name"] for one in table["runs"]] == ["toy", "toy-seed4"]
    assert table["test_accuracy"]["seeds"] == 2
    assert table["test_accuracy"]["mean"] == 1.0


def test_depth_and_skeleton_are_fused(data: Path, tmp_path: Path) -> None:
    assert teach(config(tmp_path, SKELETON | {"view": SKELETON_VIEW}, name="bones"), data, tmp_path) == 0
    depth = config(tmp_path, DEPTH | {"view": DEPTH_VIEW}, name="eyes", epochs=1, windows_per_epoch=8)
    assert teach(depth, data, tmp_path) == 0
    with np.load(tmp_path / "runs" / "eyes" / "outputs.npz") as outputs:
        assert outputs["maps"].shape == (8, 1, 2, 2)
    both = config(tmp_path, {"kind": "fusion", "runs": {"bones": 1.0, "eyes": 1.0}}, name="both")
    assert teach(both, data, tmp_path) == 0
    with np.load(tmp_path / "runs" / "both" / "outputs.npz") as outputs:
        np.testing.assert_array_less(np.exp(outputs["logits"]).sum(1), 1.0 + 1e-5)
        assert outputs["features"].shape == (8, 300)


def test_attention_is_transferred_from_the_maps_that_a_depth_teacher_leaves(
    data: Path, tmp_path: Path
) -> None:
    depth = config(tmp_path, DEPTH | {"view": DEPTH_VIEW}, name="eyes", epochs=1, windows_per_epoch=8)
    assert teach(depth, data, tmp_path) == 0
    lessons = teaching.load(tmp_path / "runs" / "eyes" / "outputs.npz", utd_toys.KEYS, classes=2)
    torch.manual_seed(1)
    student = Student(channels=3, classes=2, width=4)
    task = Distillation(student, lessons, method=METHODS["at"], label_smoothing=0.0)
    which = torch.arange(len(utd_toys.KEYS))
    windows = torch.randn(len(which), 3, 64)
    result = task(torch.randn(len(which), 3, 64, 64), torch.zeros_like(which), which, windows)
    result["loss"].backward()
    assert result["attention"] > 0.0


def test_a_fusion_of_runs_that_are_not_there_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = config(tmp_path, {"kind": "fusion", "runs": {"bones": 1.0, "eyes": 1.0}})
    assert teach(both, data, tmp_path) == 1
    assert "train it first: vskd-train teacher" in capsys.readouterr().err


def test_a_run_that_is_killed_in_an_epoch_ends_as_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    # Long enough that the kill meets it at work; what it finds then decides nothing.
    path = config(tmp_path, SKELETON | {"view": SKELETON_VIEW}, epochs=20, windows_per_epoch=64)
    assert teach(path, data, tmp_path / "whole") == 0
    arguments = ["teacher", "--config", path, "--data", data, "--runs", tmp_path / "killed" / "runs"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "training.cli", *map(str, arguments)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CONFIGS.parents[1])},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "killed" / "runs" / "toy" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    assert checkpoint.exists()
    assert teach(path, data, tmp_path / "killed") == 0
    with (
        np.load(tmp_path / "whole" / "runs" / "toy" / "outputs.npz") as whole,
        np.load(tmp_path / "killed" / "runs" / "toy" / "outputs.npz") as resumed,
    ):
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], resumed[name])


def test_a_checkpoint_of_another_configuration_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert teach(config(tmp_path, SKELETON | {"view": SKELETON_VIEW}, epochs=1), data, tmp_path) == 0
    assert teach(config(tmp_path, SKELETON | {"view": SKELETON_VIEW}, epochs=2), data, tmp_path) == 1
    assert "belongs to another configuration" in capsys.readouterr().err


def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.depth-trn\.size: .*multiple of 32"):
        teachers.load(config(tmp_path, DEPTH | {"size": 100, "view": DEPTH_VIEW}))
    with pytest.raises(ConfigError, match="cannot be read"):
        teachers.load(tmp_path / "none.yaml")
