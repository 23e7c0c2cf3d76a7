"""Splits of trials: what is held apart stays apart, and no class is missing unawares."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from training.datasets import DatasetError, Trial
from training.datasets.splits import TrialSplit, cross_subject, cross_trial


def trial(subject: str, *, label: str = "wave", repetition: int = 1, scene: str = "") -> Trial:
    key = f"{label}_s{subject}_t{repetition}"
    return Trial(key, label, subject, repetition, np.zeros((4, 3), np.float32), 50.0, scene=scene)


TRIALS = [
    trial(subject, label=label, repetition=repetition)
    for subject in "1234"
    for label in ("wave", "throw")
    for repetition in (1, 2)
]


def test_a_subject_on_both_sides_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"subject \['2'\] is in train and test"):
        cross_subject(train=("1", "2"), test=("2", "3"))


def test_a_subject_listed_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"\['1'\] is listed twice in train"):
        cross_subject(train=("1", "1"), test=("2",))


def test_validation_is_taken_from_the_training_side_only() -> None:
    with pytest.raises(ValidationError, match=r"taken from the training side, which lacks subject \['3'\]"):
        cross_subject(train=("1", "2"), validation=("3",), test=("4",))
    with pytest.raises(ValidationError, match="leaves nothing to learn from"):
        cross_subject(train=("1",), validation=("1",), test=("4",))
    split = cross_subject(train=("1", "2"), validation=("2",), test=("3", "4"))
    assert {one.subject for one in split.select(TRIALS, "train")} == {"1"}
    assert {one.subject for one in split.select(TRIALS, "validation")} == {"2"}
    assert {one.subject for one in split.select(TRIALS, "test")} == {"3", "4"}


def test_a_split_by_trial_puts_everybody_on_both_sides() -> None:
    split = cross_trial(train=(1,), test=(2,))
    for side in ("train", "test"):
        assert {one.subject for one in split.select(TRIALS, side)} == {"1", "2", "3", "4"}
    assert not {t.key for t in split.select(TRIALS, "train")} & {t.key for t in split.select(TRIALS, "test")}


def test_a_subject_without_trials_is_named() -> None:
    split = cross_subject(train=("1",), test=("2", "9"))
    with pytest.raises(DatasetError, match=r"test subject \['9'\] has no trial"):
        split.select(TRIALS, "test")


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_class_that_one_side_lacks_is_named(side: str) -> None:
    poor = "1" if side == "train" else "2"
    trials = [one for one in TRIALS if (one.subject, one.label) != (poor, "throw")]
    split = cross_subject(train=("1",), test=("2",))
    with pytest.raises(DatasetError, match=rf"no {side} trial, by subject, is of class \['throw'\]"):
        split.select(trials, side)  # type: ignore[arg-type]


def test_a_class_that_the_test_side_is_known_to_lack_is_excused() -> None:
    trials = [trial("1", scene="1"), trial("1", label="throw", scene="1"), trial("2", scene="2")]
    split = TrialSplit(by="scene", train=("1",), test=("2",), lacking=("throw",))
    assert [one.label for one in split.select(trials, "test")] == ["wave"]
