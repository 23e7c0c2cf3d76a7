"""The whole chain by one command, from teacher to replay; and what a kill leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.training import toys, utd_toys
from training import cli, trial_experiment, trial_run
from training.datasets import utd_mhad
from training.trials import as_windows
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier

SMOKE = toys.SMOKE.with_name("utd-mhad-smoke.yaml")
NAME = "utd-mhad-smoke"

pytestmark = pytest.mark.timeout(600)  # ends a test that hangs; learning takes what a busy machine leaves


def arguments(command: str, place: Path, *more: str, config: Path = SMOKE) -> list[str]:
    results = ["--results", str(place / "results")] if command != "export" else []
    places = ["--data", str(place / "data"), "--runs", str(place / "runs")]
    return [command, "--config", str(config), *places, *results, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = utd_toys.keys(actions=(1, 2, 3, 4), subjects=(1, 2, 3, 4), repetitions=(1, 2, 3))
    return utd_toys.write(tmp_path_factory.mktemp("utd") / "data", names=names, samples=120)


@pytest.fixture(scope="module")
def chain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the smoke experiment has run, and what it printed."""
    place = tmp_path_factory.mktemp("chain")
    (place / "data").symlink_to(data)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(arguments("distill", place)) == 0
    return place, printed.getvalue()


def test_one_command_goes_from_teacher_to_replay(chain: tuple[Path, str]) -> None:
    place, printed = chain
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    told = {event["label"] for event in events if event["event_type"] == "start"}
    assert told & set(utd_mhad.SOURCE.labels[:4])
    run = place / "runs" / NAME
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.8
    assert len(metrics["curves"]) == 12
    assert {"loss", "accuracy", "cross_entropy", "soft_target", "distance"} <= set(metrics["curves"][0])
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 1
    bundles = json.loads((place / "results" / f"{NAME}-bundles.json").read_text())["bundles"]
    assert set(bundles) == {"fp32", "int8"}


def test_the_bundle_says_of_a_trial_what_the_student_said(chain: tuple[Path, str]) -> None:
    place, _ = chain
    experiment = trial_experiment.load(SMOKE)
    trials = experiment.trials(place / "data")
    task = trial_run.finished(experiment, trials, run=place / "runs" / NAME, runs=place / "runs")
    windows = as_windows(trials, experiment.signal.window_samples)
    bundle = load(place / "runs" / NAME / f"{NAME}-fp32.onnx")
    served = Classifier(bundle).classify(windows[:16]).argmax(1)
    learned = trial_run.probabilities(task.student, windows[:16], experiment).argmax(1)
    assert served.tolist() == learned.tolist()
    assert "by the teacher utd-mhad-smoke-teacher" in bundle.manifest.card
    assert bundle.manifest.trained_on[0].subjects == ("1",)


def shortened(place: Path, **fit: object) -> Path:
    document = yaml.safe_load(SMOKE.read_text())
    del document["teacher"], document["then"]
    document |= {"method": "alone", "fit": document["fit"] | fit}
    path = place / "short.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_run_killed_within_an_epoch_ends_as_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    ends = {}
    for name in ("whole", "killed"):
        place = tmp_path / name
        place.mkdir()
        (place / "data").symlink_to(data)
        config = shortened(place, epochs=3, windows_per_epoch=128)
        told = arguments("distill", place, config=config)
        if name == "killed":
            command = [sys.executable, "-m", "training.cli", *told]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("epoch 1/"):
                        os.kill(process.pid, signal.SIGKILL)
                        break
        assert cli.main(told) == 0
        ends[name] = torch.load(place / "runs" / NAME / "checkpoint.pt", weights_only=True)
    for key, value in ends["whole"]["task"].items():
        assert torch.equal(value, ends["killed"]["task"][key]), key
    assert ends["whole"]["curves"] == ends["killed"]["curves"]


def test_methods_are_compared_and_reported(
    chain: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, _ = chain
    (tmp_path / "data").symlink_to(place / "data")
    (tmp_path / "runs").mkdir()
    teacher = "utd-mhad-smoke-teacher"
    (tmp_path / "runs" / teacher).symlink_to(place / "runs" / teacher)
    document = yaml.safe_load(SMOKE.read_text())
    del document["split"]["validation"]
    document["fit"] |= {"epochs": 2, "windows_per_epoch": 64}
    document["variants"] = {"minmax": {"image": {"scaling": "minmax", "range_g": None}}}
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(document))
    methods = ["--methods", "alone,kd,alone@minmax", "--seeds", "2"]
    assert cli.main(arguments("compare", tmp_path, *methods, config=config)) == 0
    assert capsys.readouterr().out.count("accuracy") == 6
    assert cli.main(arguments("compare", tmp_path, *methods, config=config)) == 0
    assert "accuracy" not in capsys.readouterr().out
    table = json.loads((tmp_path / "results" / f"{NAME}.json").read_text())
    assert set(table["methods"]) == {"alone", "kd", "alone@minmax"}
    assert table["methods"]["kd"]["against_alone"]["seeds"] == [1, 2]
    assert "against_alone" not in table["methods"]["alone@minmax"]
    assert "--seeds 2" in table["command"]
    (taught_by,) = table["methods"]["kd"]["teachers"]
    answers = (tmp_path / "runs" / teacher / "outputs.npz").read_bytes()
    judged = json.loads((tmp_path / "runs" / teacher / "metrics.json").read_text())["sides"]["test"]
    assert taught_by == {
        "run": teacher,
        "outputs_sha256": hashlib.sha256(answers).hexdigest(),
        "accuracy": pytest.approx(judged["accuracy"]),
    }
    assert "teachers" not in table["methods"]["alone"]
    page = tmp_path / "report.html"
    assert cli.main(arguments("report", tmp_path, "--out", str(page), config=config)) == 0
    html = page.read_text()
    assert "<td>alone@minmax</td>" in html
    assert f"<td>{teacher}, {100 * taught_by['accuracy']:.1f}</td>" in html
    assert html.count("<svg") == 5
    assert "data:image/png;base64," in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in html


@pytest.mark.parametrize(
    ("command", "sentence"),
    [("export", "run vskd-train train first"), ("report", "run vskd-train compare first")],
)
def test_what_was_not_run_yet_is_told(
    command: str, sentence: str, chain: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(chain[0] / "data")
    (tmp_path / "runs").mkdir()
    teacher = "utd-mhad-smoke-teacher"
    (tmp_path / "runs" / teacher).symlink_to(chain[0] / "runs" / teacher)
    assert cli.main(arguments(command, tmp_path)) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_student_without_its_teacher_is_told_how_to_get_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(data)
    assert cli.main(arguments("compare", tmp_path, "--methods", "kd", "--seeds", "1")) == 1
    assert "train it: vskd-train teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("unknown",),
        ("evaluate", "--stream"),
        ("evaluate", "--robustness"),
        ("evaluate", "--elsewhere"),
    ],
)
def test_whole_trials_are_not_judged_as_streams(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(command[0], tmp_path, *command[1:])) == 1
    assert "whole trials hold no streams" in capsys.readouterr().err
