"""How good a bundle is, judged through the serving path: windows in, probabilities out.

Figures are of windows, each counted once; macro-F1 is the plain mean over labels (a harmonic mean of
accuracy and recall, as some of the literature reports, it is not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.windows import Stretch
from vskd_stream.manifest import Decision
from vskd_stream.pipeline import Classify

_BATCH = 32
_BINS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of stretches, window by window."""

    stretches: Sequence[Stretch]
    probabilities: Sequence[NDArray[np.float32]]
    """(w, labels) per stretch."""

    def smoothed(self, windows: int) -> Predictions:
        """Each window's probabilities averaged with up to ``windows`` - 1 before it in its stretch."""
        return Predictions(self.stretches, [running_mean(p, windows) for p in self.probabilities])

    def pooled(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All windows' (w, labels) probabilities and (w,) true labels."""
        labels = [np.full(len(s.windows), s.label, np.int64) for s in self.stretches]
        return np.concatenate(self.probabilities), np.concatenate(labels)


def predict(classify: Classify, stretches: Sequence[Stretch]) -> Predictions:
    """Classify every window of every stretch."""
    return Predictions(
        stretches,
        [
            np.concatenate([classify(s.windows[i : i + _BATCH]) for i in range(0, len(s.windows), _BATCH)])
            for s in stretches
        ],
    )


def running_mean(probabilities: NDArray[np.float32], windows: int) -> NDArray[np.float32]:
    """(w, labels) means over the last ``windows`` rows, or over as many as there are."""
    total = np.cumsum(probabilities, axis=0, dtype=np.float64)
    total[windows:] = total[windows:] - total[:-windows]
    count = np.minimum(np.arange(1, len(probabilities) + 1), windows)
    return (total / count[:, np.newaxis]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """One label against all others."""

    precision: float
    recall: float
    f1: float
    windows: int
    """Windows that truly are this label."""
    most_often_taken_for: str | None
    """The wrong label it is given most often, if any."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is reported of one set of predictions."""

    windows: int
    accuracy: float
    macro_f1: float
    """Mean over the labels that occur."""
    ece: float
    """Expected calibration error of the winning probability, 15 equal bins."""
    nll: float
    """Mean negative log-likelihood, in nats."""
    labels: dict[str, LabelFigures]
    confusion: list[list[int]]
    """Rows: true label, columns: given label, both in the order of ``labels``."""


def measure(probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str]) -> Figures:
    """Figures of (w, labels) probabilities against (w,) true labels."""
    given = probabilities.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, given), 1)
    right, occur, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(occur, 1)
    f1 = 2 * right / np.maximum(occur + said, 1)
    wrong = confusion - np.diag(right)
    of_truth = np.clip(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-12, None)
    return Figures(
        windows=len(truth),
        accuracy=float(right.sum() / len(truth)),
        macro_f1=float(f1[occur > 0].mean()),
        ece=expected_calibration_error(probabilities.max(1), given == truth),
        nll=float(-np.log(of_truth).mean()),
        labels={
            label: LabelFigures(
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                windows=int(occur[i]),
                most_often_taken_for=labels[int(wrong[i].argmax())] if wrong[i].any() else None,
            )
            for i, label in enumerate(labels)
        },
        confusion=confusion.tolist(),
    )


def expected_calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and accuracy over equal bins, weighted by windows (Naeini et al. 2015)."""
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    surplus = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(surplus).sum() / len(confidence))


def subject_accuracies(predictions: Predictions) -> dict[str, float]:
    """Accuracy of each subject's windows."""
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for stretch, probabilities in zip(predictions.stretches, predictions.probabilities, strict=True):
        right.setdefault(stretch.subject, []).append(probabilities.argmax(1) == stretch.label)
    return {subject: float(np.concatenate(parts).mean()) for subject, parts in sorted(right.items())}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model on a set of people, as the events will see it."""

    windows: Figures
    """Each window on its own."""
    smoothed: Figures
    """Probabilities averaged as the events average them, none called unknown."""
    subjects: dict[str, float]
    """Accuracy by subject, each window on its own."""
    unknown: float
    """Part of the windows whose smoothed probability falls under its threshold."""


def judge(predictions: Predictions, *, labels: Sequence[str], decision: Decision) -> Judgement:
    """Figures of predictions under a manifest's decision parameters."""
    smoothed, truth = predictions.smoothed(decision.smoothing_windows).pooled()
    return Judgement(
        windows=measure(*predictions.pooled(), labels),
        smoothed=measure(smoothed, truth, labels),
        subjects=subject_accuracies(predictions),
        unknown=unknown_share(smoothed, decision.unknown_below, labels),
    )


def unknown_share(
    probabilities: NDArray[np.float32], unknown_below: dict[str, float], labels: Sequence[str]
) -> float:
    """Part of the windows whose winning (smoothed) probability is under that label's threshold."""
    thresholds = np.array([unknown_below[label] for label in labels])
    return float((probabilities.max(1) < thresholds[probabilities.argmax(1)]).mean())


def table(figures: Figures) -> str:
    """The figures by label, as a Markdown table."""
    rows = [
        "| label | precision | recall | F1 | windows | most often taken for |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {label} | {f.precision:.3f} | {f.recall:.3f} | {f.f1:.3f} | {f.windows} | "
        f"{f.most_often_taken_for or '-'} |"
        for label, f in figures.labels.items()
    ]
    return "\n".join(rows)
