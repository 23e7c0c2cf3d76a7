"""``vskd-train teacher``: teaches a teacher, and keeps what it says of every trial."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.fit import fit
from training.teachers import Seen
from training.teachers.answers import Answers, judged, replace, write_config
from training.teachers.experiment import TeacherExperiment, load
from training.teachers.fusion import fuse
from training.teachers.kinds import FusionChoice
from training.teachers.supply import Supply, TeacherTask, make_task

_BATCH = 16
_TOOLS = ("vskd-stream", "torch", "numpy")


def command(
    config: Path, *, seeds: int, data: Path, runs: Path, results: Path, say: Callable[[str], None]
) -> Path:
    """Teach the file's teacher with ``seeds`` seeds in a row; the table of all of them is returned.

    Raises:
        VskdError: The file, the data set, a checkpoint or another teacher's answers are not what they should
            be.
    """
    first = load(config)
    found = []
    for seed in range(first.seed, first.seed + seeds):
        experiment = load(config, seed=seed)
        document = teach(experiment, data=data, runs=runs, say=say)
        test = document["sides"]["test"]
        say(f"{experiment.name}, test side: accuracy {test['accuracy']:.4f}, macro-F1 {test['macro_f1']:.4f}")
        found.append(document)
    table: dict[str, Any] = {
        "experiment": first.model_dump(mode="json"),
        "command": f"vskd-train teacher --config configs/train/{config.name} --data DIR --seeds {seeds}",
        "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in _TOOLS},
        "processor": platform.machine(),
    }
    for name in ("accuracy", "macro_f1"):
        values = [document["sides"]["test"][name] for document in found]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        table[f"test_{name}"] = {"mean": float(np.mean(values)), "deviation": spread, "seeds": len(values)}
    table["runs"] = [{k: v for k, v in document.items() if k != "curves"} for document in found]
    results.mkdir(parents=True, exist_ok=True)
    target = results / f"{first.name}.json"
    text = json.dumps(table, indent=1) + "\n"
    replace(target, lambda partial: partial.write_text(text, encoding="utf-8"))
    return target


def teach(
    experiment: TeacherExperiment, *, data: Path, runs: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Teach, or go on where the checkpoint stops.

    Leaves config.yaml, checkpoint.pt, outputs.npz and metrics.json in ``runs`` / the experiment's name; of a
    fusion no checkpoint.

    Returns:
        What metrics.json holds.
    """
    run = runs / experiment.name
    trials = experiment.trials(data)
    learned = experiment.split.select(trials, "train")
    experiment.split.select(trials, "test")  # refused before hours are spent
    if isinstance(experiment.teacher, FusionChoice):
        others = {runs / name: weight for name, weight in experiment.teacher.runs.items()}
        answers = fuse(others, [trial.key for trial in trials], classes=len(experiment.labels))
        write_config(experiment, run)
        answers.write(run / "outputs.npz")
        return judged(experiment, trials, answers, run=run, curves=[])
    write_config(experiment, run)
    settings = experiment.fit
    assert settings is not None  # only a fusion has none
    task = make_task(
        experiment.teacher,
        trials,
        classes=len(experiment.labels),
        label_smoothing=settings.label_smoothing,
        seed=experiment.seed,
    )
    supply = Supply(learned, experiment.teacher, labels=experiment.labels, seed=experiment.seed)
    curves = fit(
        task,
        batches=lambda epoch: supply.epoch(epoch, batches=settings.batches, batch_size=settings.batch_size),
        settings=settings,
        seed=experiment.seed,
        checkpoint=run / "checkpoint.pt",
        identity=experiment.identity,
        say=say,
    )
    everything = Supply(trials, experiment.teacher, labels=experiment.labels, seed=experiment.seed)
    starts = range(0, len(trials), _BATCH)
    parts = [_ask(task, everything.plain(range(at, min(at + _BATCH, len(trials))))) for at in starts]
    told = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    answers = Answers(np.array([trial.key for trial in trials]), told.pop("logits"), told.pop("features"))
    more: dict[str, NDArray[Any]] = dict(told)
    if views := experiment.teacher.views:
        rng = np.random.default_rng([experiment.seed, settings.epochs])
        which = np.arange(len(learned))
        drawn = [_ask(task, supply.drawn(which, rng)[0])["logits"] for _ in range(views)]
        more["view_keys"] = np.array([trial.key for trial in learned])
        more["view_logits"] = np.stack(drawn, axis=1)
    answers.write(run / "outputs.npz", **more)
    return judged(experiment, trials, answers, run=run, curves=curves)


def _ask(task: TeacherTask, clips: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    task.eval()
    with torch.inference_mode():
        seen: Seen = task.teacher(torch.from_numpy(clips))
    return {
        name: part.float().numpy() for name, part in zip(seen._fields, seen, strict=True) if part is not None
    }
