"""An experiment on whole trials: one student, perhaps a teacher, a split, and named variants of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.datasets import Source, Trial
from training.datasets.splits import TrialSplit
from training.datasets.trial_sets import AnyTrialSet, is_asked_for
from training.documents import Frozen, merged, read, validated
from training.experiment import Exportable, NetworkChoice, StudentChoice
from training.methods import METHODS, Method
from training.trials import TrialView
from training.virtual import Virtual
from vskd_stream.errors import ConfigError

_RUN = r"^[a-z0-9][a-z0-9._+@-]{0,127}$"


class TeacherChoice(Frozen):
    """Whose answers are learned from."""

    run: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Folder in runs/ with its outputs.npz."""
    config: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*\.yaml$")
    """A file beside the experiment's: where the teacher is not there, ``distill`` trains it from this."""
    answers: Literal["recorded", "varied"] = "recorded"
    """"varied": what it says of a training trial is the mean over variations of that trial's motion, of
    which it is less sure than of the motion that it learned by heart."""


class TrialExperiment(Exportable):
    """Version 1 of configs/train/*.yaml whose data set is one of trials.

    A trial is stretched to ``signal.window_samples``, whatever its length; rate and hop are for service.
    """

    dataset: AnyTrialSet
    student: NetworkChoice = StudentChoice()
    split: TrialSplit
    view: TrialView = TrialView()
    virtual: Virtual | None = None
    """Trials that are made up from skeletons, beside those recorded; none if absent."""
    method: str = "alone"
    teacher: TeacherChoice | None = None
    assistants: tuple[Annotated[str, Field(pattern=_RUN)], ...] = ()
    """Finished runs of this experiment, by the names of their folders beside one another, that a method may
    ask about whatever motion the student sees (``training.assistants``)."""
    then: tuple[Literal["export", "evaluate", "replay"], ...] = ()
    """What ``vskd-train distill`` goes on with."""

    @model_validator(mode="after")
    def _known_method(self) -> Self:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r} is none of {', '.join(METHODS)}")
        if self.how.asks_teacher and self.teacher is None:
            raise ValueError(f"method {self.method!r} needs a teacher: teacher: {{run: NAME}}")
        if self.how.asks_assistants and not self.assistants:
            raise ValueError(f"method {self.method!r} needs assistants: assistants: [METHOD@VARIANT-SEED]")
        if self.export.familiar_windows or self.export.hanging:
            # A trial is as long as a window, and is told when it is over.
            raise ValueError("export.familiar_windows and export.hanging are of recordings, not of trials")
        if self.virtual and "skeleton" not in self.dataset.shows:
            raise ValueError(f"virtual trials are made from skeletons, which {self.dataset.kind} has not")
        return self

    @property
    def how(self) -> Method:
        """The method's terms."""
        return METHODS[self.method]

    @property
    def sources(self) -> dict[str, Source]:
        """Where the trials come from; nobody's name has a prefix."""
        return {"": self.dataset.source}

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model tells apart, in the order of its outputs."""
        return self.dataset.names

    @property
    def taught_by(self) -> str:
        """For the card."""
        if not self.how.terms:
            return "taught from labels alone (no teacher)"
        by = [f"the teacher {self.teacher.run}"] if self.how.asks_teacher and self.teacher else []
        by += [f"the assistants {', '.join(self.assistants)}"] if self.how.asks_assistants else []
        return f"taught by labels and, with the method {self.method}, by {' and '.join(by)}"

    def trials(self, folder: Path) -> list[Trial]:
        """Every trial of these labels; ``DatasetError`` if the data set is missing or damaged."""
        return self.dataset.trials(folder, ["skeleton"] if self.virtual else [])

    @property
    def identity(self) -> str:
        """A hash of all that the weights depend on, what teacher and assistants say apart."""
        left_out = {"decisions", "export", "name", "then"}
        left_out |= set() if self.how.asks_teacher else {"teacher"}
        left_out |= set() if self.how.asks_assistants else {"assistants"}
        document = self.model_dump(mode="json", exclude=left_out) | {"terms": self.how.identity}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @property
    def budget(self) -> str:
        """A hash of all but who teaches how, virtual trials and seed: what may be compared."""
        left_out = {
            *("decisions", "export", "name", "then"),
            *("method", "teacher", "assistants", "virtual", "seed"),
        }
        text = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def variation(self, *, method: str, seed: int) -> TrialExperiment:
        """The same with another method and seed, validated again."""
        return TrialExperiment.model_validate(self.model_dump() | {"method": method, "seed": seed})


def is_one(path: Path) -> bool:
    """Whether the file's data set is one of trials; ``ConfigError`` if it is no YAML."""
    document = read(path)
    return isinstance(document, dict) and is_asked_for(document.get("dataset"))


def load(path: Path, *, variant: str | None = None) -> TrialExperiment:
    """Read an experiment, as it stands or in one of its ``variants``; ``ConfigError`` names every problem.

    A variant is a mapping of what differs: sections that it names are merged, values replaced.
    """
    document = read(path)
    if not isinstance(document, dict):
        raise ConfigError(path, ["an experiment is a mapping"])
    variants = document.pop("variants", None) or {}
    if variant is not None:
        if not isinstance(variants, dict) or not isinstance(variants.get(variant), dict):
            raise ConfigError(path, [f"variants: there is no {variant!r}, only {sorted(variants)}"])
        document = merged(document, variants[variant])
    return validated(TrialExperiment, document, path)
