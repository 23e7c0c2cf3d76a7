"""``vskd-train``: train, export and evaluate one experiment."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from training import experiment as experiments
from training import trial_commands, trial_experiment
from training.card import smoothing_of
from training.compare import Entry, compare
from training.evaluate import Judgement, judge, predict, table
from training.experiment import Experiment
from training.export import PRECISIONS, bundle_path, export, material
from training.fit import fit, restore
from training.report import report
from training.student import Student, Supervised, parameters
from training.teachers import run as teachers
from training.tensorboard import drawing
from training.trial_run import write
from training.windows import RandomWindows, cut
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.errors import VskdError
from vskd_stream.image import encode_batch

_WATCHED_WINDOWS = 1500
_WATCHED_BATCH = 64
_OF_TRIALS = frozenset({"distill", "compare", "report"})
_TOOLS = ("vskd-stream", "torch", "onnx", "onnxruntime", "numpy", "numba")


def make_task(experiment: Experiment) -> Supervised:
    """The experiment's task with fresh weights, a function of the seed alone."""
    torch.manual_seed(experiment.seed)
    student = Student(
        channels=experiment.image.channels,
        classes=len(experiment.labels),
        width=experiment.student.width,
        features=experiment.student.features,
    )
    return Supervised(student, label_smoothing=experiment.fit.label_smoothing)


