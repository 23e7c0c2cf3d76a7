"""What ``vskd-train`` does with an experiment on sliding windows of recordings."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from training import distillate, ensemble, folds
from training.datasets import Recording
from training.distillate import Distillate
from training.ensemble import Taught
from training.experiment import BundleChoice, Experiment, WindowTCNChoice
from training.fit import Batches, FitError, fit, restore
from training.judging import days, elsewhere, robustness, unknown
from training.judging.bundles import judged_bundles
from training.judging.evaluate import Judgement, table
from training.networks import Network, told
from training.shipping.card import smoothing_of
from training.shipping.export import PRECISIONS, bundle_path, export, material
from training.shipping.trim import trimmed
from training.student import Student, multiply_adds, parameters
from training.supervised import Supervised
from training.trial_run import write
from training.windows import RandomWindows, cut, labels_of
from vskd_stream.errors import ConfigError

Say = Callable[[str], None]

_WATCHED_WINDOWS = 1500
_TOOLS = ("vskd-stream", "torch", "onnx", "onnxruntime", "numpy", "numba")


def make_task(experiment: Experiment) -> Supervised:
    """The experiment's task with fresh weights, a function of the seed alone."""
    torch.manual_seed(experiment.seed)
    student = experiment.student.network(channels=experiment.image.channels, classes=len(experiment.labels))
    return Supervised(student, label_smoothing=experiment.fit.label_smoothing)


def train(experiment: Experiment, *, data: Path, run: Path, runs: Path, say: Say) -> Network:
    """Teach the experiment's student, its members first; ``run`` keeps checkpoints, ``runs`` all runs."""
    for name, member in experiment.members.items():
        say(f"first {name}, which teaches")
        train(member, data=data, run=ensemble.folder_of(name, run=run), runs=runs, say=say)
    recordings = experiment.recordings(data)
    supply = RandomWindows(
        experiment.split.select(recordings, "train"),
        signal=experiment.signal,
        image=None if isinstance(experiment.student, WindowTCNChoice) else experiment.image,
        augmentation=experiment.augmentation,
        seed=experiment.seed,
        weights=experiment.dataset.weights,
        prior=experiment.dataset.often,
    )
    task, batches = lessons(experiment, supply, run=run, runs=runs)
    ensemble.record(experiment, run)
    fit(
        task,
        batches=batches,
        settings=experiment.fit,
        seed=experiment.seed,
        checkpoint=_checkpoint(run),
        identity=experiment.identity,
        say=say,
        after_epoch=_watch(experiment, task, recordings),
    )
    return task.student


