"""What ``vskd-train`` does with an experiment on whole trials."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from training import trial_run
from training.fit import Curve
from training.judging.bundles import judged_bundles
from training.shipping.export import PRECISIONS, ExportError, Material, bundle_path, export
from training.student import Student
from training.teachers import experiment as teachers
from training.teachers.run import teach
from training.teaching import TeacherError
from training.trial_experiment import TrialExperiment
from training.trials import as_windows, stretches
from vskd_stream import cli as vskd
from vskd_stream.recording import Header, Message, write

Say = Callable[[str], None]

_SAME_RATE = 1.1  # what a clock and a measured mean may be apart


def distill(
    experiment: TrialExperiment,
    *,
    data: Path,
    runs: Path,
    say: Say,
    draw: Callable[[int, Curve], None] = lambda _epoch, _curve: None,
) -> None:
    """Teach the experiment's student with its method; the run's folder keeps what came of it."""
    trials = experiment.trials(data)
    run = runs / experiment.name
    began = time.monotonic()
    task, curves = trial_run.learn(experiment, trials, run=run, runs=runs, say=say, draw=draw)
    outcome = trial_run.judge(experiment, task.student, trials, seconds=time.monotonic() - began)
    trial_run.record(
        run,
        experiment,
        outcome,
        curves,
        name=trial_run.identity(experiment, runs),
        teacher=trial_run.testimony(experiment, trials, runs=runs),
    )
    figures = outcome.figures
    say(f"test, {figures.windows} trials: accuracy {figures.accuracy:.4f}, macro-F1 {figures.macro_f1:.4f}")


def teach_first(experiment: TrialExperiment, *, beside: Path, data: Path, runs: Path, say: Say) -> None:
    """Train the experiment's teacher if its answers are not there and its file is named."""
    choice = experiment.teacher
    if choice is None or choice.config is None or trial_run.outputs(experiment, runs).exists():
        return
    teacher = teachers.load(beside / choice.config)
    if teacher.name != choice.run:
        raise TeacherError(beside / choice.config, f"its name is {teacher.name}, not {choice.run}")
    say(f"teacher {teacher.name}")
    teach(teacher, data=data, runs=runs, say=say)


def replay(experiment: TrialExperiment, *, data: Path, runs: Path, say: Say) -> None:
    """Play the trials that judge, one after another, through the daemon's path: its events go to stdout."""
    run = runs / experiment.name
    recording = run / "test.vskdrec"
    test = experiment.split.select(experiment.trials(data), "test")
    rates_hz = [trial.rate_hz for trial in test]
    if max(rates_hz) > _SAME_RATE * min(rates_hz):
        raise ExportError(
            f"one device sends at one rate, and these trials have {min(rates_hz):g} to {max(rates_hz):g} Hz"
        )
    rate_hz = float(np.median(rates_hz))
    sources = experiment.sources.values()
    header = Header(
        created=datetime.fromtimestamp(0, UTC),
        tool="vskd-train",
        attribution=" ".join(source.attribution for source in sources),
        licence=", ".join(source.licence for source in sources),
        notes="Trials of one action each, one after another: where two meet nobody moved so.",
    )
    acc_g = np.concatenate([trial.acc_g for trial in test])
    recording.unlink(missing_ok=True)
    write(recording, header, _messages(acc_g, rate_hz=rate_hz))
    for precision in PRECISIONS:
        say(f"replay of {len(acc_g) / rate_hz:.0f} s, {precision}")
        bundle = bundle_path(experiment, precision, run=run)
        code = vskd.main(["replay", str(recording), "--bundle", str(bundle)])
        if code:
            raise ExportError(f"vskd replay refused the bundle {bundle} (exit code {code})")


def _messages(acc_g: NDArray[np.float32], *, rate_hz: float) -> Iterator[Message]:
    """Half a second each, in the native format, arriving with its last sample."""
    batch = round(rate_hz / 2)
    for sequence, first in enumerate(range(0, len(acc_g), batch)):
        part = acc_g[first : first + batch]
        payload = {
            "schema": 1,
            "sequence": sequence,
            "sampling_rate_hz": rate_hz,
            "first_tick": first,
            "tick_rate_hz": rate_hz,
            "unit": "mg",
            "acc": np.rint(part * 1e3).astype(int).tolist(),
        }
        yield Message((first + len(part)) / rate_hz, "imu/test/samples", msgspec.msgpack.encode(payload))


def export_bundles(experiment: TrialExperiment, *, data: Path, runs: Path, say: Say) -> None:
    """Turn the learned student into bundles beside its checkpoint."""
    if not experiment.split.validation:
        raise ExportError(
            "split.validation is empty: name a part of the training side, for temperature and thresholds "
            "must not be chosen by those who judge; then run vskd-train distill again"
        )
    trials = experiment.trials(data)
    run = runs / experiment.name
    task = trial_run.finished(experiment, trials, run=run, runs=runs)
    torch.set_num_threads(experiment.fit.threads)
    learned, chosen, test = (
        experiment.split.select(trials, side) for side in ("train", "validation", "test")
    )
    samples = experiment.signal.window_samples
    # Every so manyth: the trials stand by label, and each label has to be among them.
    step = max(1, len(learned) // experiment.export.calibration_windows)
    found = Material(
        learned=tuple(sorted({trial.subject for trial in learned})),
        calibration=as_windows(learned[::step], samples),
        validation=stretches(chosen, experiment.labels, samples),
        test=stretches(test, experiment.labels, samples),
    )
    if not isinstance(task.student, Student):
        raise ExportError("a network that reads no image serves nobody: it can only assist")
    export(experiment, task.student, found, run=run, say=say)


def evaluate(experiment: TrialExperiment, *, data: Path, runs: Path, results: Path, say: Say) -> None:
    """Judge both bundles on the test trials through the serving path; write a file of figures."""
    test = experiment.split.select(experiment.trials(data), "test")
    parts = stretches(test, experiment.labels, experiment.signal.window_samples)
    judged = {}
    for precision, _, judgement, identity in judged_bundles(experiment, parts, run=runs / experiment.name):
        windows = judgement.windows
        say(
            f"{precision}: accuracy {windows.accuracy:.4f}, macro-F1 {windows.macro_f1:.4f}, "
            f"ECE {windows.ece:.4f}"
        )
        judged[precision] = identity | {"test": asdict(windows), "subjects": judgement.subjects}
    document = {"experiment": experiment.model_dump(mode="json"), "bundles": judged}
    target = results / f"{experiment.name}-bundles.json"
    trial_run.write(target, json.dumps(document, indent=1) + "\n")
    say(f"written to {target}")
