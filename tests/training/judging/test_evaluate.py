"""Figures against scikit-learn and small sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training import toys
from training.judging.evaluate import (
    Predictions,
    expected_calibration_error,
    measure,
    measure_votes,
    predict,
    subject_accuracies,
    table,
    vote,
)
from training.windows import Stretch
from vskd_stream.manifest import Decision

LABELS = ("a", "b", "c", "d")


def made(windows: int = 400) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=windows)
    probabilities = rng.dirichlet((1.0, 1.0, 1.0, 1.0), windows).astype(np.float32)
    probabilities[np.arange(windows), truth] += 0.2
    return probabilities / probabilities.sum(1, keepdims=True), truth


def test_figures_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, truth = made()
    given = probabilities.argmax(1)
    figures = measure(probabilities, truth, LABELS)
    assert figures.accuracy == pytest.approx(metrics.accuracy_score(truth, given))
    assert figures.macro_f1 == pytest.approx(
        metrics.f1_score(truth, given, labels=[0, 1, 2], average="macro")
    )
    assert figures.confusion == metrics.confusion_matrix(truth, given, labels=[0, 1, 2, 3]).tolist()
    assert figures.nll == pytest.approx(metrics.log_loss(truth, probabilities, labels=[0, 1, 2, 3]), rel=1e-5)
    recalls = metrics.recall_score(truth, given, labels=[0, 1, 2], average=None)
    assert [figures.labels[label].recall for label in "abc"] == pytest.approx(recalls)
    assert figures.labels["d"].windows == 0


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5], np.float32)
    right = np.array([True, True, True, False, True, False])
    # Four windows at 0.9 are right in three quarters, two at 0.5 in a half.
    assert expected_calibration_error(confidence, right) == pytest.approx(4 / 6 * 0.15, abs=1e-6)
    assert expected_calibration_error(np.ones(3, np.float32), np.array([True] * 3)) == 0.0


SIGNAL = toys.smoke_experiment().signal


def decision(**changes: object) -> Decision:
    fields: dict[str, object] = {
        "smoothing_windows": 3,
        "switch_after_s": 0.0,
        "update_every_s": 10.0,
        "unknown_below": {"a": 0.6, "b": 0.6},
    }
    return Decision.model_validate(fields | changes)


def test_votes_are_those_of_the_daemon_and_begin_anew_in_each_stretch() -> None:
    windows = np.zeros((3, 3, 8), np.float32)
    stretches = [Stretch("1", 0, windows), Stretch("1", 1, windows[:1])]
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]], np.float32)
    votes = vote(Predictions(stretches, [rows, rows[1:2]]), decision(), ("a", "b"), signal=SIGNAL)
    assert votes.labels.tolist() == [0, 0, 1, 1]
    assert votes.probabilities == pytest.approx([1.0, 0.5, 1.75 / 3, 1.0])
    assert votes.sure.tolist() == [True, False, False, True]
    figures = measure_votes(votes, np.array([0, 0, 0, 1]), ("a", "b"))
    assert (figures.accuracy, figures.nll) == (0.75, None)


def test_a_path_without_its_margin_is_not_sure_but_has_a_best_label() -> None:
    stretches = [Stretch("1", 0, np.zeros((1, 3, 8), np.float32))]
    rows = np.array([[0.7, 0.3]], np.float32)
    path = decision(smoothing="path", margin=1.0)
    votes = vote(Predictions(stretches, [rows]), path, ("a", "b"), signal=SIGNAL)
    assert (votes.labels.tolist(), votes.sure.tolist()) == ([0], [False])


def test_every_window_is_classified_once() -> None:
    rng = np.random.default_rng(0)
    stretches = [
        Stretch("1", 0, rng.random((70, 3, 8), np.float32)),
        Stretch("2", 1, rng.random((5, 3, 8), np.float32)),
    ]
    seen = []

    def classify(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(len(windows))
        return np.tile(np.array([0.7, 0.3], np.float32), (len(windows), 1))

    predictions = predict(classify, stretches)
    assert sum(seen) == 75
    assert max(seen) <= 32
    assert subject_accuracies(predictions) == {"1": 1.0, "2": 0.0}
    probabilities, truth = predictions.pooled()
    assert probabilities.shape == (75, 2)
    assert truth.tolist() == [0] * 70 + [1] * 5
    assert "| a | 0.933 | 1.000 |" in table(measure(probabilities, truth, ("a", "b")))
