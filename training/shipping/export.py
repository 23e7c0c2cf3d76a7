"""Student → bundle, in float32 and int8; refused where the golden pair or the accuracy does not hold.

The validation subjects choose temperature and thresholds. The test subjects only fill in the card,
through the very path that serves: nothing here looks at them before everything is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.augment import Augmentation
from training.datasets import Recording
from training.experiment import Experiment, Exportable
from training.judging.evaluate import (
    Judgement,
    Predictions,
    coarse_level,
    judge,
    predict,
    running_means,
    vote,
)
from training.shipping.bundling import write_bundle
from training.shipping.calibrate import coarse_unknown_below, softmax, temperature, unknown_below
from training.shipping.card import write_card
from training.shipping.graph import INPUT, OUTPUT, TAP, float32_graph, int8_graph
from training.shipping.hanging import hanging, walked
from training.shipping.strangers import familiarity
from training.shipping.trim import trimmed
from training.student import Student
from training.windows import RandomWindows, Stretch, cut, labels_of
from vskd_stream import _ort
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.errors import VskdError
from vskd_stream.image import encode_batch
from vskd_stream.manifest import Dataset

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

_BATCH = 32
_CLEAR_MARGIN = 0.1
_TELLING_MARGIN = 0.5
_COARSE_ERRORS = 0.05
_AS_RECORDED = Augmentation(rotation_deg=0.0, scale=0.0, speed=0.0, noise_g=0.0)


class ExportError(VskdError):
    """A model that must not be shipped."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Where a bundle stands and what it reaches, through the serving path."""

    path: Path
    validation: Judgement
    test: Judgement


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a bundle is chosen and judged by."""

    learned: tuple[str, ...]
    """Subjects learned from."""
    calibration: NDArray[np.float32]
    """(c, 3, n) training windows, every label as often: the int8 ranges."""
    validation: Sequence[Stretch]
    test: Sequence[Stretch]
    familiar: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
    """(w, 3, n) training windows as recorded and their (w,) labels; None: the bundle knows no strangers."""
    hanging: tuple[float, float, float] | None = None
    """The manifest's; None: no watch is turned back."""


def material(experiment: Experiment, recordings: Sequence[Recording]) -> Material:
    """Sliding windows of recordings, as the experiment splits them."""
    supply = RandomWindows(
        experiment.split.select(recordings, "train"),
        signal=experiment.signal,
        image=experiment.image,
        augmentation=_AS_RECORDED,
        seed=experiment.seed,
        weights=experiment.dataset.weights,
    )
    rng = np.random.default_rng([experiment.seed, experiment.export.calibration_windows])
    calibration, _ = supply.draw(rng, experiment.export.calibration_windows)
    familiar = experiment.export.familiar_windows
    return Material(
        learned=experiment.split.train,
        calibration=calibration,
        validation=cut(experiment.split.select(recordings, "validation"), experiment.signal),
        test=cut(experiment.split.select(recordings, "test"), experiment.signal),
        familiar=None if familiar is None else supply.draw(rng, familiar),
        hanging=None
        if experiment.export.hanging is None
        else hanging(walked(experiment, recordings), experiment.signal),
    )


def bundle_path(experiment: Exportable, precision: Precision, *, run: Path) -> Path:
    """Where ``export`` puts a bundle."""
    return run / f"{experiment.name}-{precision}.onnx"


def export(
    experiment: Exportable,
    student: Student,
    found: Material,
    *,
    run: Path,
    say: Callable[[str], None] = print,
) -> dict[Precision, Exported]:
    """Write both bundles into ``run``.

    Raises:
        ExportError: int8 loses more validation accuracy than the experiment allows, or too few windows
            are told clearly enough for a golden pair. Nothing is left in ``run`` that was refused.
        BundleError: A bundle's golden pair does not come out.
    """
    run.mkdir(parents=True, exist_ok=True)
    student = trimmed(student, shape=experiment.image.shape)
    float32 = float32_graph(student, experiment.image, tap=found.familiar is not None)
    graphs: dict[Precision, bytes] = {
        "fp32": float32,
        "int8": int8_graph(
            float32,
            encode_batch(found.calibration, spec=experiment.image),
            averaged=experiment.export.calibration == "averaged",
        ),
    }
    exported: dict[Precision, Exported] = {}
    for precision in PRECISIONS:
        path = bundle_path(experiment, precision, run=run)
        exported[precision] = _export(
            experiment, student, graphs[precision], precision=precision, path=path, found=found
        )
        figures = exported[precision].validation.windows
        say(f"{path}: validation accuracy {figures.accuracy:.4f}, ECE {figures.ece:.4f}")
    loss = exported["fp32"].validation.windows.accuracy - exported["int8"].validation.windows.accuracy
    if loss > experiment.export.max_int8_loss:
        exported["int8"].path.unlink()
        raise ExportError(
            f"int8 loses {100 * loss:.2f} points of validation accuracy, more than the "
            f"{100 * experiment.export.max_int8_loss:.2f} that max_int8_loss allows; ship fp32"
        )
    return exported


