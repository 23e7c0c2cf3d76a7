"""Whole days through the daemon's own pipeline: recordings stitched into what a gateway receives, and judged.

A day is one person's recorded activities in pieces of random order, with pauses in which the watch is
silent, and one stretch in which it lies on a table. GeoTec's executions are played as they were recorded;
about what no label stands for nothing is demanded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import taxonomy
from training.collection import SeveralSets
from training.datasets import Recording, geotec
from training.experiment import Experiment
from training.judging.told import Judgement, judge
from vskd_stream.bundle import Bundle, load
from vskd_stream.classify import Classifier
from vskd_stream.events import ActivityEvent
from vskd_stream.manifest import NOT_WORN
from vskd_stream.pipeline import Pipeline
from vskd_stream.samples import Samples

PIECES_S = (30.0, 180.0)
"""Shortest and longest piece of an activity; what is left of a recording may be shorter."""
PAUSES_S = (20.0, 120.0)
PAUSE_SHARE = 0.2
"""After so many of the pieces the watch is silent for a while."""
TABLE_SHARE = 1.25
"""The watch lies on a table for so many times what the model needs to say so."""
TABLE_NOISE_G = 0.003
REORDER_S = 2.0
NO_DATA_AFTER_S = 10.0

_BATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Truth:
    """What someone did from one moment to another; a label's or state's name, None where nobody can say."""

    start_s: float
    end_s: float
    label: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """What a watch sends, and what is true."""

    subject: str
    t_s: NDArray[np.float64]
    acc_g: NDArray[np.float32]
    sampling_rate_hz: float
    truth: tuple[Truth, ...]
    """In order, none overlapping another; between them the watch was silent."""


def stitched(
    recordings: Sequence[Recording], labels: Sequence[str], *, table_s: float, seed: int
) -> list[Day]:
    """A day of each person and rate, a function of the seed; labels do not repeat if they need not."""
    days: list[Day] = []
    for key in sorted({(each.subject, each.sampling_rate_hz) for each in recordings}):
        chosen = [each for each in recordings if (each.subject, each.sampling_rate_hz) == key]
        rng = np.random.default_rng([seed, len(days)])
        days.append(_day(*key, _shuffled(_pieces(chosen, rng), rng), labels, table_s=table_s, rng=rng))
    return days


def executions(place: Path, subjects: Sequence[str], learned: Sequence[str]) -> list[Day]:
    """GeoTec's people as they were recorded, labels merged; what no label stands for, nobody can say."""
    found = []
    for subject in sorted(subjects):
        played = geotec.executions(place, only={subject})
        start_ms = int(played[0].t_ms[0])
        t_s = np.concatenate([geotec.spread_ms(each.t_ms - start_ms) / 1e3 for each in played])
        acc_g = np.concatenate([each.acc_g for each in played])
        truth: list[Truth] = []
        for execution in played:
            stamps_s = geotec.spread_ms(execution.t_ms - start_ms) / 1e3
            for start, end, label in geotec.segments(execution):
                name = taxonomy.MEANING["geotec"][geotec.LABELS[label]]
                _append(
                    truth, float(stamps_s[start]), float(stamps_s[end - 1]), name if name in learned else None
                )
        order = np.flatnonzero(np.diff(t_s, prepend=-1.0) > 0.0)
        found.append(
            Day(f"geotec/{subject}", t_s[order], acc_g[order], geotec.SAMPLING_RATE_HZ, tuple(truth))
        )
    return found


def play(day: Day, bundle: Bundle, classifier: Classifier) -> list[ActivityEvent]:
    """Every event of a day, as the daemon would tell it; nothing is left open."""
    pipeline = Pipeline(
        "wrist",
        manifest=bundle.manifest,
        bundle_sha256=bundle.sha256,
        reorder_horizon_s=REORDER_S,
        no_data_after_s=NO_DATA_AFTER_S,
    )
    events: list[ActivityEvent] = []
    step = max(1, round(_BATCH_S * day.sampling_rate_hz))
    # A batch ends where the watch falls silent, as one that is sent does.
    silences = np.flatnonzero(np.diff(day.t_s) > 1.0) + 1
    starts = np.unique(np.concatenate([np.arange(0, len(day.t_s), step), silences]))
    for start, end in zip(starts, [*starts[1:], len(day.t_s)], strict=True):
        arrival_s = float(day.t_s[end - 1])
        events += pipeline.complete(pipeline.tick(arrival_s), classify=classifier.classify)
        samples = Samples("wrist", day.t_s[start:end], day.acc_g[start:end], day.sampling_rate_hz)
        events += pipeline.push(samples, arrival_s=arrival_s, classify=classifier.classify)
    return events + pipeline.stop()


