"""The whole chain on made-up data: train, export, evaluate, and load as the daemon would."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import toys
from training import cli, recording_commands
from training.datasets import wisdm
from training.judging.evaluate import Predictions
from training.shipping.calibrate import softmax
from training.shipping.export import ExportError, export, golden_windows, material
from training.shipping.graph import float32_graph
from training.windows import Stretch, cut
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier

NAME = "wrist-wisdm-smoke"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the three commands have run."""
    folder = tmp_path_factory.mktemp("chain")
    toys.write(folder)
    common = ["--config", str(toys.SMOKE), "--data", str(folder), "--runs", str(folder / "runs")]
    assert cli.main(["train", *common]) == 0
    assert cli.main(["export", *common]) == 0
    assert cli.main(["evaluate", *common, "--results", str(folder / "results")]) == 0
    return folder


def test_both_bundles_load_and_tell_the_activities_apart(place: Path) -> None:
    experiment = toys.smoke_experiment()
    recordings = wisdm.load(place / toys.FILE)
    for precision in ("fp32", "int8"):
        bundle = load(place / "runs" / NAME / f"{NAME}-{precision}.onnx")
        classifier = Classifier(bundle)
        right = [
            classifier.classify(stretch.windows).argmax(1) == stretch.label
            for stretch in cut(experiment.split.select(recordings, "test"), experiment.signal)
        ]
        assert np.concatenate(right).mean() > 0.8
        assert bundle.manifest.precision == precision


def test_the_manifest_carries_the_experiment(place: Path) -> None:
    experiment = toys.smoke_experiment()
    manifest = load(place / "runs" / NAME / f"{NAME}-int8.onnx").manifest
    assert manifest.labels == wisdm.SOURCE.labels
    assert manifest.image == experiment.image
    assert manifest.window_samples == experiment.signal.window_samples
    assert manifest.hop_samples == experiment.signal.hop_samples
    assert manifest.sampling_rate_hz == experiment.signal.sampling_rate_hz
    assert manifest.max_gap_s == experiment.signal.max_gap_s
    thresholds = manifest.decision.coarse_unknown_below
    assert thresholds
    assert manifest.decision == experiment.decision(manifest.decision.unknown_below).model_copy(
        update={"coarse_unknown_below": thresholds}
    )
    assert set(manifest.decision.unknown_below) == set(manifest.labels)
    (dataset,) = manifest.trained_on
    assert dataset.subjects == experiment.split.train
    assert dataset.licence == "CC BY 4.0"
    assert "| walking |" in manifest.card
    assert "Where it fails" in manifest.card


def test_the_figures_are_written_for_both_precisions(place: Path) -> None:
    document = json.loads((place / "results" / f"{NAME}.json").read_text())
    for precision in ("fp32", "int8"):
        judged = document["bundles"][precision]
        bundle = load(place / "runs" / NAME / f"{NAME}-{precision}.onnx")
        assert judged["bundle_sha256"] == bundle.sha256
        test = judged["test"]
        assert set(test["subjects"]) == {"5"}
        assert test["windows"]["accuracy"] == pytest.approx(test["subjects"]["5"])
        assert f"| {test['windows']['accuracy']:.3f} |" in bundle.manifest.card
    assert document["seed"] == 1
    assert document["versions"]["torch"].startswith("2.13")


def test_training_again_changes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--config", str(toys.SMOKE), "--data", str(place), "--runs", str(place / "runs")]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "resumed after epoch 3 of 3\n"


@pytest.mark.parametrize("command", ["train", "export", "evaluate"])
def test_a_command_that_lacks_what_it_needs_says_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(toys.SMOKE), "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert cli.main([command, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


def test_int8_that_loses_too_much_is_refused_and_leaves_no_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toys.smoke_experiment()
    student = recording_commands.finished(experiment, run=place / "runs" / NAME)
    damaged = copy.deepcopy(student)
    with torch.no_grad():
        damaged.head.bias[1] = -1000.0
    # The temperature would soften such a model until no golden window is clear, which is another refusal.
    monkeypatch.setattr("training.shipping.export.temperature", lambda *_: 1.0)
    monkeypatch.setattr(
        "training.shipping.export.int8_graph",
        lambda *_, **__: float32_graph(damaged, experiment.image, tap=True),
    )
    found = material(experiment, wisdm.load(place / toys.FILE))
    with pytest.raises(ExportError, match=r"int8 loses .* points"):
        export(experiment, student, found, run=tmp_path, say=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}-fp32.onnx"]


def test_golden_windows_are_right_clear_and_telling() -> None:
    windows = np.random.default_rng(0).random((5, 3, 8), np.float32)
    rows = [
        [0.99, 0.01, 0.0],  # right, but hides small errors
        [0.70, 0.20, 0.1],  # right and telling
        [0.51, 0.49, 0.0],  # right, but nearly tied
        [0.30, 0.60, 0.1],  # wrong
        [0.95, 0.03, 0.02],
    ]
    stretches = [Stretch("1", 0, windows), Stretch("1", 2, windows + 1.0)]
    second = np.roll(np.array(rows, np.float32), 2, axis=1)
    predictions = Predictions(stretches, [np.array(rows, np.float32), second])
    chosen = golden_windows(predictions, 2)
    assert np.array_equal(chosen, np.stack([windows[1], windows[1] + 1.0]))
    with pytest.raises(ExportError, match="only 2 labels are told clearly"):
        golden_windows(predictions, 3)


def test_softmax_survives_large_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 999.0], [-1000.0, 0.0]], np.float32))
    assert probabilities == pytest.approx(np.array([[0.731059, 0.268941], [0.0, 1.0]]), abs=1e-6)
