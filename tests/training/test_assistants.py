"""Assistants are asked about the very motion that the student sees, and do not learn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.training import toys, utd_toys
from training import cli, trial_experiment
from training.assistants import Assistants
from training.distill import Distillation
from training.methods import METHODS
from training.student import Student
from training.window_tcn import WindowTCN

CLASSES = 5
RNG = np.random.default_rng(0)
IMAGES = torch.from_numpy(RNG.normal(size=(4, 3, 32, 32)).astype(np.float32))
WINDOWS = torch.from_numpy(RNG.normal(size=(4, 3, 32)).astype(np.float32))


def members() -> list[Student | WindowTCN]:
    torch.manual_seed(3)
    return [
        Student(channels=3, classes=CLASSES, width=4, features=8),
        WindowTCN(classes=CLASSES, width=4, dropout=0.5),
    ]


def test_they_say_the_mean_of_their_softened_answers() -> None:
    image, window = members()
    said = Assistants([image, window]).ask(IMAGES, WINDOWS, temperature=3.0)
    wanted = ((image(IMAGES) / 3.0).softmax(1) + (window(WINDOWS) / 3.0).softmax(1)) / 2.0
    assert torch.allclose((said / 3.0).softmax(1), wanted, atol=1e-6)


def test_what_is_said_is_finite_however_sure_they_are() -> None:
    (sure,) = members()[:1]
    with torch.no_grad():
        sure.head.weight.mul_(1e6)
    assert torch.isfinite(Assistants([sure]).ask(IMAGES, WINDOWS, temperature=1.0)).all()


def test_they_are_not_learned_nor_kept_nor_put_into_training_mode() -> None:
    told = members()
    student = Student(channels=3, classes=CLASSES, width=4, features=8)
    task = Distillation(
        student, None, assistants=Assistants(told), method=METHODS["assisted"], label_smoothing=0.1
    )
    task.train()
    assert not any(member.training for member in told)
    before = [value.clone() for member in told for value in member.state_dict().values()]
    result = task(IMAGES, torch.tensor([0, 1, 2, 3]), torch.arange(4), WINDOWS)
    result["loss"].backward()
    assert {name.split(".")[0] for name in task.state_dict()} == {"student"}
    after = [value for member in told for value in member.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(parameter.grad is None for member in told for parameter in member.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assisted")
    names = utd_toys.keys(actions=(1, 2, 3, 4), subjects=(1, 2, 3, 4), repetitions=(1, 2))
    utd_toys.write(folder / "data", names=names, samples=120)
    document = yaml.safe_load(toys.SMOKE.with_name("utd-mhad-smoke.yaml").read_text())
    for name in ("then", "teacher"):
        del document[name]
    del document["split"]["validation"]
    document |= {"method": "alone", "fit": document["fit"] | {"epochs": 2, "windows_per_epoch": 64}}
    document["assistants"] = ["alone@tcn-1", "alone@tcn-2"]
    document["variants"] = {
        "tcn": {"student": {"kind": "window-tcn", "width": 4, "features": None}},
        "minmax": {"image": {"scaling": "minmax", "range_g": None}, "assistants": ["alone-1"]},
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(document))
    return folder


def compare(place: Path, methods: str, seeds: int = 1) -> int:
    places = [f"--{name}={place / name}" for name in ("data", "runs", "results")]
    return cli.main(
        [
            "compare",
            "--config",
            str(place / "experiment.yaml"),
            *places,
            "--methods",
            methods,
            "--seeds",
            str(seeds),
        ]
    )


def test_a_student_is_taught_by_runs_that_have_ended(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(place, "assisted") == 1
    assert "alone@tcn-1" in capsys.readouterr().err
    assert compare(place, "alone@tcn", seeds=2) == 0
    assert compare(place, "assisted,assisted-mixed,alone") == 0
    assert compare(place, "assisted@minmax") == 1
    assert "has the image of whom it teaches" in capsys.readouterr().err


def test_what_is_not_asked_does_not_change_what_is_learned(place: Path) -> None:
    one = trial_experiment.load(place / "experiment.yaml")
    other = one.model_copy(update={"assistants": ()})
    assert one.identity == other.identity
    assert one.variation(method="assisted", seed=1).identity != one.identity
