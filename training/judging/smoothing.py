"""How to smooth: ways to make events of scores, compared for flapping against delay and accuracy.

    python -m training.judging.smoothing --config configs/train/wrist-wisdm.yaml --data DIR --bundle wrist

Each way plays through the daemon's own decider; the ways that it does not know smooth the scores
beforehand. Parameters are chosen on the validation subjects, whose activities follow each other as they
were recorded (three minutes each) and in shuffled pieces of a minute: of all parameters that lose no
more than two points of accuracy against the best of any way, those with the fewest events. The test
subjects only judge.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from structlog.testing import capture_logs

from training import experiment as experiments
from training.datasets.splits import Side
from training.experiment import Experiment
from training.judging.behaviour import Behaviour, behaviour
from training.judging.streams import Stream, score, stitch
from training.judging.ways import Way, ways
from training.shipping.calibrate import unknown_below
from vskd_stream import recording
from vskd_stream.bundle import Bundle, load, resolve
from vskd_stream.classify import Classifier
from vskd_stream.errors import VskdError
from vskd_stream.events import Decider
from vskd_stream.manifest import NO_DATA, STATES, UNKNOWN, Decision, Manifest
from vskd_stream.scores import Scores
from vskd_stream.settings import Settings
from vskd_stream.tally import Tally
from vskd_stream.tools.offline import play
from vskd_stream.votes import Voter

_PROGRAM = "training.judging.smoothing"
MAX_LOSS = 0.02
"""Of accuracy, against the best there is, for fewer events."""
UNKNOWN_AFTER_S = 20.0
PIECES_S = (60.0, 30.0)
"""Lengths of shuffled pieces; the first ones choose as well."""


class Study:
    """A bundle's scores on streams, and what each way makes of them."""

    def __init__(self, manifest: Manifest, *, unknown_share: float, validation: Sequence[Stream]) -> None:
        self._manifest = manifest
        self._share = unknown_share
        self._validation = validation

    def decided(self, way: Way) -> Decision:
        """A way's decision, with thresholds for it from the validation subjects."""
        labels = self._manifest.labels
        fields: dict[str, Any] = {
            "smoothing_windows": 1,
            "switch_after_s": 0.0,
            "update_every_s": 3600.0,
            "unknown_after_s": UNKNOWN_AFTER_S,
            "unknown_below": dict.fromkeys(labels, way.threshold or 0.0),
            **way.decision,
        }
        decision = Decision.model_validate(fields)
        if way.threshold is not None:
            return decision
        won, probabilities = self._votes(way, decision)
        thresholds = unknown_below(won, probabilities, labels, share=self._share)
        return decision.model_copy(update={"unknown_below": thresholds})

    def play(self, way: Way, decision: Decision, streams: Sequence[Stream]) -> Behaviour:
        """What comes of streams."""
        manifest = self._manifest.model_copy(update={"decision": decision})
        events = []
        for stream in streams:
            decider = Decider("wrist", manifest=manifest, bundle_sha256="0" * 64)
            rows = stream.probabilities if way.smooth is None else way.smooth(stream.probabilities)
            told = [
                event
                for end, row in zip(stream.ends.tolist(), rows, strict=True)
                for event in decider.push(Scores("wrist", end, row))
            ]
            events.append(told + decider.stop())
        return behaviour(streams, events, manifest)

    def _votes(self, way: Way, decision: Decision) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The validation subjects' votes in windows of one activity alone, segment by segment."""
        labels, rate_hz = self._manifest.labels, self._manifest.sampling_rate_hz
        won: list[int] = []
        probabilities: list[float] = []
        for stream in self._validation:
            for start, end, _ in stream.segments:
                begins = stream.ends - self._manifest.window_samples
                rows = stream.probabilities[(begins >= start) & (stream.ends <= end)]
                voter = Voter(
                    decision,
                    labels=labels,
                    sampling_rate_hz=rate_hz,
                    window_samples=self._manifest.window_samples,
                )
                for i, row in enumerate(rows if way.smooth is None else way.smooth(rows)):
                    vote = voter.push(row.tolist(), centre=i * self._manifest.hop_samples)
                    if vote.label != UNKNOWN:
                        won.append(labels.index(vote.label))
                        probabilities.append(vote.probability)
        return np.array(won, np.int64), np.array(probabilities)


def choose(tried: Sequence[tuple[Way, Behaviour]]) -> dict[str, tuple[Way, Behaviour]]:
    """Of each way, the parameters with the fewest events among the accurate ones, or the most accurate."""
    best = max(behaviour.accuracy for _, behaviour in tried)
    chosen = {}
    for name in dict.fromkeys(way.name for way, _ in tried):
        of_way = [each for each in tried if each[0].name == name]
        good = [each for each in of_way if each[1].accuracy >= best - MAX_LOSS]
        chosen[name] = (
            min(good, key=lambda each: each[1].events_per_segment)
            if good
            else max(of_way, key=lambda each: each[1].accuracy)
        )
    return chosen


