"""A bundle teaches: asked about the very windows that its student sees, and only if it may teach this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from tests.models import tiny_bundle
from tests.training import toys
from training import cli, distillate, recording_commands
from training import experiment as experiments
from training.datasets import wisdm
from training.distillate import Distillate
from training.experiment import BundleChoice, Experiment
from training.fit import FitError
from training.losses import soft_target
from training.student import Student
from training.windows import RandomWindows
from vskd_stream.bundle import load
from vskd_stream.errors import BundleError
from vskd_stream.manifest import Dataset

CLASSES = len(wisdm.SOURCE.labels)


def teaching(folder: Path, *, subjects: tuple[str, ...] = ("1", "3"), **manifest: Any) -> Path:
    """A bundle that fits the smoke experiment, but for its images."""
    source = wisdm.SOURCE
    dataset = Dataset(
        name=source.name, licence=source.licence, attribution=source.attribution, subjects=subjects
    )
    fields: dict[str, Any] = {
        "labels": source.labels,
        "trained_on": (dataset,),
        "golden_tolerance": 1e-4,
    } | manifest
    return tiny_bundle(folder / "teacher.onnx", **fields)


def taught_by(bundle: Path, folder: Path, **changes: Any) -> Experiment:
    document = yaml.safe_load(toys.SMOKE.read_text())
    document["teacher"] = {"bundle": str(bundle), "sha256": load(bundle).sha256} | changes
    document["student"]["stem"] = "narrow"
    document["name"] = "pupil"
    path = folder / "pupil.yaml"
    path.write_text(yaml.safe_dump(document))
    return experiments.load(path)


def choice(experiment: Experiment) -> BundleChoice:
    assert isinstance(experiment.teacher, BundleChoice)
    return experiment.teacher


def test_the_teacher_is_asked_about_the_windows_of_which_the_student_sees_the_images(tmp_path: Path) -> None:
    toys.write(tmp_path)
    bundle = teaching(tmp_path)
    experiment = taught_by(bundle, tmp_path)
    assert load(bundle).manifest.image != experiment.image
    recordings = experiment.split.select(experiment.recordings(tmp_path), "train")
    supply = RandomWindows(
        recordings,
        signal=experiment.signal,
        image=experiment.image,
        augmentation=experiment.augmentation,
        seed=1,
    )

    task, batches = recording_commands.lessons(experiment, supply, run=tmp_path, runs=tmp_path)
    alone = [(images.copy(), labels) for images, labels in supply.epoch(4, batches=2, batch_size=32)]
    asked = distillate.teacher(experiment, choice(experiment))
    windows = [each.copy() for each, _, _ in supply.with_windows(4, batches=2, batch_size=32)]

    assert isinstance(task, Distillate)
    for given, (images, labels), seen in zip(batches(4), alone, windows, strict=False):
        wanted: tuple[NDArray[Any], ...] = (images, labels, asked.classify(seen))
        assert all(np.array_equal(np.asarray(one), other) for one, other in zip(given, wanted, strict=True))


def test_labels_and_answer_are_weighed_and_the_answer_softened() -> None:
    torch.manual_seed(0)
    student = Student(channels=3, classes=3, width=4, features=5)
    task = Distillate(student, label_smoothing=0.1, weight=0.75, temperature=2.0).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    told = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]])

    without, result = task(images, labels), task(images, labels, told)

    divergence = soft_target(result["logits"], told.clamp_min(1e-6).log(), 2.0)
    assert result["loss"].item() == pytest.approx((0.25 * without["loss"] + 0.75 * divergence).item())
    # What the teacher rules out is ruled out, not infinitely so.
    assert torch.isfinite(result["loss"])


def test_the_commands_make_a_bundle_whose_card_names_the_teacher(tmp_path: Path) -> None:
    toys.write(tmp_path)
    bundle = teaching(tmp_path)
    # It knows nothing of these labels: what it says is not listened to.
    taught_by(bundle, tmp_path, weight=0.0)
    common = ["--config", str(tmp_path / "pupil.yaml"), "--data", str(tmp_path)]
    common += ["--runs", str(tmp_path / "runs")]

    assert cli.main(["train", *common]) == 0
    assert cli.main(["export", *common]) == 0

    manifest = load(tmp_path / "runs" / "pupil" / "pupil-int8.onnx").manifest
    assert f"by the bundle {bundle}, SHA-256 {load(bundle).sha256[:12]}" in manifest.card
    assert "million multiply-adds" in manifest.card


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ({"labels": (*wisdm.SOURCE.labels[:-1], "other")}, "other labels"),
        ({"sampling_rate_hz": 25.0}, "another sampling rate"),
        ({"window_samples": 50}, "windows of another length"),
        ({"subjects": ("1", "4")}, r"learned from \['4'\]"),
    ],
)
def test_a_bundle_that_cannot_teach_this_student_is_refused(
    tmp_path: Path, manifest: dict[str, Any], complaint: str
) -> None:
    experiment = taught_by(teaching(tmp_path, **manifest), tmp_path)
    with pytest.raises(FitError, match=complaint):
        distillate.teacher(experiment, choice(experiment))


def test_people_of_a_data_set_that_the_student_does_not_have_are_strangers(tmp_path: Path) -> None:
    elsewhere = Dataset(name="Elsewhere", licence="CC0", attribution="Somebody.", subjects=("1",))
    experiment = taught_by(teaching(tmp_path, trained_on=(elsewhere,)), tmp_path)
    with pytest.raises(FitError, match=r"learned from \['Elsewhere/1'\]"):
        distillate.teacher(experiment, choice(experiment))


def test_another_teacher_than_the_one_that_is_pinned_is_refused(tmp_path: Path) -> None:
    experiment = taught_by(teaching(tmp_path), tmp_path, sha256="ab" * 32)
    with pytest.raises(BundleError, match="not the pinned"):
        distillate.teacher(experiment, choice(experiment))
