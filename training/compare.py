"""Methods against each other: the same seeds, data and budget, the last epoch, and a paired test."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import trial_experiment, trial_run
from training.datasets import Trial
from training.datasets.trial_sets import TrialSet
from training.trial_run import write

_TOOLS = ("torch", "numpy", "numba")
BASE = "alone"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table: a method, perhaps in a variant of the experiment."""

    method: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Entry:
        """``method`` or ``method@variant``."""
        method, _, variant = text.partition("@")
        return cls(method, variant or None)

    def __str__(self) -> str:
        return self.method if self.variant is None else f"{self.method}@{self.variant}"


def compare(
    config: Path,
    entries: Sequence[Entry],
    *,
    seeds: int,
    data: Path,
    runs: Path,
    results: Path,
    say: Callable[[str], None],
) -> Path:
    """Run every entry with seeds 1 to ``seeds`` that has not been run yet; write the table after each run.

    Seeds go round outermost, so that a table that is cut short compares like with like.

    Raises:
        VskdError: A configuration, the data set or a teacher is not what it should be.
    """
    experiments = {entry: trial_experiment.load(config, variant=entry.variant) for entry in entries}
    variations = [
        (entry, experiments[entry].variation(method=entry.method, seed=seed))
        for seed in range(1, seeds + 1)
        for entry in entries
    ]
    trials: dict[tuple[TrialSet, bool], list[Trial]] = {}
    target = results / f"{next(iter(experiments.values())).name}.json"
    for entry, experiment in variations:
        run = runs / experiment.name / f"{entry}-{experiment.seed}"
        name = trial_run.identity(experiment, runs)
        if _done(run, name):
            continue
        kind = (experiment.dataset, experiment.virtual is not None)
        if kind not in trials:
            trials[kind] = experiment.trials(data)
        say(f"{entry}, seed {experiment.seed}")
        began = time.monotonic()
        task, curves = trial_run.learn(experiment, trials[kind], run=run, runs=runs, say=_quiet)
        outcome = trial_run.judge(experiment, task.student, trials[kind], seconds=time.monotonic() - began)
        teacher = trial_run.testimony(experiment, trials[kind], runs=runs)
        trial_run.record(run, experiment, outcome, curves, name=name, teacher=teacher)
        wrist = "" if outcome.wrist_accuracy is None else f"wrist {outcome.wrist_accuracy:.4f}, "
        say(
            f"  accuracy {outcome.figures.accuracy:.4f}, macro-F1 {outcome.figures.macro_f1:.4f}, "
            f"{wrist}{outcome.seconds:.0f} s"
        )
        summarise(target, runs=runs, name=experiment.name, config=config)
    summarise(target, runs=runs, name=next(iter(experiments.values())).name, config=config)
    return target


def _quiet(_line: str) -> None:
    """Epochs of a hundred runs are read in the report."""


def _done(run: Path, name: str) -> bool:
    try:
        found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found.get("identity") == name)


def summarise(target: Path, *, runs: Path, name: str, config: Path) -> None:
    """Write the table of every run of the experiment ``name`` that is there."""
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((runs / name).glob("*/metrics.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        entry, _, _ = path.parent.name.rpartition("-")
        rows.setdefault(entry, {})[found["seed"]] = found
    table = {entry: _row(entry, found, rows) for entry, found in rows.items()}
    document = {
        "experiment": name,
        "command": f"vskd-train compare --config {config} --data DIR --methods {','.join(table)} "
        f"--seeds {max((max(found) for found in rows.values()), default=0)}",
        "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in _TOOLS},
        "methods": table,
    }
    write(target, json.dumps(document, indent=1) + "\n")


def _row(
    entry: str, found: dict[int, dict[str, Any]], rows: dict[str, dict[int, dict[str, Any]]]
) -> dict[str, Any]:
    seeds = sorted(found)
    row: dict[str, Any] = {"seeds": seeds}
    # One, unless it was taught anew between two seeds, which the table then shows.
    taught_by = [found[seed]["teacher"] for seed in seeds if found[seed].get("teacher")]
    if taught_by:
        row["teachers"] = [one for i, one in enumerate(taught_by) if one not in taught_by[:i]]
    for figure in ("accuracy", "macro_f1", "wrist_accuracy"):
        values = [{**found[seed]["test"], **found[seed]}[figure] for seed in seeds]
        if None in values:
            continue
        row[figure] = {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "each": values,
        }
    for base, runs in rows.items():
        if base == entry or Entry.parse(base).method != BASE or any(r.get("virtual") for r in runs.values()):
            continue
        if shared := [s for s in seeds if s in runs and runs[s]["budget"] == found[s]["budget"]]:
            ours, theirs = ([_right(side[s]) for s in shared] for side in (found, runs))
            row["against_alone"] = {"seeds": shared, **paired(ours, theirs)}
            break
    return row


def _right(run: dict[str, Any]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = np.array(run["answers"]) == np.array(run["truth"])
    return right


def paired(ours: Sequence[NDArray[np.bool_]], theirs: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    """Two methods on the same trials, seed by seed.

    Args:
        ours: (t,) per seed, whether each trial was told rightly.
        theirs: The other method's, of the same seeds.

    Returns:
        "difference" of mean accuracies; "won" and "lost" trials over all seeds; "p": two-sided exact sign
        test over trials, each counted once by the sign of its difference summed over seeds, for a trial's
        answers under several seeds are not independent.
    """
    difference = np.sum([a.astype(int) - b.astype(int) for a, b in zip(ours, theirs, strict=True)], axis=0)
    won, lost = int((difference > 0).sum()), int((difference < 0).sum())
    count, tail = won + lost, min(won, lost)
    p = min(1.0, 2.0 * sum(math.comb(count, k) for k in range(tail + 1)) / 2**count)
    return {
        "difference": float(difference.mean() / len(ours)),
        "won": won,
        "lost": lost,
        "p": p,
    }