def train_command(experiment: Experiment, *, data: Path, run: Path) -> None:
    """Teach the experiment's student; ``run`` keeps the checkpoint."""
    recordings = experiment.recordings(data)
    supply = RandomWindows(
        experiment.split.select(recordings, "train"),
        signal=experiment.signal,
        image=experiment.image,
        augmentation=experiment.augmentation,
        seed=experiment.seed,
    )
    stretches = cut(experiment.split.select(recordings, "validation"), experiment.signal)
    windows = np.concatenate([stretch.windows for stretch in stretches])
    labels = np.concatenate([np.full(len(stretch.windows), stretch.label) for stretch in stretches])
    watched = slice(None, None, max(1, len(windows) // _WATCHED_WINDOWS))
    images = torch.from_numpy(encode_batch(np.ascontiguousarray(windows[watched]), spec=experiment.image))
    task = make_task(experiment)

    def watch() -> str:
        # For the reader of the log only: the last epoch is taken, whatever this says.
        task.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            parts = torch.split(images, _WATCHED_BATCH)
            answers = torch.cat([task.student(part).argmax(1) for part in parts]).numpy()
        return f"  validation {np.mean(answers == labels[watched]):.4f}"

    fit(
        task,
        batches=lambda epoch: supply.epoch(
            epoch, batches=experiment.fit.batches, batch_size=experiment.fit.batch_size
        ),
        settings=experiment.fit,
        seed=experiment.seed,
        checkpoint=_checkpoint(run),
        identity=experiment.identity,
        say=_say,
        after_epoch=watch,
    )


def export_command(experiment: Experiment, *, data: Path, run: Path) -> None:
    """Turn the learned student into bundles beside its checkpoint."""
    task = make_task(experiment)
    restore(
        task,
        checkpoint=_checkpoint(run),
        identity=experiment.identity,
        epochs=experiment.fit.epochs,
    )
    torch.set_num_threads(experiment.fit.threads)
    export(experiment, task.student, material(experiment, experiment.recordings(data)), run=run, say=_say)


def evaluate_command(experiment: Experiment, *, data: Path, run: Path, results: Path) -> None:
    """Judge both bundles on the test subjects through the serving path; write a file of figures."""
    stretches = cut(experiment.split.select(experiment.recordings(data), "test"), experiment.signal)
    judged = {}
    for precision in PRECISIONS:
        path = bundle_path(experiment, precision, run=run)
        bundle = load(path)
        classifier = Classifier(bundle, threads=experiment.fit.threads)
        judgement = judge(
            predict(classifier.classify, stretches),
            labels=bundle.manifest.labels,
            decision=bundle.manifest.decision,
            hop_s=experiment.signal.hop_s,
        )
        _say(_text(precision, judgement, smoothing=smoothing_of(experiment.decisions)))
        judged[precision] = {
            "bundle_sha256": bundle.sha256,
            "bundle_bytes": path.stat().st_size,
            "temperature": bundle.manifest.temperature,
            "unknown_below": bundle.manifest.decision.unknown_below,
            "test": asdict(judgement),
        }
    document = {
        "experiment": experiment.model_dump(mode="json"),
        "identity": experiment.identity,
        "commands": [
            f"vskd-train {command} --config configs/train/{experiment.name}.yaml --data DIR"
            for command in ("train", "export", "evaluate")
        ],
        "seed": experiment.seed,
        "parameters": parameters(make_task(experiment).student),
        "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in _TOOLS},
        "processor": platform.machine(),
        "bundles": judged,
    }
    results.mkdir(parents=True, exist_ok=True)
    target = results / f"{experiment.name}.json"
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _say(f"written to {target}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is one sentence on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except VskdError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "teacher":
        places = {"data": options.data, "runs": options.runs, "results": options.results}
        _say(f"written to {teachers.command(options.config, seeds=options.seeds, say=_say, **places)}")
        return
    if options.command in _OF_TRIALS or trial_experiment.is_one(options.config):
        _run_trials(options)
        return
    experiment = experiments.load(options.config)
    run = options.runs / experiment.name
    if options.command == "train":
        train_command(experiment, data=options.data, run=run)
    elif options.command == "export":
        export_command(experiment, data=options.data, run=run)
    else:
        evaluate_command(experiment, data=options.data, run=run, results=options.results)


def _run_trials(options: argparse.Namespace) -> None:
    if options.command == "compare":
        target = compare(
            options.config,
            [Entry.parse(text) for text in options.methods.split(",")],
            seeds=options.seeds,
            data=options.data,
            runs=options.runs,
            results=options.results,
            say=_say,
        )
        _say(f"written to {target}")
        return
    experiment = trial_experiment.load(options.config, variant=options.variant)
    places = {"data": options.data, "runs": options.runs}
    if options.command in {"train", "distill"}:
        trial_commands.teach_first(experiment, beside=options.config.parent, **places, say=_say)
        with drawing(options.runs / experiment.name, wanted=options.tensorboard) as draw:
            trial_commands.distill(experiment, **places, say=_say, draw=draw)
        for step in experiment.then:
            if step == "export":
                trial_commands.export_bundles(experiment, **places, say=_say)
            elif step == "evaluate":
                trial_commands.evaluate(experiment, **places, results=options.results, say=_say)
            else:
                trial_commands.replay(experiment, **places, say=_say)
    elif options.command == "export":
        trial_commands.export_bundles(experiment, **places, say=_say)
    elif options.command == "evaluate":
        trial_commands.evaluate(experiment, **places, results=options.results, say=_say)
    else:
        page = report(experiment, table=options.results / f"{experiment.name}.json", **places)
        write(options.out, page)
        _say(f"written to {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vskd-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (
        ("train", "teach the student, or go on where its checkpoint stops"),
        ("export", "turn the learned student into an fp32 and an int8 bundle"),
        ("evaluate", "judge both bundles on the test subjects"),
        ("distill", "teach the student from labels and a teacher, or go on where its checkpoint stops"),
        (
            "teacher",
            "teach a teacher, or go on where its checkpoint stops, and keep what it says of every trial",
        ),
        ("report", "put a comparison's tables and plots into one HTML page"),
        ("compare", "run methods of distillation against each other, by several seeds"),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--config", type=Path, required=True, help="an experiment, configs/train/*.yaml")
        command.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
        command.add_argument("--runs", type=Path, default=Path("runs"), help="keeps checkpoints and bundles")
        if name not in {"compare", "teacher"}:
            command.add_argument("--variant", help="one of the variants in a file of whole trials")
        if name in {"train", "distill"}:
            command.add_argument("--tensorboard", action="store_true", help="log each epoch for TensorBoard")
        if name == "report":
            command.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
        if name == "compare":
            command.add_argument(
                "--methods", required=True, help="names, by commas; METHOD@VARIANT for a variant"
            )
            command.add_argument("--seeds", type=int, default=5, help="seeds 1 to this many")
        if name == "teacher":
            command.add_argument("--seeds", type=int, default=1, help="so many, from the file's seed on")
        if name in {"distill", "evaluate", "compare", "report", "teacher"}:
            command.add_argument(
                "--results", type=Path, default=Path("training/results"), help="where the figures go"
            )
    return parser


def _checkpoint(run: Path) -> Path:
    return run / "checkpoint.pt"


def _say(line: str) -> None:
    print(line, flush=True)


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


if __name__ == "__main__":
    sys.exit(main())
