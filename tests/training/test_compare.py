"""Figures that a comparison rests on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from training.compare import Entry, paired


def test_an_entry_is_a_method_perhaps_in_a_variant() -> None:
    assert Entry.parse("kd") == Entry("kd")
    assert Entry.parse("kd+queue@narrow") == Entry("kd+queue", "narrow")
    assert str(Entry.parse("kd@narrow")) == "kd@narrow"


@pytest.mark.parametrize("seed", range(5))
def test_the_paired_test_is_the_exact_sign_test_over_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = [rng.random(80) < 0.8 for _ in range(3)]
    theirs = [rng.random(80) < 0.6 for _ in range(3)]
    found = paired(ours, theirs)
    difference = np.sum(ours, axis=0) - np.sum(theirs, axis=0)
    won, lost = int((difference > 0).sum()), int((difference < 0).sum())
    assert (found["won"], found["lost"]) == (won, lost)
    assert found["p"] == pytest.approx(binomtest(won, won + lost).pvalue)
    assert found["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_methods_that_answer_alike_do_not_differ() -> None:
    same = [np.array([True, False, True])]
    assert paired(same, same) == {"difference": 0.0, "won": 0, "lost": 0, "p": 1.0}
