"""One run on whole trials: learn, judge by the last epoch, and leave behind what it came to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from training import teaching
from training.assistants import Assistants
from training.datasets import Trial
from training.distill import Distillation
from training.documents import read, validated
from training.experiment import WindowTCNChoice
from training.fit import Curve, fit, restore
from training.judging.evaluate import Figures, measure
from training.networks import Network, told
from training.shipping.calibrate import softmax
from training.trial_experiment import TrialExperiment
from training.trials import RandomTrials, as_windows
from training.virtual import blends


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one run came to on the trials that judge."""

    figures: Figures
    wrist_accuracy: float | None
    """Of the trials with the sensor on a wrist, all labels allowed as answers; None where it never was."""
    keys: tuple[str, ...]
    answers: NDArray[np.int64]
    truth: NDArray[np.int64]
    seconds: float


def _truth(experiment: TrialExperiment, trials: Sequence[Trial]) -> NDArray[np.int64]:
    """(t,) the trials' labels, in the order of the model's outputs."""
    return np.array([experiment.labels.index(trial.label) for trial in trials], np.int64)


def outputs(experiment: TrialExperiment, runs: Path) -> Path:
    """Where the experiment's teacher left its answers."""
    assert experiment.teacher is not None  # a method with terms has one
    return runs / experiment.teacher.run / "outputs.npz"


def _digest(experiment: TrialExperiment, runs: Path) -> bytes:
    """SHA-256 of the teacher's answers."""
    try:
        answers = outputs(experiment, runs).read_bytes()
    except OSError as error:
        raise teaching.TeacherError(
            outputs(experiment, runs), f"not to be read ({error.strerror}); train it: vskd-train teacher"
        ) from error
    return hashlib.sha256(answers).digest()


def identity(experiment: TrialExperiment, runs: Path) -> str:
    """Of all that the weights depend on, the teacher's answers included."""
    if not experiment.how.terms:
        return experiment.identity
    said = hashlib.sha256(experiment.identity.encode())
    if experiment.how.asks_teacher:
        said.update(_digest(experiment, runs))
    if experiment.how.asks_assistants:
        for name in experiment.assistants:
            said.update(identity(assistant(experiment, name, runs=runs), runs).encode())
    return said.hexdigest()


def assistant(experiment: TrialExperiment, name: str, *, runs: Path) -> TrialExperiment:
    """What the finished run ``name`` learned; ``TeacherError`` if it cannot assist this experiment."""
    path = runs / experiment.name / name / "config.yaml"
    document = read(path)
    found = validated(TrialExperiment, document, path)
    same = ["labels", "signal", "dataset"] + ([] if isinstance(found.student, WindowTCNChoice) else ["image"])
    for what in same:
        if getattr(found, what) != getattr(experiment, what):
            raise teaching.TeacherError(path, f"an assistant has the {what} of whom it teaches")
    if strangers := sorted(set(found.split.train) - set(experiment.split.train)):
        raise teaching.TeacherError(path, f"it learned from {strangers}, from whom the student must not")
    if found.how.asks_assistants:
        raise teaching.TeacherError(path, "an assistant is not taught by assistants")
    return found


def testimony(
    experiment: TrialExperiment, trials: Sequence[Trial], *, runs: Path
) -> dict[str, str | float] | None:
    """Whose answers the student was taught: which run's, their hash, and how right they are on the test side.

    None for a method that asks no teacher.
    """
    if not experiment.how.asks_teacher:
        return None
    assert experiment.teacher is not None  # a method that asks one has one
    test = experiment.split.select(trials, "test")
    lessons = teaching.load(
        outputs(experiment, runs), [trial.key for trial in test], classes=len(experiment.labels)
    )
    return {
        "run": experiment.teacher.run,
        "outputs_sha256": _digest(experiment, runs).hex(),
        "accuracy": float(np.mean(lessons.logits.argmax(1) == _truth(experiment, test))),
    }


def make_network(experiment: TrialExperiment) -> Network:
    """What learns, with fresh weights that are a function of the seed alone."""
    torch.manual_seed(experiment.seed)
    return experiment.student.network(channels=experiment.image.channels, classes=len(experiment.labels))


