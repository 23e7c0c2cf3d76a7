"""Splits: what is held apart stands on one side only, and every side has every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from training.datasets import DatasetError, Recording, Trial
from training.documents import Frozen

Side = Literal["train", "validation", "test"]


class SubjectSplit(Frozen):
    """Who is learned from, who chooses temperature and thresholds, and who only judges."""

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = ()
    """None where nothing is chosen: no temperature, no threshold, and so no bundle."""
    test: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _nobody_twice(self) -> Self:
        everyone = (*self.train, *self.validation, *self.test)
        twice = sorted({subject for subject in everyone if everyone.count(subject) > 1})
        if twice:
            raise ValueError(f"subjects {twice} are listed twice: a subject belongs to one side only")
        return self

    def select(self, recordings: Sequence[Recording], side: Side) -> list[Recording]:
        """The recordings of one side, in their order; ``DatasetError`` if a subject has none."""
        subjects = frozenset(getattr(self, side))
        selected = [recording for recording in recordings if recording.subject in subjects]
        if absent := sorted(subjects - {recording.subject for recording in selected}):
            raise DatasetError("split", f"{side} subjects {absent} have no recording")
        return selected


class TrialSplit(Frozen):
    """Which trials are learned from, which choose, and which only judge, by one of their properties."""

    by: Literal["subject", "repetition", "session", "scene", "view"]
    train: tuple[str, ...] = Field(min_length=1)
    """The training side, ``validation`` included."""
    validation: tuple[str, ...] = ()
    """A part of the training side that is not learned from; none when the last epoch is taken unseen."""
    test: tuple[str, ...] = Field(min_length=1)
    lacking: tuple[str, ...] = ()
    """Labels that the test side is known to lack."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name in ("train", "validation", "test"):
            values = getattr(self, name)
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"{self.by} {twice} is listed twice in {name}")
        if both := sorted(set(self.train) & set(self.test)):
            raise ValueError(f"{self.by} {both} is in train and test: it belongs to one side only")
        if strange := sorted(set(self.validation) - set(self.train)):
            raise ValueError(f"validation is taken from the training side, which lacks {self.by} {strange}")
        if set(self.validation) >= set(self.train):
            raise ValueError("validation leaves nothing to learn from")
        return self

    def select(self, trials: Sequence[Trial], side: Side) -> list[Trial]:
        """The trials of one side, in their order.

        Raises:
            DatasetError: A member of the side has no trial, or one of the labels of ``trials`` is missing
                from it (a validation side may lack labels).
        """
        members = frozenset(getattr(self, side))
        if side == "train":
            members -= frozenset(self.validation)
        selected = [trial for trial in trials if str(getattr(trial, self.by)) in members]
        if absent := sorted(members - {str(getattr(trial, self.by)) for trial in selected}):
            raise DatasetError("split", f"{side} {self.by} {absent} has no trial")
        excused = {"train": (), "validation": tuple(t.label for t in trials), "test": self.lacking}[side]
        expected = {trial.label for trial in trials}.difference(excused)
        if missing := sorted(expected - {trial.label for trial in selected}):
            raise DatasetError("split", f"no {side} trial, by {self.by}, is of class {missing}")
        return selected


def cross_subject(*, train: Sequence[str], test: Sequence[str], validation: Sequence[str] = ()) -> TrialSplit:
    """Nobody who judges was learned from."""
    return TrialSplit(by="subject", train=tuple(train), validation=tuple(validation), test=tuple(test))


def cross_trial(*, train: Sequence[int], test: Sequence[int], validation: Sequence[int] = ()) -> TrialSplit:
    """Everybody is on both sides, with other repetitions."""
    sides = {"train": train, "validation": validation, "test": test}
    return TrialSplit(by="repetition", **{side: tuple(map(str, some)) for side, some in sides.items()})
