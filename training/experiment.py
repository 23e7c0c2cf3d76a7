"""One experiment: everything that decides what a model becomes, in one frozen file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from training.augment import Augmentation
from training.collection import Collection, Elsewhere
from training.datasets import Recording, Source
from training.datasets.splits import SubjectSplit
from training.documents import Frozen, merged, read, validated
from training.student import Stem, Student
from training.window_tcn import Detail, WindowTCN
from vskd_stream.errors import ConfigError
from vskd_stream.image import ImageSpec
from vskd_stream.manifest import Decision, Stillness
from vskd_stream.mounting import LEAST_WINDOW_S


class Signal(Frozen):
    """From samples to windows; goes into the manifest as it stands."""

    sampling_rate_hz: float = Field(ge=1.0, le=1000.0)
    window_samples: int = Field(ge=8, le=4096)
    hop_samples: int = Field(ge=1, le=4096)
    max_gap_s: float = Field(gt=0.0, le=5.0)
    """A longer hole between two samples breaks the stream."""

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.sampling_rate_hz

    @property
    def hop_s(self) -> float:
        """From one window to the next, in seconds."""
        return self.hop_samples / self.sampling_rate_hz


class StudentChoice(Frozen):
    """The network's size."""

    width: int = Field(default=64, ge=4, le=256)
    """Channels of the first stage; 64 makes it a ResNet18."""
    features: int = Field(default=300, ge=2, le=4096)
    """Size of the tap."""
    # Left out of what a run is known by where it is what all runs had before there was a choice.
    stem: Stem = Field(default="wide", exclude_if=lambda stem: stem == "wide")
    """"narrow" for images of 32 pixels (``training.student``)."""

    def network(self, *, channels: int, classes: int) -> Student:
        """With fresh weights; of images with so many channels."""
        return Student(
            channels=channels, classes=classes, width=self.width, features=self.features, stem=self.stem
        )


class WindowTCNChoice(Frozen):
    """A network on the window itself, in the student's place: to teach, not to ship."""

    kind: Literal["window-tcn"]
    width: int = Field(default=64, ge=4, le=1024)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    # Left out where it is what all such networks had before there was a choice.
    detail: Detail | None = Field(default=None, exclude_if=lambda detail: detail is None)
    """In what form it sees small movements beside the acceleration itself (``training.window_tcn``)."""

    def network(self, *, channels: int, classes: int) -> WindowTCN:
        """With fresh weights; however many channels the image has that it does not see."""
        del channels
        return WindowTCN(classes=classes, width=self.width, dropout=self.dropout, detail=self.detail)


NetworkChoice = StudentChoice | WindowTCNChoice


class EnsembleChoice(Frozen):
    """Networks whose mean answer is learned from as well (``training.ensemble``)."""

    runs: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Folders of finished ones, in the one that keeps all runs; same labels and windows, if they read images
    the same ones, and nobody in them from whom this one must not learn."""
    # Left out where it is what all ensembles had before there was a choice.
    members: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")], dict[str, Any]] = Field(
        default_factory=dict, exclude_if=lambda members: not members
    )
    """Those who are taught first, from labels alone: this experiment but for what is named here."""
    weight: float = Field(default=0.7, ge=0.0, le=1.0)
    """Of what they say; the rest is the labels'."""
    temperature: float = Field(default=2.0, ge=0.1, le=100.0)
    """By which both sides are softened."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.runs and not self.members:
            raise ValueError("nobody teaches: name runs or members, or leave teacher out")
        return self


class BundleChoice(Frozen):
    """A bundle from which a smaller student learns as well (``training.distillate``)."""

    bundle: Annotated[str, Field(min_length=1)]
    """A shipped bundle's name, or a path; same labels, rate and windows, and nobody in it from whom this
    one must not learn. Its images may be others."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file: who teaches decides what is learned."""
    weight: float = Field(default=0.9, ge=0.0, le=1.0)
    """Of what it says; the rest is the labels'."""
    temperature: float = Field(default=2.0, ge=0.1, le=100.0)
    """By which both sides are softened."""