def make_task(experiment: TrialExperiment, trials: Sequence[Trial], *, runs: Path) -> Distillation:
    """The task for learning from ``trials``, with fresh weights that are a function of the seed alone."""
    lessons = None
    if experiment.how.asks_teacher:
        assert experiment.teacher is not None  # a method that asks one has one
        varied = experiment.teacher.answers == "varied"
        keys = [trial.key for trial in trials]
        lessons = teaching.load(
            outputs(experiment, runs), keys, classes=len(experiment.labels), varied=varied
        )
    assistants = None
    if experiment.how.asks_assistants:
        members = [assistant(experiment, name, runs=runs) for name in experiment.assistants]
        assistants = Assistants(
            [
                finished(one, trials, run=runs / experiment.name / name, runs=runs).student
                for one, name in zip(members, experiment.assistants, strict=True)
            ]
        )
    return Distillation(
        make_network(experiment),
        lessons,
        assistants=assistants,
        method=experiment.how,
        label_smoothing=experiment.fit.label_smoothing,
    )


def learned_from(experiment: TrialExperiment, trials: Sequence[Trial]) -> list[Trial]:
    """The training trials, and those that are made up from them."""
    recorded = experiment.split.select(trials, "train")
    if experiment.virtual is None:
        return recorded
    return recorded + blends(recorded, experiment.virtual, seed=experiment.seed)


def learn(
    experiment: TrialExperiment,
    trials: Sequence[Trial],
    *,
    run: Path,
    runs: Path,
    say: Callable[[str], None],
    draw: Callable[[int, Curve], None] = lambda _epoch, _curve: None,
) -> tuple[Distillation, list[Curve]]:
    """Teach the experiment's student from its training trials, or go on where its checkpoint stops."""
    everything = learned_from(experiment, trials)
    supply = RandomTrials(
        everything,
        labels=experiment.labels,
        samples=experiment.signal.window_samples,
        view=experiment.view,
        image=None if isinstance(experiment.student, WindowTCNChoice) else experiment.image,
        augmentation=experiment.augmentation,
        seed=experiment.seed,
        mixed=experiment.how.mixed,
    )
    task = make_task(experiment, everything, runs=runs)
    run.mkdir(parents=True, exist_ok=True)
    write(run / "config.yaml", yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    curves = fit(
        task,
        batches=lambda epoch: supply.epoch(
            epoch, batches=experiment.fit.batches, batch_size=experiment.fit.batch_size
        ),
        settings=experiment.fit,
        seed=experiment.seed,
        checkpoint=run / "checkpoint.pt",
        identity=identity(experiment, runs),
        say=say,
        draw=draw,
    )
    return task, curves


def finished(experiment: TrialExperiment, trials: Sequence[Trial], *, run: Path, runs: Path) -> Distillation:
    """The student of a run that has ended; ``FitError`` where there is none."""
    task = make_task(experiment, learned_from(experiment, trials), runs=runs)
    restore(
        task,
        checkpoint=run / "checkpoint.pt",
        identity=identity(experiment, runs),
        epochs=experiment.fit.epochs,
    )
    return task


def probabilities(
    student: Network, windows: NDArray[np.float32], experiment: TrialExperiment
) -> NDArray[np.float32]:
    """(t, labels) float32 of (t, 3, n) windows, in full precision."""
    return softmax(told(student, windows, image=experiment.image)[0])


def judge(
    experiment: TrialExperiment, student: Network, trials: Sequence[Trial], *, seconds: float
) -> Outcome:
    """The student on the trials that judge."""
    test = experiment.split.select(trials, "test")
    told = probabilities(student, as_windows(test, experiment.signal.window_samples), experiment)
    truth = _truth(experiment, test)
    answers = told.argmax(1)
    wrist = np.array(["wrist" in trial.placement for trial in test])
    return Outcome(
        figures=measure(told, truth, experiment.labels),
        wrist_accuracy=float((answers == truth)[wrist].mean()) if wrist.any() else None,
        keys=tuple(trial.key for trial in test),
        answers=answers,
        truth=truth,
        seconds=seconds,
    )


def write(path: Path, text: str) -> None:
    """The file appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def record(
    run: Path,
    experiment: TrialExperiment,
    outcome: Outcome,
    curves: list[Curve],
    *,
    name: str,
    teacher: dict[str, str | float] | None,
) -> None:
    """Leave what a run came to beside its checkpoint; ``teacher`` is its ``testimony``."""
    document = {
        "identity": name,
        "budget": experiment.budget,
        "seed": experiment.seed,
        "virtual": experiment.virtual is not None,
        "method": experiment.method,
        "teacher": teacher,
        "labels": experiment.labels,
        "test": asdict(outcome.figures),
        "wrist_accuracy": outcome.wrist_accuracy,
        "keys": outcome.keys,
        "answers": outcome.answers.tolist(),
        "truth": outcome.truth.tolist(),
        "seconds": outcome.seconds,
        "curves": curves,
    }
    write(run / "metrics.json", json.dumps(document, indent=1) + "\n")
