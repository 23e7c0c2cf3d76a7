"""``vskd-train teacher``: teaches a teacher, and keeps what it says of every trial."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from training.datasets import Trial
from training.fit import fit
from training.teachers.experiment import DepthChoice, FusionChoice, TeacherExperiment
from training.teachers.supply import Supply, TeacherTask, make_teacher

VIEWS = 8
"""Varied clips of each training trial whose answers are kept too."""
_BATCH = 16


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
        replace(
            path,
            lambda partial: np.savez_compressed(
                partial, allow_pickle=False, **{name: getattr(self, name) for name in self.__slots__}, **more
            ),
        )


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and put it there whole."""
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    write(partial)
    os.replace(partial, path)


def figures(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> Figures:
    """Accuracy, and macro-F1 over the labels that occur in the truth or the answers."""
    answers = logits.argmax(1)
    scores = []
    for label in np.union1d(truth, answers):
        right = np.sum((answers == label) & (truth == label))
        scores.append(2.0 * right / (np.sum(answers == label) + np.sum(truth == label)))
    return Figures(len(truth), float(np.mean(answers == truth)), float(np.mean(scores)))


def teach(
    experiment: TeacherExperiment, *, data: Path, runs: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Teach, or go on where the checkpoint stops; leaves config.yaml, checkpoint.pt, outputs.npz, metrics.json.

    Returns:
        What metrics.json holds.
    """
    assert not isinstance(experiment.teacher, FusionChoice)
    assert experiment.fit is not None
    run = runs / experiment.name
    run.mkdir(parents=True, exist_ok=True)
    trials = experiment.trials(data)
    learned = experiment.split.select(trials, "train")
    experiment.split.select(trials, "test")  # refused before hours are spent
    skeleton = trials[0].skeleton_m
    teacher = make_teacher(
        experiment.teacher,
        classes=len(experiment.labels),
        joints=0 if skeleton is None else skeleton.shape[1],
        seed=experiment.seed,
    )
    depth = isinstance(experiment.teacher, DepthChoice)
    task = TeacherTask(
        teacher,
        label_smoothing=experiment.fit.label_smoothing,
        pose_weight=experiment.teacher.pose_weight if isinstance(experiment.teacher, DepthChoice) else 0.0,
    )
    write_config(experiment, run)
    supply = Supply(learned, experiment.teacher, labels=experiment.labels, seed=experiment.seed)
    settings = experiment.fit
    curves = fit(
        task,
        batches=lambda epoch: supply.epoch(epoch, batches=settings.batches, batch_size=settings.batch_size),  # type: ignore[arg-type,return-value]
        settings=settings,
        seed=experiment.seed,
        checkpoint=run / "checkpoint.pt",
        identity=experiment.identity,
        say=say,
    )
    everything = Supply(trials, experiment.teacher, labels=experiment.labels, seed=experiment.seed)
    parts = [
        _ask(task, everything.plain(range(start, min(start + _BATCH, len(trials)))))
        for start in range(0, len(trials), _BATCH)
    ]
    answers = Answers(
        np.array([trial.key for trial in trials]),
        np.concatenate([logits for logits, _ in parts]),
        np.concatenate([features for _, features in parts]),
    )
    more: dict[str, NDArray[Any]] = {}
    if not depth:
        rng = np.random.default_rng([experiment.seed, settings.epochs])
        which = np.arange(len(learned))
        views = [_ask(task, supply.drawn(which, rng)[0])[0] for _ in range(VIEWS)]
        more = {"view_keys": np.array([trial.key for trial in learned]), "view_logits": np.stack(views, axis=1)}
    answers.write(run / "outputs.npz", **more)
    return judged(experiment, trials, answers, run=run, curves=curves)


def write_config(experiment: TeacherExperiment, run: Path) -> None:
    """The experiment with all its defaults, beside what came of it."""
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
    """Figures of each side, written to metrics.json."""
    row = {str(key): number for number, key in enumerate(answers.keys)}
    sides = {}
    for side in ("train", "validation", "test"):
        if side == "validation" and not experiment.split.validation:
            continue
        chosen = experiment.split.select(trials, side)  # type: ignore[arg-type]
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


def _ask(task: TeacherTask, clips: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    task.eval()
    with torch.inference_mode():
        logits, features = task.teacher(torch.from_numpy(clips))
    return logits.float().numpy(), features.float().numpy()
