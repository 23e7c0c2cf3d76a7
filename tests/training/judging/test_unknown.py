"""Strangers score lower than what is known, by scores that are what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.judging.unknown import auroc, of_features, of_logits

RNG = np.random.default_rng(0)


def test_auroc_is_that_of_the_referee_ties_included() -> None:
    known, strange = RNG.integers(0, 9, 200).astype(float), RNG.integers(0, 6, 100).astype(float)
    truth = np.r_[np.ones(200), np.zeros(100)]
    assert auroc(known, strange) == pytest.approx(roc_auc_score(truth, np.r_[known, strange]))
    assert auroc(np.ones(3), np.zeros(2)) == 1.0


def test_every_score_of_logits_prefers_a_clear_answer() -> None:
    for score in of_logits(1.5).values():
        clear, vague = score(np.array([[9.0, 0.0, 0.0], [1.0, 0.9, 0.9]]))
        assert clear > vague


def test_every_score_of_features_prefers_what_lies_among_the_learned() -> None:
    labels = np.repeat([0, 1, 4], 50)
    centres = np.array([[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]])
    learned = centres[np.repeat([0, 1, 2], 50)] + 0.1 * RNG.standard_normal((150, 4))
    for score in of_features(learned, labels).values():
        home, away = score(np.array([[5.0, 0, 0, 0], [0, 0, 0, 5.0]]))
        assert home > away
