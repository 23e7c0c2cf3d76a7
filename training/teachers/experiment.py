"""One teacher: everything that decides what it becomes, in one frozen file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from training.datasets import Source, Trial, utd_mhad
from training.datasets.splits import TrialSplit
from training.documents import Frozen, read, validated
from training.experiment import Fit
from training.teachers.bninception import MULTIPLE_PX
from training.teachers.depth import DepthView
from training.teachers.skeleton import SkeletonView


class SkeletonChoice(Frozen):
    """A temporal convolution network on the skeleton."""

    kind: Literal["skeleton-tcn"]
    frames: int = Field(default=64, ge=8, le=1024)
    width: int = Field(default=64, ge=4, le=1024)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    view: SkeletonView


class DepthChoice(Frozen):
    """The paper's multi-scale TRN on BN-Inception, with depth where the paper has RGB."""

    kind: Literal["depth-trn"]
    segments: int = Field(default=8, ge=2, le=16)
    size: int = Field(default=64, ge=MULTIPLE_PX, le=448, multiple_of=MULTIPLE_PX)
    """Side of a frame in pixels."""
    reach: int = Field(default=2, ge=1, le=32)
    """Frames between a frame and those it is compared with."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    pose_weight: float = Field(default=0.0, ge=0.0, le=1e3)
    """How much it counts to tell the joints' positions, of which training trials have skeletons, from a
    frame; mean absolute error in metres times this. 0 is the paper's loss."""
    weights: Path | None = None
    """ImageNet weights of the backbone; from scratch without."""
    view: DepthView


class FusionChoice(Frozen):
    """The weighted mean of other teachers' log-probabilities; nothing is learned."""

    kind: Literal["fusion"]
    runs: dict[str, Annotated[float, Field(gt=0.0)]] = Field(min_length=2)
    """Names of runs beside this one, each with its weight."""


Choice = Annotated[SkeletonChoice | DepthChoice | FusionChoice, Field(discriminator="kind")]


class TrialsChoice(Frozen):
    """Which trials are learned from and judged."""

    kind: Literal["utd_mhad"]
    labels: tuple[str, ...] | None = None
    """Only these; all by default."""


class TeacherExperiment(Frozen):
    """Version 1 of configs/train/*-teacher-*.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: int = Field(ge=0, lt=2**32)
    dataset: TrialsChoice
    split: TrialSplit
    teacher: Choice
    fit: Fit | None = None
    """Not for a fusion, which learns nothing."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.fit is None) != isinstance(self.teacher, FusionChoice):
            raise ValueError("fit is needed by every teacher but a fusion, which has none")
        return self

    @property
    def identity(self) -> str:
        """A hash of all that the weights depend on."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def source(self) -> Source:
        """Where the trials come from."""
        return utd_mhad.SOURCE

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the outputs: the data set's, whatever order they are chosen in."""
        chosen = self.dataset.labels
        return tuple(label for label in self.source.labels if chosen is None or label in chosen)

    def trials(self, folder: Path) -> list[Trial]:
        """Everything this teacher needs to see; ``DatasetError`` if it is missing or damaged."""
        modalities: set[utd_mhad.Modality] = set()
        if isinstance(self.teacher, SkeletonChoice):
            modalities = {"skeleton"}
        elif isinstance(self.teacher, DepthChoice):
            modalities = {"depth", "skeleton"} if self.teacher.pose_weight else {"depth"}
        return utd_mhad.trials(folder, modalities=modalities, labels=self.dataset.labels)


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
