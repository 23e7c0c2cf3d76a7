"""The data sets of trials by kind: what an experiment may ask of each, and what each shows beside motion."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from training.datasets import Source, Trial, berkeley_mhad, mex, utd_mhad
from training.documents import Frozen

Modality = Literal["skeleton", "depth", "overhead_depth"]
""""depth": metres from a Kinect before a standing person, ``Trial.frames`` in steps of 16 mm.
"overhead_depth": relative depth from above, 0 to 255."""


class TrialSet(Frozen):
    """Which trials are learned from and judged; one class for each data set."""

    source: ClassVar[Source]
    shows: ClassVar[frozenset[Modality]] = frozenset()
    """What a teacher can see in it, or virtual sensors can be made from."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is told apart, in the order of a model's outputs."""
        return self.source.labels

    def trials(self, folder: Path, modalities: Collection[Modality] = ()) -> list[Trial]:
        """Every trial, with these ``modalities``; ``DatasetError`` if it is missing or damaged."""
        raise NotImplementedError


class UtdMhad(TrialSet):
    """27 actions of 8 people."""

    source = utd_mhad.SOURCE
    shows = frozenset({"skeleton", "depth"})

    kind: Literal["utd_mhad"]
    labels: Literal["all", "wrist"] | tuple[str, ...] | None = None
    """"wrist": the 21 actions with the sensor on the right wrist. Or those listed. All by default."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if strange := sorted(set(self.names) - set(self.source.labels)):
            raise ValueError(f"labels {strange} are none of UTD-MHAD's")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """In the data set's order, whatever order they are listed in."""
        if self.labels is None or self.labels == "all":
            return self.source.labels
        if self.labels == "wrist":
            return utd_mhad.WRIST_LABELS
        strange = tuple(label for label in self.labels if label not in self.source.labels)
        return tuple(label for label in self.source.labels if label in self.labels) + strange

    def trials(self, folder: Path, modalities: Collection[Modality] = ()) -> list[Trial]:
        """See the base."""
        asked: set[utd_mhad.Modality] = {"skeleton", "depth"}
        return utd_mhad.trials(folder, modalities=asked & set(modalities), labels=self.names)


class BerkeleyMhad(TrialSet):
    """11 actions of 12 people, by one accelerometer."""

    source = berkeley_mhad.SOURCE

    kind: Literal["berkeley_mhad"]
    placement: berkeley_mhad.Placement = "right_wrist"

    def trials(self, folder: Path, modalities: Collection[Modality] = ()) -> list[Trial]:
        """See the base; there is nothing but acceleration."""
        del modalities
        return berkeley_mhad.trials(folder, placement=self.placement)


class Mex(TrialSet):
    """7 exercises of 30 people, a minute each, cut into windows by the clock of wrist and camera alike."""

    source = mex.SOURCE
    shows = frozenset({"overhead_depth"})

    kind: Literal["mex"]
    window_s: float = Field(default=5.0, ge=1.0, le=60.0)
    """Length of a trial."""
    hop_s: float = Field(default=5.0, ge=0.5, le=60.0)
    """From the beginning of one to that of the next; shorter than ``window_s``, they overlap."""

    def trials(self, folder: Path, modalities: Collection[Modality] = ()) -> list[Trial]:
        """See the base; windows of the time when both sensors were on, whichever is asked for."""
        # The camera is always read, or a student's windows would begin elsewhere than its teacher's.
        found = mex.trials(folder, window_s=self.window_s, hop_s=self.hop_s, depth=True)
        if "overhead_depth" in modalities:
            return found
        return [replace(trial, frames=None) for trial in found]


AnyTrialSet = Annotated[UtdMhad | BerkeleyMhad | Mex, Field(discriminator="kind")]


def is_asked_for(dataset: object) -> bool:
    """Whether an experiment's ``dataset`` is one of these: a set of recordings is named with its file."""
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in (UtdMhad, BerkeleyMhad, Mex)}
    return isinstance(dataset, dict) and dataset.get("kind") in kinds and "file" not in dataset