def evaluate(
    experiment: Experiment,
    bundles: Mapping[str, Path],
    *,
    data: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Figures of each bundle on the test subjects' days, and on GeoTec's executions where they are tested."""
    chosen = experiment.split.select(experiment.recordings(data), "test")
    kinds = _days(experiment, chosen, data)
    found: dict[str, Any] = {}
    for precision, path in bundles.items():
        bundle = load(path)
        classifier = Classifier(bundle, threads=experiment.fit.threads)
        found[precision] = {"bundle_sha256": bundle.sha256}
        for kind, days in kinds.items():
            told = []
            for number, day in enumerate(days, start=1):
                told.append(play(day, bundle, classifier))
                hours = sum(each.end_s - each.start_s for each in day.truth) / 3600.0
                say(f"{precision}, {kind}: {day.subject}, {hours:.1f} h ({number} of {len(days)})")
            judgement = judge(
                [day.truth for day in days],
                told,
                labels=bundle.manifest.labels,
                coarse=bundle.manifest.decision.coarse,
            )
            say(_line(judgement))
            found[precision][kind] = {name: _sayable(value) for name, value in asdict(judgement).items()}
    return {
        "command": f"vskd-train evaluate --stream --config configs/train/{experiment.name}.yaml --data DIR",
        "window_s": experiment.signal.window_s,
        "pieces_s": PIECES_S,
        "pauses_s": PAUSES_S,
        "bundles": found,
    }


def _sayable(figure: Any) -> Any:
    """A figure for JSON, which has no nan: what there was nothing of, nobody can say."""
    if isinstance(figure, tuple):
        return [_sayable(each) for each in figure]
    return None if math.isnan(figure) else figure


def _days(experiment: Experiment, chosen: Sequence[Recording], data: Path) -> dict[str, list[Day]]:
    still = experiment.decisions.not_worn
    table_s = TABLE_SHARE * still.for_s if still else 0.0
    walkers = [each.removeprefix("geotec/") for each in experiment.split.test if each.startswith("geotec/")]
    others = [each for each in chosen if each.dataset != "geotec"]
    kinds = {}
    if others:
        kinds["stitched days"] = stitched(others, experiment.labels, table_s=table_s, seed=experiment.seed)
    if walkers and isinstance(experiment.dataset, SeveralSets):
        file = next(each.file for each in experiment.dataset.sets if each.kind == "geotec")
        kinds["GeoTec executions"] = executions(data / file, walkers, experiment.labels)
    return kinds


def _pieces(recordings: Sequence[Recording], rng: np.random.Generator) -> list[Recording]:
    pieces = []
    for recording in recordings:
        start = 0
        while start < len(recording.t_s):
            length_s = rng.uniform(*PIECES_S)
            end = int(np.searchsorted(recording.t_s, recording.t_s[start] + length_s))
            if recording.t_s[min(end, len(recording.t_s)) - 1] - recording.t_s[start] >= PIECES_S[0] / 2:
                pieces.append(
                    Recording(
                        recording.subject,
                        recording.label,
                        recording.t_s[start:end],
                        recording.acc_g[start:end],
                        recording.sampling_rate_hz,
                    )
                )
            start = end
    return pieces


def _shuffled(pieces: Sequence[Recording], rng: np.random.Generator) -> list[Recording]:
    left = [pieces[i] for i in rng.permutation(len(pieces))]
    ordered: list[Recording] = []
    while left:
        last = ordered[-1].label if ordered else None
        ordered.append(left.pop(next((i for i, each in enumerate(left) if each.label != last), 0)))
    return ordered


def _day(
    subject: str,
    rate_hz: float,
    pieces: Sequence[Recording],
    labels: Sequence[str],
    *,
    table_s: float,
    rng: np.random.Generator,
) -> Day:
    now_s = 0.0
    times: list[NDArray[np.float64]] = []
    values: list[NDArray[np.float32]] = []
    truth: list[Truth] = []

    def add(t_s: NDArray[np.float64], acc_g: NDArray[np.float32], label: str) -> None:
        nonlocal now_s
        times.append(now_s + t_s - t_s[0])
        values.append(acc_g)
        end_s = float(times[-1][-1])
        _append(truth, now_s, end_s, label)
        now_s = end_s + 1.0 / rate_hz

    table_after = int(rng.integers(len(pieces))) if table_s > 0.0 else -1
    for number, piece in enumerate(pieces):
        add(piece.t_s, piece.acc_g, labels[piece.label])
        if number == table_after:
            count = round(table_s * rate_hz)
            lying = np.array([0.0, 0.0, 1.0]) + TABLE_NOISE_G * rng.standard_normal((count, 3))
            add(np.arange(count) / rate_hz, lying.astype(np.float32), NOT_WORN)
        if rng.random() < PAUSE_SHARE:
            now_s += rng.uniform(*PAUSES_S)
    return Day(subject, np.concatenate(times), np.concatenate(values), rate_hz, tuple(truth))


def _append(truth: list[Truth], start_s: float, end_s: float, label: str | None) -> None:
    """Add what comes next, as one with what is before if that is the same and goes on."""
    if truth and truth[-1].label == label and start_s - truth[-1].end_s < 1.0:
        truth[-1] = Truth(truth[-1].start_s, end_s, label)
    else:
        truth.append(Truth(start_s, end_s, label))


def _line(found: Judgement) -> str:
    return (
        f"  segment F1 {found.f1:.3f} (coarse {found.coarse_f1:.3f}), found after {found.delay_s[0]:.1f} s "
        f"({found.delay_s[1]:.1f} s), {found.false_per_hour:.2f} false events an hour, unknown "
        f"{found.unknown:.1%} of {found.hours:.1f} h, not worn told {found.not_worn_told:.1%}"
    )