def _export(
    experiment: Exportable,
    student: Student,
    graph: bytes,
    *,
    precision: Precision,
    path: Path,
    found: Material,
) -> Exported:
    threads, decisions = experiment.fit.threads, experiment.decisions
    session = _ort.open_session(graph, threads=threads)

    outputs = [OUTPUT] if found.familiar is None else [OUTPUT, TAP]

    def asked(windows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        batches = [
            session.run(outputs, {INPUT: encode_batch(windows[i : i + _BATCH], spec=experiment.image)})
            for i in range(0, len(windows), _BATCH)
        ]
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    logits, *tapped = zip(*(asked(stretch.windows) for stretch in found.validation), strict=True)
    divisor = temperature(np.concatenate(logits), labels_of(found.validation))
    told = [softmax(part / divisor) for part in logits]
    familiar = None
    if found.familiar is not None:
        (taps,), (learned, labels) = tapped, found.familiar
        familiar = familiarity(asked(learned)[1], labels, validation=np.concatenate(taps))
        told = [
            (part * familiar.known(tap)[:, np.newaxis]).astype(np.float32)
            for part, tap in zip(told, taps, strict=True)
        ]
    scaled = Predictions(found.validation, told)
    # A first time without thresholds, to find them.
    lenient = experiment.decision(dict.fromkeys(experiment.labels, 0.0))
    votes = vote(scaled, lenient, experiment.labels, signal=experiment.signal)
    won, probabilities = votes.labels[votes.sure], votes.probabilities[votes.sure]
    decision = experiment.decision(
        unknown_below(won, probabilities, experiment.labels, share=decisions.unknown_share)
    )
    if decisions.coarse_when_unknown:
        to, kinds = coarse_level(experiment.labels, experiment.coarse)
        sums, truth = running_means(
            scaled, to, windows=max(1, round(decision.unknown_after_s / experiment.signal.hop_s))
        )
        thresholds = coarse_unknown_below(sums, to[truth], kinds, errors=_COARSE_ERRORS)
        decision = decision.model_copy(update={"coarse_unknown_below": thresholds})
    goldens = golden_windows(scaled, experiment.export.golden_windows)

    def write(card: str) -> None:
        manifest = {
            "name": experiment.name,
            "labels": experiment.labels,
            **experiment.signal.model_dump(),
            "hanging": found.hanging,
            "image": experiment.image,
            "temperature": divisor,
            "decision": decision,
            "precision": precision,
            "golden_tolerance": experiment.export.golden_tolerance[precision],
            "trained_on": tuple(
                Dataset(
                    name=source.name,
                    licence=source.licence,
                    attribution=source.attribution,
                    subjects=tuple(
                        subject.removeprefix(prefix)
                        for subject in found.learned
                        if subject.startswith(prefix)
                    ),
                )
                for prefix, source in experiment.sources.items()
            ),
            "card": card,
        }
        write_bundle(path, graph, manifest=manifest, golden_windows=goldens, familiarity=familiar)

    def judged(stretches: Sequence[Stretch]) -> Judgement:
        classifier = Classifier(load(path), threads=threads)
        predictions = predict(classifier.classify, stretches)
        return judge(predictions, labels=experiment.labels, decision=decision, signal=experiment.signal)

    write("")
    on_validation, on_test = judged(found.validation), judged(found.test)
    write(
        write_card(
            experiment,
            student,
            precision=precision,
            test=on_test,
            learned=found.learned,
            chose=tuple(sorted({stretch.subject for stretch in found.validation})),
        )
    )
    return Exported(path, on_validation, on_test)


def golden_windows(predictions: Predictions, count: int) -> NDArray[np.float32]:
    """(count, 3, n) windows of different labels, rightly told with a margin that damage would move.

    A probability near 1 hides an error of the logits; one that is nearly tied flips without one.
    """
    windows = np.concatenate([stretch.windows for stretch in predictions.stretches])
    probabilities, truth = predictions.pooled()
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    margin = first - second
    eligible = (probabilities.argmax(1) == truth) & (margin > _CLEAR_MARGIN)
    chosen = []
    for label in np.unique(truth[eligible]):
        of_label = np.flatnonzero(eligible & (truth == label))
        chosen.append(of_label[np.abs(margin[of_label] - _TELLING_MARGIN).argmin()])
    if len(chosen) < count:
        raise ExportError(f"only {len(chosen)} labels are told clearly, too few for {count} golden windows")
    spread = np.linspace(0, len(chosen) - 1, count).round().astype(int)
    goldens: NDArray[np.float32] = windows[np.array(chosen)[spread]]
    return goldens