class Fit(Frozen):
    """How the weights are found."""

    epochs: int = Field(ge=1, le=10_000)
    windows_per_epoch: int = Field(ge=1)
    batch_size: int = Field(ge=2, le=4096)
    peak_learning_rate: float = Field(gt=0.0, le=1.0)
    """One cycle: up to here over the first quarter, then down to nothing."""
    weight_decay: float = Field(ge=0.0, le=1.0)
    label_smoothing: float = Field(ge=0.0, lt=1.0)
    threads: int = Field(ge=1, le=256)
    autocast: Literal["bfloat16", "off"] = "bfloat16"
    """Arithmetic of the convolutions while learning."""
    # Left out where it is what all runs had before there was a choice.
    averaged: float = Field(default=0.0, ge=0.0, lt=1.0, exclude_if=lambda averaged: averaged == 0.0)
    """Part of the steps, the last ones, of whose weights the mean is kept instead of the last."""

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return max(1, self.windows_per_epoch // self.batch_size)


class Decisions(Frozen):
    """How scores become events; the thresholds are found on the validation subjects.

    All but ``unknown_share`` go into the manifest's ``Decision`` as they stand, and are told there.
    """

    smoothing: Literal["mean", "path"] = "mean"
    smoothing_windows: int
    change_cost: float = 0.0
    margin: float = 0.0
    begin_margin: float = 0.0
    switch_after_s: float
    unknown_after_s: float = 10.0
    minimum_s: dict[str, float] = Field(default_factory=dict)
    hold_s: dict[str, float] = Field(default_factory=dict)
    update_every_s: float
    coarse: dict[str, str] | Literal["taxonomy"] = Field(default_factory=dict)
    """"taxonomy": as ``training.taxonomy`` has it."""
    not_worn: Stillness | None = None
    coarse_when_unknown: bool = False
    """Whether an ``unknown`` activity is told to be of a kind where that is sure: thresholds are found at
    the coarse level as well."""
    unknown_share: float = Field(ge=0.0, le=0.5)
    """At most this part of the validation windows, whose activity is known, becomes ``unknown``."""

    @model_validator(mode="after")
    def _decide(self) -> Self:
        self.decision({}, coarse={} if self.coarse == "taxonomy" else self.coarse)
        return self

    def decision(self, unknown_below: dict[str, float], *, coarse: dict[str, str]) -> Decision:
        """The manifest's, with thresholds per label."""
        fields = self.model_dump(exclude={"unknown_share", "coarse", "coarse_when_unknown"})
        return Decision.model_validate({**fields, "coarse": coarse, "unknown_below": unknown_below})


class Export(Frozen):
    """How the weights become a bundle."""

    calibration_windows: int = Field(ge=8, le=65_536)
    """Training windows from which the int8 ranges are measured."""
    calibration: Literal["extremes", "averaged"] = "extremes"
    """What a range is: from the least to the largest value of all batches of 16, or from the mean of their
    least to the mean of their largest. A small network's few channels have outliers that cost it steps."""
    golden_windows: int = Field(ge=1, le=64)
    golden_tolerance: dict[Literal["fp32", "int8"], Annotated[float, Field(gt=0.0, le=0.1)]]
    """Largest difference of a golden probability that another machine may show."""
    familiar_windows: int | None = Field(default=None, ge=256, le=65_536)
    """Training windows that tell what is familiar (``training.shipping.strangers``); absent: the bundle takes
    every window for one of its labels'."""
    hanging: str | None = None
    """The label during which arms hang, walking: a watch that then shows gravity from elsewhere than those
    who were learned from is turned back by the gateway; absent: no watch is."""
    max_int8_loss: float = Field(ge=0.0, le=1.0)
    """The int8 bundle is refused if its validation accuracy is lower than fp32's by more than this."""


class Exportable(Frozen):
    """What of an experiment decides its bundles, whatever it learns from."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: int = Field(ge=0, lt=2**32)
    signal: Signal
    image: ImageSpec
    augmentation: Augmentation
    fit: Fit
    decisions: Decisions
    export: Export

    @model_validator(mode="after")
    def _known_labels(self) -> Self:
        # Told here, not by the manifest after hours of training.
        for name, named in (
            ("minimum_s", self.decisions.minimum_s),
            ("hold_s", self.decisions.hold_s),
            ("coarse", self.coarse),
        ):
            if strange := set(named).difference(self.labels):
                raise ValueError(f"decisions.{name} names {sorted(strange)}, which the data set does not")
        if self.export.hanging is not None:
            if self.export.hanging not in self.labels:
                raise ValueError(f"export.hanging names {self.export.hanging!r}, which the data set does not")
            if self.signal.window_s < LEAST_WINDOW_S:
                raise ValueError(f"export.hanging needs windows of {LEAST_WINDOW_S:g} s, to tell a walk")
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """Where the recordings come from, by the prefix of subjects' names."""
        raise NotImplementedError

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model tells apart, in the order of its outputs."""
        raise NotImplementedError

    @property
    def coarse(self) -> dict[str, str]:
        """Per label the coarser one that it is a kind of, where there is one."""
        if self.decisions.coarse == "taxonomy":
            raise ValueError("decisions.coarse: the taxonomy knows nothing of this data set; name the labels")
        return self.decisions.coarse

    def decision(self, unknown_below: dict[str, float]) -> Decision:
        """The manifest's, with thresholds per label."""
        return self.decisions.decision(unknown_below, coarse=self.coarse)

    @property
    def taught_by(self) -> str:
        """For the card."""
        return "taught from labels alone (no camera teacher)"


class Experiment(Exportable):
    """Version 1 of configs/train/*.yaml, on sliding windows of recordings."""

    dataset: Collection
    split: SubjectSplit
    student: NetworkChoice = StudentChoice()
    teacher: EnsembleChoice | BundleChoice | None = None
    # Left out where it is what all experiments had before there was a choice.
    elsewhere: Elsewhere | None = Field(default=None, exclude_if=lambda elsewhere: elsewhere is None)
    """A set that nobody learns from, whose people and watch judge as well (``evaluate --elsewhere``)."""

    @model_validator(mode="after")
    def _only_students_are_taught(self) -> Self:
        if self.teacher and isinstance(self.student, WindowTCNChoice):
            raise ValueError("a window-tcn teaches and is not taught: leave out teacher")
        return self

    @model_validator(mode="after")
    def _nobody_learns_elsewhere(self) -> Self:
        if self.elsewhere and f"{self.elsewhere.kind}/" in self.dataset.sources:
            raise ValueError(f"elsewhere: {self.elsewhere.kind} is one of the sets that are learned from")
        return self

    @model_validator(mode="after")
    def _known_members(self) -> Self:
        # Told here, not after the first of them has learned for an hour.
        for name, member in self.members.items():
            for what in ("labels", "signal", "split"):
                if getattr(member, what) != getattr(self, what):
                    raise ValueError(f"teacher.members.{name} has another {what} than its student")
        return self

    @property
    def members(self) -> dict[str, Experiment]:
        """Those who are taught first, by name; nobody teaches them."""
        if not isinstance(self.teacher, EnsembleChoice):
            return {}
        document = self.model_dump(mode="json", exclude={"teacher"}, exclude_unset=True)
        return {
            name: Experiment.model_validate(merged(document, {"name": f"{self.name}.{name}"} | changes))
            for name, changes in self.teacher.members.items()
        }

    @property
    def coarse(self) -> dict[str, str]:
        """Per label the coarser one that it is a kind of, where there is one."""
        named = self.decisions.coarse
        return self.dataset.coarse if named == "taxonomy" else named

    @property
    def taught_by(self) -> str:
        """For the card."""
        if self.teacher is None:
            return super().taught_by
        if isinstance(self.teacher, BundleChoice):
            teacher, digest = self.teacher.bundle, self.teacher.sha256[:12]
            return f"taught by labels and by the bundle {teacher}, SHA-256 {digest} (no camera teacher)"
        return (
            "taught by labels and by the mean answer of "
            f"{len(self.teacher.runs) + len(self.teacher.members)} others (no camera teacher)"
        )

    @property
    def identity(self) -> str:
        """A hash of all that the weights depend on; decisions, export and judges may change afterwards."""
        later = {"decisions", "export", "elsewhere"}
        text = json.dumps(self.model_dump(mode="json", exclude=later), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def sources(self) -> dict[str, Source]:
        """Where the recordings come from, by the prefix of subjects' names."""
        return self.dataset.sources

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model tells apart, in the order of its outputs."""
        return self.dataset.labels

    def recordings(self, folder: Path) -> list[Recording]:
        """Everything that the data sets hold; ``DatasetError`` if one is missing or damaged."""
        return self.dataset.recordings(folder)


def load(path: Path) -> Experiment:
    """Read an experiment; ``ConfigError`` names every problem."""
    found = validated(Experiment, read(path), path)
    if not found.split.validation:
        # A study's folds may do without: nothing is chosen there. Told here, not after hours of training.
        raise ConfigError(path, ["split.validation: name subjects who choose temperature and thresholds"])
    return found
