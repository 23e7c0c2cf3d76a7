"""``vskd-train``: train, export and evaluate one experiment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training import experiment as experiments
from training import recording_commands, trial_commands, trial_experiment
from training.compare import Entry, compare
from training.report import report
from training.teachers import run as teachers
from training.tensorboard import drawing
from training.trial_run import write
from vskd_stream.errors import ConfigError, VskdError

_OF_TRIALS = frozenset({"distill", "compare", "report"})
_JUDGED = {
    None: recording_commands.evaluate,
    "stream": recording_commands.judge_days,
    "robustness": recording_commands.judge_robustness,
    "elsewhere": recording_commands.judge_elsewhere,
}
_WITH_RESULTS = frozenset({"distill", "evaluate", "compare", "report", "teacher", "folds", "unknown"})


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
    if options.command == "folds":
        only = tuple(filter(None, options.variants.split(",")))
        places = {"data": options.data, "runs": options.runs, "results": options.results}
        recording_commands.judge_folds(options.config, only=only, **places, say=_say)
    elif options.command in _OF_TRIALS or trial_experiment.is_one(options.config):
        _run_trials(options)
    else:
        _run_recordings(options)


def _run_recordings(options: argparse.Namespace) -> None:
    experiment = experiments.load(options.config)
    places = {"data": options.data, "run": options.runs / experiment.name}
    if options.command == "train":
        recording_commands.train(experiment, **places, runs=options.runs, say=_say)
    elif options.command == "export":
        recording_commands.export_bundles(experiment, **places, say=_say)
    else:
        judged = recording_commands.judge_unknown if options.command == "unknown" else _JUDGED[options.by]
        judged(experiment, **places, results=options.results, say=_say)


def _run_trials(options: argparse.Namespace) -> None:
    if options.command == "unknown" or getattr(options, "by", None):
        raise ConfigError(options.config, ["dataset: whole trials hold no streams; name a set of recordings"])
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
        ("folds", "train and judge a study's every fold, or go on where it stopped"),
        ("unknown", "see by which score the model tells what it never learned"),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--config", type=Path, required=True, help="an experiment, configs/train/*.yaml")
        command.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
        command.add_argument("--runs", type=Path, default=Path("runs"), help="keeps checkpoints and bundles")
        if name not in {"compare", "teacher", "folds", "unknown"}:
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
        if name == "evaluate":
            ways = command.add_mutually_exclusive_group()
            for way, what in (
                ("stream", "whole days through the daemon's own pipeline instead"),
                ("robustness", "what other watches and other wrists cost instead"),
                ("elsewhere", "people and a watch of a set that nobody learned from instead"),
            ):
                ways.add_argument(f"--{way}", dest="by", action="store_const", const=way, help=what)
        if name == "folds":
            command.add_argument("--variants", default="", help="only these of the study's, by commas")
        if name in _WITH_RESULTS:
            command.add_argument(
                "--results", type=Path, default=Path("training/results"), help="where the figures go"
            )
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
