"""Finished networks teach a student: their mean answer, softened, stands beside the labels.

Hinton, Vinyals and Dean (2015). What is shipped costs what one student costs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from training.assistants import Assistants
from training.experiment import EnsembleChoice, Experiment, WindowTCNChoice
from training.fit import FitError, restore
from training.networks import Network
from training.supervised import Advised, Supervised

RECORD = "experiment.json"
"""In a run's folder: what it learned, for whoever learns from it."""


class Taught(Advised):
    """Labels, and the mean of frozen teachers that see the very same images."""

    def __init__(
        self,
        student: Network,
        teachers: Sequence[Network],
        *,
        label_smoothing: float,
        weight: float,
        temperature: float,
    ) -> None:
        super().__init__(student, label_smoothing=label_smoothing, weight=weight, temperature=temperature)
        self._teachers = Assistants(teachers)

    def forward(self, images: Tensor, labels: Tensor, windows: Tensor | None = None) -> dict[str, Tensor]:
        """As ``Supervised``, advised by the teachers.

        Args:
            images: (b, channels, h, w) in [-1, 1].
            labels: (b,) int64.
            windows: (b, 3, n) in g that the images are of; None: labels alone.
        """
        result = super().forward(images, labels)
        if windows is None:
            return result
        return self.advised(result, self._teachers.ask(images, windows, temperature=self.temperature))


def record(experiment: Experiment, run: Path) -> None:
    """Leave beside the checkpoint what it is of."""
    run.mkdir(parents=True, exist_ok=True)
    document = {"identity": experiment.identity, "experiment": experiment.model_dump(mode="json")}
    (run / RECORD).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def folder_of(member: str, *, run: Path) -> Path:
    """Where the run keeps one of those who are taught first."""
    return run / "members" / member


def teachers(experiment: Experiment, *, run: Path, runs: Path) -> list[Network]:
    """The finished networks that the experiment names; ``FitError`` if one is not there or does not fit."""
    choice = experiment.teacher
    if not isinstance(choice, EnsembleChoice):
        return []
    folders = [runs / name for name in choice.runs]
    folders += [folder_of(name, run=run) for name in choice.members]
    found = []
    for folder in folders:
        try:
            document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FitError(f"teacher {folder} cannot be read ({error}): train it first") from error
        taught = type(experiment).model_validate(document["experiment"])
        same = ["labels", "signal"] + ([] if isinstance(taught.student, WindowTCNChoice) else ["image"])
        for what in same:
            if getattr(taught, what) != getattr(experiment, what):
                raise FitError(f"teacher {folder} has another {what} than its student")
        if strangers := sorted(set(taught.split.train) - set(experiment.split.train)):
            raise FitError(f"teacher {folder} learned from {strangers}, from whom the student must not")
        student = taught.student.network(channels=taught.image.channels, classes=len(taught.labels))
        task: nn.Module = Supervised(student, label_smoothing=0.0)
        restore(
            task,
            checkpoint=folder / "checkpoint.pt",
            identity=document["identity"],
            epochs=taught.fit.epochs,
        )
        found.append(student)
    return found
