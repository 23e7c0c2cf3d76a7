"""One teacher: everything that decides what it becomes, in one frozen file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from training.datasets import Source, Trial
from training.datasets.splits import TrialSplit
from training.datasets.trial_sets import AnyTrialSet
from training.documents import Frozen, read, validated
from training.experiment import Fit
from training.teachers.kinds import Choice, FusionChoice


class TeacherExperiment(Frozen):
    """Version 1 of configs/train/*-teacher-*.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: int = Field(ge=0, lt=2**32)
    dataset: AnyTrialSet
    split: TrialSplit
    teacher: Choice
    fit: Fit | None = None
    """Not for a fusion, which learns nothing."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.fit is None) != isinstance(self.teacher, FusionChoice):
            raise ValueError("fit is needed by every teacher but a fusion, which has none")
        if unseen := sorted(self.teacher.needs - self.dataset.shows):
            raise ValueError(f"a {self.teacher.kind} needs {unseen}, which {self.dataset.kind} does not show")
        return self

    @property
    def identity(self) -> str:
        """A hash of all that the weights depend on."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def source(self) -> Source:
        """Where the trials come from."""
        return self.dataset.source

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return self.dataset.names

    def trials(self, folder: Path) -> list[Trial]:
        """Everything this teacher needs to see; ``DatasetError`` if it is missing or damaged."""
        return self.dataset.trials(folder, self.teacher.needs)


def load(path: Path, *, seed: int | None = None) -> TeacherExperiment:
    """Read a teacher's file; another ``seed`` than its own makes it another run, named so.

    A fusion then fuses runs of that seed.

    Raises:
        ConfigError: Names every problem.
    """
    document = read(path)
    if seed is not None and isinstance(document, dict) and seed != document.get("seed"):
        document = _of_seed(document, seed)
    return validated(TeacherExperiment, document, path)


def _of_seed(document: dict[str, Any], seed: int) -> dict[str, Any]:
    renamed = document | {"seed": seed, "name": f"{document.get('name')}-seed{seed}"}
    teacher = document.get("teacher")
    if isinstance(teacher, dict) and isinstance(teacher.get("runs"), dict):
        runs = {f"{name}-seed{seed}": weight for name, weight in teacher["runs"].items()}
        renamed["teacher"] = teacher | {"runs": runs}
    return renamed
