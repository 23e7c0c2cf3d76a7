"""Who wore a watch that nobody learned from is found by the taxonomy, and judged at both levels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.manifests import manifest
from tests.training import toys
from tests.training.datasets.test_weda import HEAD, write
from training import cli, experiment
from training.judging.elsewhere import judged, ruled_out
from training.judging.evaluate import Predictions
from training.windows import Stretch
from vskd_stream import bundle

WRIST = toys.SMOKE.with_name("wrist.yaml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Somebody walks, claps, and ties shoes, for twelve seconds each."""
    t_s = np.arange(600) / 50
    rows = "".join(f"{t:.2f},-9.8,{3 * np.sin(11 * t):.1f},{3 * np.sin(5.5 * t):.1f}\n" for t in t_s)
    for movement in ("D01", "D10", "D06"):
        write(tmp_path, HEAD + rows, name=f"{movement}/U21_R01")
    return tmp_path


def options(data: Path, config: Path = WRIST) -> list[str]:
    places = ["--runs", str(data / "runs"), "--results", str(data / "results")]
    return ["evaluate", "--elsewhere", "--config", str(config), "--data", str(data), *places]


def test_the_command_judges_those_whose_activities_the_model_has(data: Path) -> None:
    (data / "weda-fall").rename(data / "weda-fall.tar.xz")
    run = data / "runs" / "wrist"
    run.mkdir(parents=True)
    shutil.copy(bundle.resolve("wrist"), run / "wrist-int8.onnx")
    assert cli.main(options(data)) == 0
    found = json.loads((data / "results" / "wrist-elsewhere.json").read_text())
    assert set(found["recall"]) == {"walking", "hands_at_work"}
    assert set(found["people"]) == {"weda/U21"}
    # Of 12 s on the model's own grid, there is room for one window of 10 s and a hop.
    assert found["windows"] == 2
    assert found["coarse_accuracy"] == pytest.approx(found["people"]["weda/U21"])
    assert found["coarse_accuracy"] == pytest.approx(np.mean(list(found["recall"].values())))
    told = found["told_never"]
    assert "rowing" in told["never"]
    assert told["windows"] == 2
    assert not set(told["taken_for"].values()) & {"cycling", "ball_game"}


def test_an_experiment_that_names_no_set_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(options(tmp_path, toys.SMOKE)) == 1
    assert "names no set under `elsewhere`" in capsys.readouterr().err


def test_nobody_judges_elsewhere_whom_the_model_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wrist.yaml"
    config.write_text(WRIST.read_text().replace("kind: weda", "kind: mex"))
    assert cli.main(options(tmp_path, config)) == 1
    assert "elsewhere: mex is one of the sets that are learned from" in capsys.readouterr().err


def test_what_people_never_do_must_be_an_activity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "wrist.yaml"
    config.write_text(WRIST.read_text().replace("never: [cycling,", "never: [flying,"))
    assert cli.main(options(tmp_path, config)) == 1
    assert "never names ['flying'], which are no labels here" in capsys.readouterr().err


def test_what_people_never_do_is_ruled_out_window_by_window() -> None:
    model = manifest(labels=("stroll", "march", "rest"))
    said = np.array([[0.5, 0.25, 0.25], [0.75, 0.125, 0.125]], np.float32)
    predictions = Predictions([Stretch("a", 0, np.zeros((2, 3, 4), np.float32))], [said])
    found = ruled_out(predictions, ["stroll"], model)
    assert found.stretches == predictions.stretches
    assert found.probabilities[0].tolist() == [[0.0, 0.5, 0.5], [0.0, 0.25, 0.25]]


def test_who_judges_changes_nothing_of_what_is_learned() -> None:
    with_it = experiment.load(WRIST)
    assert with_it.elsewhere
    assert with_it.model_copy(update={"elsewhere": None}).identity == with_it.identity


def test_kinds_are_sums_and_people_are_told_apart() -> None:
    labels = ("stroll", "march", "rest")
    model = manifest(labels=labels)
    kinds = {"coarse": {"stroll": "walking", "march": "walking"}}
    model = model.model_copy(update={"decision": model.decision.model_copy(update=kinds)})
    windows = np.zeros((2, 3, 4), np.float32)
    stretches = [Stretch("a", 0, windows), Stretch("b", 2, windows)]
    said = [[[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]], [[0.2, 0.2, 0.6], [0.0, 0.0, 1.0]]]
    predictions = Predictions(stretches, [np.array(each, np.float32) for each in said])
    found = judged(predictions, model, signal=toys.smoke_experiment().signal)
    assert found["windows"] == 4
    assert found["accuracy"] == 0.5
    assert found["coarse_accuracy"] == 0.75
    assert found["recall"] == {"walking": 0.5, "rest": 1.0}
    assert found["taken_for"] == {"walking": "rest", "rest": None}
    assert found["people"] == {"a": 0.5, "b": 1.0}
