"""Splits by subject: nobody stands on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.datasets import DatasetError, Recording

Side = Literal["train", "validation", "test"]


class SubjectSplit(BaseModel):
    """Who is learned from, who chooses temperature and thresholds, and who only judges."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = Field(min_length=1)
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