def played_demo(bundle: Bundle, classifier: Classifier, decision: Decision) -> dict[str, int]:
    """How many activities start in the shipped recording, and how many there truly are in it."""
    changed = replace(bundle, manifest=bundle.manifest.model_copy(update={"decision": decision}))
    settings = Settings.model_validate(
        {"gateway": "study", "broker": "embedded", "sources": [{"topic": "imu/+/samples"}]}
    )
    place = recording.resolve("demo")
    messages = recording.read(place)
    # What the daemon logs has no reader here.
    with capture_logs():
        published = list(
            play(messages, settings=settings, bundle=changed, classifier=classifier, tally=Tally())
        )
    events = [json.loads(each.payload) for _, told in published for each in told]
    starts = [event["label"] for event in events if event.get("event_type") == "start"]
    truth = json.loads(place.with_suffix(".labels.json").read_text(encoding="utf-8"))
    return {
        "segments": len(truth["segments"]),
        "activities": sum(label not in STATES for label in starts),
        "unknown": starts.count(UNKNOWN),
        "no_data": starts.count(NO_DATA),
    }


def study(experiment: Experiment, *, data: Path, bundle: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Compare all ways; what is found, ready for JSON."""
    loaded = load(bundle)
    classifier = Classifier(loaded, threads=experiment.fit.threads)
    recordings = experiment.recordings(data)
    signal = experiment.signal

    def streams(side: Side, piece_s: float | None) -> list[Stream]:
        chosen = experiment.split.select(recordings, side)
        stitched = stitch(chosen, signal, piece_s=piece_s, seed=experiment.seed)
        return score(stitched, classifier.classify, signal)

    validation = [*streams("validation", None), *streams("validation", PIECES_S[0])]
    judged = {"as recorded": streams("test", None)}
    judged |= {f"pieces of {piece_s:g} s": streams("test", piece_s) for piece_s in PIECES_S}
    comparison = Study(
        loaded.manifest, unknown_share=experiment.decisions.unknown_share, validation=validation
    )
    tried = []
    for way in ways(signal.hop_s):
        tried.append((way, comparison.play(way, comparison.decided(way), validation)))
        say(_line(*tried[-1]))
    say("\nchosen on the validation subjects; on the test subjects:")
    chosen = {}
    for name, (way, on_validation) in choose(tried).items():
        decision = comparison.decided(way)
        on_test = {kind: comparison.play(way, decision, each) for kind, each in judged.items()}
        chosen[name] = {
            "parameters": way.parameters,
            "unknown_below": decision.unknown_below,
            "validation": asdict(on_validation),
            "test": {kind: asdict(each) for kind, each in on_test.items()},
        }
        if way.smooth is None:
            chosen[name]["shipped recording"] = played_demo(loaded, classifier, decision)
            say(f"demo: {chosen[name]['shipped recording']}")
        for kind, each in on_test.items():
            say(f"{kind}: {_line(way, each)}")
    return {
        "command": f"python -m {_PROGRAM} --config configs/train/{experiment.name}.yaml --data DIR",
        "bundle_sha256": loaded.sha256,
        "max_loss": MAX_LOSS,
        "unknown_after_s": UNKNOWN_AFTER_S,
        "chosen": chosen,
        "tried": [
            {"way": way.name, **way.parameters, **{name: asdict(each)[name] for name in _BRIEF}}
            for way, each in tried
        ],
    }


_BRIEF = ("events_per_segment", "accuracy", "found", "delay_s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; 0, or 1 and one sentence on standard error."""
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="Compare ways to smooth scores.")
    parser.add_argument("--config", type=Path, required=True, help="the bundle's experiment")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--bundle", default="wrist", help="a shipped bundle's name, or a path")
    parser.add_argument("--out", type=Path, default=Path("training/results/smoothing.json"))
    options = parser.parse_args(arguments)
    try:
        experiment = experiments.load(options.config)
        found = study(experiment, data=options.data, bundle=resolve(options.bundle), say=print)
    except VskdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _line(way: Way, found: Behaviour) -> str:
    parameters = ", ".join(f"{name} {value:g}" for name, value in way.parameters.items())
    return (
        f"{way.name} ({parameters}): {found.events_per_segment:.2f} events per segment, accuracy"
        f" {found.accuracy:.3f} ({found.hindsight_accuracy:.3f} in hindsight), {found.found:.0%} found after"
        f" {found.delay_s[0]:.1f} s ({found.delay_s[1]:.1f} s), start off by {found.start_error_s[0]:.1f} s"
        f" ({found.start_error_s[1]:.1f} s), ECE {found.calibration_error:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
