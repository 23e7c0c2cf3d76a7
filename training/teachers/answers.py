"""What a teacher says of every trial, written whole or not at all, and how right it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from training.datasets import Trial
from training.datasets.splits import Side
from training.fit import FitError
from training.teachers.experiment import TeacherExperiment


@dataclass(frozen=True, slots=True)
class Figures:
    """How well one side of the split was told apart."""

    trials: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a teacher says of trials, as it was after its last epoch."""

    keys: NDArray[np.str_]
    """(t,) of every trial."""
    logits: NDArray[np.float32]
    """(t, classes)."""
    features: NDArray[np.float32]
    """(t, 300) tap."""

    def write(self, path: Path, **more: NDArray[Any]) -> None:
        """Into one .npz, never half."""
        arrays = {"keys": self.keys, "logits": self.logits, "features": self.features, **more}
        replace(path, lambda partial: np.savez_compressed(partial, allow_pickle=False, **arrays))


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and put it there whole; ``FitError`` if the disk refuses."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise FitError(f"{path} cannot be written ({error.strerror}): make room and run it again") from error


def figures(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> Figures:
    """Accuracy, and macro-F1 over the labels that occur in the truth or the answers."""
    answers = logits.argmax(1)
    scores = []
    for label in np.union1d(truth, answers):
        right = np.sum((answers == label) & (truth == label))
        scores.append(2.0 * right / (np.sum(answers == label) + np.sum(truth == label)))
    return Figures(len(truth), float(np.mean(answers == truth)), float(np.mean(scores)))


def write_config(experiment: TeacherExperiment, run: Path) -> None:
    """The experiment with all its defaults, beside what comes of it."""
    run.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    replace(run / "config.yaml", lambda partial: partial.write_text(text, encoding="utf-8"))


def judged(
    experiment: TeacherExperiment,
    trials: list[Trial],
    answers: Answers,
    *,
    run: Path,
    curves: list[dict[str, float]],
) -> dict[str, Any]:
    """Figures of each side and the learning curves, written to metrics.json as they are returned."""
    row = {str(key): number for number, key in enumerate(answers.keys)}
    sides = {}
    of_split: tuple[Side, ...] = ("train", "validation", "test")
    for side in of_split:
        if side == "validation" and not experiment.split.validation:
            continue
        chosen = experiment.split.select(trials, side)
        rows = [row[trial.key] for trial in chosen]
        truth = np.array([experiment.labels.index(trial.label) for trial in chosen], np.int64)
        sides[side] = asdict(figures(answers.logits[rows], truth))
    document: dict[str, Any] = {
        "name": experiment.name,
        "identity": experiment.identity,
        "seed": experiment.seed,
        "sides": sides,
        "curves": curves,
    }
    text = json.dumps(document, indent=1) + "\n"
    replace(run / "metrics.json", lambda partial: partial.write_text(text, encoding="utf-8"))
    return document
