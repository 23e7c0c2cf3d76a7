"""How good a bundle is, judged through the serving path: windows in, probabilities out.

Figures are of windows, each counted once; macro-F1 is the plain mean over labels (a harmonic mean of
accuracy and recall, as some of the literature reports, it is not).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.experiment import Signal
from training.windows import Stretch, labels_of
from vskd_stream.manifest import UNKNOWN, Decision
from vskd_stream.pipeline import Classify
from vskd_stream.votes import Voter

_BATCH = 32
_BINS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of stretches, window by window."""

    stretches: Sequence[Stretch]
    probabilities: Sequence[NDArray[np.float32]]
    """(w, labels) per stretch."""

    def pooled(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All windows' (w, labels) probabilities and (w,) true labels."""
        return np.concatenate(self.probabilities), labels_of(self.stretches)


def predict(classify: Classify, stretches: Sequence[Stretch]) -> Predictions:
    """Classify every window of every stretch."""
    return Predictions(
        stretches,
        [
            np.concatenate([classify(s.windows[i : i + _BATCH]) for i in range(0, len(s.windows), _BATCH)])
            for s in stretches
        ],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """What each window votes for, judged together with those before it in its stretch."""

    labels: NDArray[np.int64]
    """(w,) the best label, whether or not that is enough to vote for it."""
    probabilities: NDArray[np.float32]
    """(w,) of that label, as the thresholds see it."""
    sure: NDArray[np.bool_]
    """(w,) whether it is enough; else the vote is ``unknown``."""


def vote(predictions: Predictions, decision: Decision, labels: Sequence[str], *, signal: Signal) -> Votes:
    """The votes that the daemon would make events of."""
    # Without a threshold or a margin every window votes for its best label.
    lenient = {"unknown_below": dict.fromkeys(labels, 0.0), "margin": 0.0}
    told = []
    for rows in predictions.probabilities:
        voters = [
            Voter(
                each,
                labels=labels,
                sampling_rate_hz=signal.sampling_rate_hz,
                window_samples=signal.window_samples,
            )
            for each in (decision.model_copy(update=lenient), decision)
        ]
        for i, row in enumerate(rows.tolist()):
            best, real = (voter.push(row, centre=i * signal.hop_samples) for voter in voters)
            told.append((labels.index(best.label), best.probability, real.label != UNKNOWN))
    won, probabilities, sure = zip(*told, strict=True)
    return Votes(np.array(won, np.int64), np.array(probabilities, np.float32), np.array(sure, np.bool_))


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
    nll: float | None
    """Mean negative log-likelihood, in nats; None of votes, which give no label but one a probability."""
    labels: dict[str, LabelFigures]
    confusion: list[list[int]]
    """Rows: true label, columns: given label, both in the order of ``labels``."""


def measure(probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str]) -> Figures:
    """Figures of (w, labels) probabilities against (w,) true labels.

    All windows are of these labels, so what is said of strangers is left out: the rows are made to sum to 1.
    """
    probabilities = probabilities / np.maximum(probabilities.sum(1, keepdims=True), np.float32(1e-12))
    of_truth = np.clip(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-12, None)
    nll = float(-np.log(of_truth).mean())
    return _figures(probabilities.argmax(1), probabilities.max(1), truth, labels, nll=nll)


def measure_votes(votes: Votes, truth: NDArray[np.int64], labels: Sequence[str]) -> Figures:
    """Figures of votes, none of them called unknown, against (w,) true labels."""
    return _figures(votes.labels, votes.probabilities, truth, labels, nll=None)


def _figures(
    given: NDArray[np.int64],
    confidence: NDArray[np.float32],
    truth: NDArray[np.int64],
    labels: Sequence[str],
    *,
    nll: float | None,
) -> Figures:
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, given), 1)
    right, occur, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(occur, 1)
    f1 = 2 * right / np.maximum(occur + said, 1)
    wrong = confusion - np.diag(right)
    return Figures(
        windows=len(truth),
        accuracy=float(right.sum() / len(truth)),
        macro_f1=float(f1[occur > 0].mean()),
        ece=expected_calibration_error(confidence, given == truth),
        nll=nll,
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
    """Votes as the events are made of, none called unknown."""
    coarse: Figures
    """Each window on its own, at the coarse level: its probabilities are sums of those of its labels."""
    subjects: dict[str, float]
    """Accuracy by subject, each window on its own."""
    unknown: float
    """Part of the windows that vote for ``unknown``."""


def judge(
    predictions: Predictions, *, labels: Sequence[str], decision: Decision, signal: Signal
) -> Judgement:
    """Figures of predictions under a manifest's decision parameters."""
    probabilities, truth = predictions.pooled()
    votes = vote(predictions, decision, labels, signal=signal)
    to, kinds = coarse_level(labels, decision.coarse)
    return Judgement(
        windows=measure(probabilities, truth, labels),
        coarse=measure(summed(probabilities, to), to[truth], kinds),
        smoothed=measure_votes(votes, truth, labels),
        subjects=subject_accuracies(predictions),
        unknown=float(1.0 - votes.sure.mean()),
    )


def coarse_level(
    labels: Sequence[str], coarse: Mapping[str, str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each label's (labels,) coarse index, and the coarse names; a label without one is its own."""
    kinds = tuple(dict.fromkeys(coarse.get(label, label) for label in labels))
    return np.array([kinds.index(coarse.get(label, label)) for label in labels], np.int64), kinds


def summed(probabilities: NDArray[np.float32], to: NDArray[np.int64]) -> NDArray[np.float32]:
    """(w, labels) probabilities to (w, coarse) ones."""
    sums = np.zeros((len(probabilities), int(to.max()) + 1), np.float64)
    np.add.at(sums.T, to, probabilities.T)
    # A float32 softmax may exceed 1 by its rounding.
    coarse: NDArray[np.float32] = np.minimum(sums, 1.0).astype(np.float32)
    return coarse


def running_means(
    predictions: Predictions, to: NDArray[np.int64], *, windows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(w, coarse) mean probabilities of each window and those before it in its stretch; (w,) true labels."""
    means = []
    for rows in predictions.probabilities:
        cumulated = np.cumsum(np.concatenate([np.zeros((1, int(to.max()) + 1)), summed(rows, to)]), axis=0)
        first = np.maximum(np.arange(1, len(rows) + 1) - windows, 0)
        last = np.arange(1, len(rows) + 1)
        means.append((cumulated[last] - cumulated[first]) / (last - first)[:, np.newaxis])
    return np.concatenate(means), predictions.pooled()[1]


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