def _watch(experiment: Experiment, task: Supervised, recordings: Sequence[Recording]) -> Callable[[], str]:
    """For the reader of the log only: the last epoch is taken, whatever this says."""
    if not experiment.split.validation:
        return str
    stretches = cut(experiment.split.select(recordings, "validation"), experiment.signal)
    labels = labels_of(stretches)
    some = slice(None, None, max(1, len(labels) // _WATCHED_WINDOWS))
    windows = np.ascontiguousarray(np.concatenate([stretch.windows for stretch in stretches])[some])

    def accuracy() -> str:
        with torch.autocast("cpu", torch.bfloat16):
            answers, _ = told(task.student, windows, image=experiment.image)
        return f"  validation {np.mean(answers.argmax(1) == labels[some]):.4f}"

    return accuracy


def lessons(
    experiment: Experiment, supply: RandomWindows, *, run: Path, runs: Path
) -> tuple[Supervised, Batches]:
    """What is to be learned, and from which windows; whoever teaches is looked for here."""
    task, choice = make_task(experiment), experiment.teacher
    length = {"batches": experiment.fit.batches, "batch_size": experiment.fit.batch_size}
    if choice is None:
        return task, lambda epoch: supply.epoch(epoch, **length)
    how = {"weight": choice.weight, "temperature": choice.temperature}
    smoothing = experiment.fit.label_smoothing
    if not isinstance(choice, BundleChoice):
        members = ensemble.teachers(experiment, run=run, runs=runs)
        taught = Taught(task.student, members, label_smoothing=smoothing, **how)
        return taught, lambda epoch: (
            (images, labels, windows) for windows, images, labels in supply.with_windows(epoch, **length)
        )
    classify = distillate.teacher(experiment, choice).classify
    return Distillate(task.student, label_smoothing=smoothing, **how), lambda epoch: (
        (images, labels, classify(windows))
        for windows, images, labels in supply.with_windows(epoch, **length)
    )


def finished(experiment: Experiment, *, run: Path) -> Student:
    """The learned student; ``FitError`` if there is none, or it is none that ships."""
    task = make_task(experiment)
    restore(
        task,
        checkpoint=_checkpoint(run),
        identity=experiment.identity,
        epochs=experiment.fit.epochs,
    )
    torch.set_num_threads(experiment.fit.threads)
    return _shipped(task)


def _shipped(task: Supervised) -> Student:
    if not isinstance(task.student, Student):
        raise FitError("a window-tcn reads no image: it can teach a student, not ship in its place")
    return task.student


def export_bundles(experiment: Experiment, *, data: Path, run: Path, say: Say) -> None:
    """Turn the learned student into bundles beside its checkpoint."""
    student = finished(experiment, run=run)
    found = material(experiment, experiment.recordings(data))
    export(experiment, student, found, run=run, say=say)


def evaluate(experiment: Experiment, *, data: Path, run: Path, results: Path, say: Say) -> None:
    """Judge both bundles on the test subjects through the serving path; write a file of figures."""
    stretches = cut(experiment.split.select(experiment.recordings(data), "test"), experiment.signal)
    judged = {}
    for precision, manifest, judgement, identity in judged_bundles(experiment, stretches, run=run):
        say(_text(precision, judgement, smoothing=smoothing_of(experiment.decisions)))
        unknown_below = manifest.decision.unknown_below
        judged[precision] = identity | {"unknown_below": unknown_below, "test": asdict(judgement)}
    image = experiment.image
    student = trimmed(_shipped(make_task(experiment)), shape=image.shape)
    document = {
        "experiment": experiment.model_dump(mode="json"),
        "identity": experiment.identity,
        "commands": [
            f"vskd-train {command} --config configs/train/{experiment.name}.yaml --data DIR"
            for command in ("train", "export", "evaluate")
        ],
        "seed": experiment.seed,
        "parameters": parameters(student),
        "multiply_adds": multiply_adds(student, shape=image.shape),
        "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in _TOOLS},
        "processor": platform.machine(),
        "bundles": judged,
    }
    _write(results / f"{experiment.name}.json", document, say=say)


def judge_folds(
    config: Path, *, only: Sequence[str], data: Path, runs: Path, results: Path, say: Say
) -> None:
    """Train and judge a study; write a file of figures."""
    study = folds.load(config)
    if strange := sorted(set(only) - set(study.variants)):
        raise ConfigError(config, [f"variants: {strange} are not in it"])

    def learn(experiment: Experiment, data: Path, run: Path) -> Network:
        return train(experiment, data=data, run=run, runs=runs, say=say)

    found = folds.run(study, data=data, runs=runs, train=learn, only=tuple(only), say=say)
    _write(results / f"{study.name}.json", found, say=say)


def judge_unknown(experiment: Experiment, *, data: Path, run: Path, results: Path, say: Say) -> None:
    """Compare scores of strangeness on labels that were left out; write a file of figures."""
    bundles = _bundles(experiment, run=run)
    found = unknown.compare(experiment, finished(experiment, run=run), bundles, data=data, say=say)
    _write(results / f"{experiment.name}-unknown.json", found, say=say)


def judge_days(experiment: Experiment, *, data: Path, run: Path, results: Path, say: Say) -> None:
    """Play the test subjects' days through both bundles; write a file of figures."""
    found = days.evaluate(experiment, _bundles(experiment, run=run), data=data, say=say)
    _write(results / f"{experiment.name}-stream.json", found, say=say)


def judge_robustness(experiment: Experiment, *, data: Path, run: Path, results: Path, say: Say) -> None:
    """Judge the int8 bundle on other wrists and watches; write a file of figures."""
    found = robustness.evaluate(experiment, bundle_path(experiment, "int8", run=run), data=data, say=say)
    _write(results / f"{experiment.name}-robustness.json", found, say=say)


def judge_elsewhere(experiment: Experiment, *, data: Path, run: Path, results: Path, say: Say) -> None:
    """Judge the int8 bundle by a set that nobody learned from; write a file of figures."""
    found = elsewhere.evaluate(experiment, bundle_path(experiment, "int8", run=run), data=data, say=say)
    _write(results / f"{experiment.name}-elsewhere.json", found, say=say)


def _bundles(experiment: Experiment, *, run: Path) -> dict[str, Path]:
    return {precision: bundle_path(experiment, precision, run=run) for precision in PRECISIONS}


def _write(target: Path, document: object, *, say: Say) -> None:
    write(target, json.dumps(document, indent=1) + "\n")
    say(f"written to {target}")


def _checkpoint(run: Path) -> Path:
    return run / "checkpoint.pt"


def _text(precision: str, judgement: Judgement, *, smoothing: str) -> str:
    rows = [f"\n{precision}, test subjects"]
    for name, figures in (
        ("single windows", judgement.windows),
        (smoothing, judgement.smoothed),
    ):
        rows.append(
            f"{name:>34}: accuracy {figures.accuracy:.4f}, macro-F1 {figures.macro_f1:.4f}, "
            f"ECE {figures.ece:.4f}, {figures.windows} windows"
        )
    rows.append(f"would be unknown: {judgement.unknown:.4f}")
    return "\n".join([*rows, table(judgement.smoothed)])
