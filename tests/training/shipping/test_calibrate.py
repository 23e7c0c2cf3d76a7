"""Temperature and thresholds hold what they promise on the windows they were chosen on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.shipping.calibrate import coarse_unknown_below, temperature, unknown_below

LABELS = ("a", "b", "c")


@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.standard_normal((20_000, 3))
    noisy = logits / true_temperature + rng.gumbel(size=logits.shape)
    assert temperature(logits, noisy.argmax(1)) == pytest.approx(true_temperature, rel=0.06)


def test_a_constant_added_to_a_windows_logits_changes_no_temperature() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.standard_normal((500, 3)), rng.integers(3, size=500)
    shifted = logits + rng.standard_normal((500, 1))
    assert temperature(shifted, truth) == pytest.approx(temperature(logits, truth), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), windows=st.integers(1, 300), share=st.floats(0.0, 0.5))
def test_no_more_than_the_share_of_known_windows_becomes_unknown(
    seed: int, windows: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet((0.5, 0.5, 0.5), windows).astype(np.float32)
    won, probabilities = rows.argmax(1), rows.max(1)
    thresholds = unknown_below(won, probabilities, LABELS, share=share)
    of_winner = np.array([thresholds[LABELS[label]] for label in won])
    assert (probabilities < of_winner).mean() <= share
    assert all(0.0 <= threshold <= 1.0 for threshold in thresholds.values())


def test_a_label_that_never_wins_takes_the_threshold_of_all() -> None:
    won, probabilities = np.array([0, 0, 1]), np.array([0.3, 0.9, 0.2], np.float32)
    thresholds = unknown_below(won, probabilities, LABELS, share=0.0)
    assert thresholds == {"a": 0.3, "b": pytest.approx(0.2, abs=1e-3), "c": 0.2}


def test_no_threshold_asks_for_more_than_the_most() -> None:
    won, probabilities = np.array([0, 0, 1, 1]), np.array([0.98, 0.99, 0.3, 0.9], np.float32)
    thresholds = unknown_below(won, probabilities, LABELS, share=0.0)
    assert thresholds == {"a": 0.33, "b": pytest.approx(0.3, abs=1e-3), "c": pytest.approx(0.3, abs=1e-3)}


def test_a_coarse_threshold_lets_through_no_more_errors_than_allowed() -> None:
    means = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.3, 0.7]])
    truth = np.array([0, 0, 1, 0, 0])
    assert coarse_unknown_below(means, truth, ("a", "b"), errors=0.0) == {"a": 0.8}
    assert coarse_unknown_below(means, truth, ("a", "b"), errors=0.25) == {"a": 0.6}
