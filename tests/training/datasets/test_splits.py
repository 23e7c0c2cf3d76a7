"""Splits: nobody stands on two sides, and nobody is missing."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from training.datasets import DatasetError, Recording
from training.datasets.splits import SubjectSplit


def recording(subject: str) -> Recording:
    return Recording(subject, 0, np.arange(4.0), np.zeros((4, 3), np.float32), 20.0)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        (("1", "2"), ("2",), ("3",)),
        (("1",), ("2",), ("1",)),
        (("1",), ("2",), ("2",)),
        (("1", "1"), ("2",), ("3",)),
    ],
)
def test_a_subject_on_two_sides_is_refused(
    train: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError, match="a subject belongs to one side only"):
        SubjectSplit(train=train, validation=validation, test=test)


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(ValidationError):
        SubjectSplit(train=(), validation=("1",), test=("2",))


def test_a_side_holds_its_subjects_only() -> None:
    split = SubjectSplit(train=("1", "3"), validation=("2",), test=("4",))
    recordings = [recording(subject) for subject in ("4", "3", "2", "1", "1", "9")]
    assert [r.subject for r in split.select(recordings, "train")] == ["3", "1", "1"]
    assert [r.subject for r in split.select(recordings, "test")] == ["4"]


def test_a_subject_without_recordings_is_told() -> None:
    split = SubjectSplit(train=("1",), validation=("2",), test=("3", "4"))
    with pytest.raises(DatasetError, match=r"test subjects \['4'\] have no recording"):
        split.select([recording("1"), recording("2"), recording("3")], "test")
