"""What was never learned: by which score a model tells it from what it knows.

The labels that the experiment leaves out are the strangers, done by the test subjects like what is known.
Every score is higher where the model is more at home.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibrate import temperature
from training.datasets import DatasetError, Recording
from training.experiment import Experiment
from training.networks import Network, told
from training.windows import cut

KNOWN_KEPT = 0.95
"""Part of the known windows above the threshold at which strangers are counted."""
_NEIGHBOURS = 20
_MOST_WINDOWS = 6000

Floats = NDArray[np.float64]


def compare(
    experiment: Experiment, student: Network, *, data: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """AUROC of each score, and how many strangers it lets in at the threshold that keeps 95 % of the known.

    Raises:
        DatasetError: The experiment leaves nothing out, or its test subjects did none of that.
    """
    if not experiment.dataset.leave_out:
        raise DatasetError(experiment.name, "nothing is left out: name strangers in dataset.leave_out")
    recordings = experiment.recordings(data)
    people = frozenset(experiment.split.test)
    strangers = [
        each for each in experiment.dataset.recordings(data, left_out=True) if each.subject in people
    ]
    if not strangers:
        raise DatasetError(experiment.name, "no test subject did what is left out")

    def answers(chosen: Sequence[Recording]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        stretches = cut(chosen, experiment.signal)
        windows = np.concatenate([stretch.windows for stretch in stretches])
        labels = np.concatenate([np.full(len(each.windows), each.label, np.int64) for each in stretches])
        # Evenly thinned out: windows that overlap say the same thing many times.
        kept = np.unique(np.linspace(0, len(windows) - 1, _MOST_WINDOWS).round().astype(np.int64))
        return *_answers(student, windows[kept], experiment), labels[kept]

    learned = answers(experiment.split.select(recordings, "train"))
    validation_logits, _, validation_truth = answers(experiment.split.select(recordings, "validation"))
    divisor = temperature(validation_logits, validation_truth)
    known_logits, known_features, truth = answers(experiment.split.select(recordings, "test"))
    strange_logits, strange_features, _ = answers(strangers)
    by = {
        name: (score(known_logits), score(strange_logits)) for name, score in of_logits(divisor).items()
    } | {
        name: (score(known_features), score(strange_features))
        for name, score in of_features(learned[1], learned[2]).items()
    }
    found = {}
    for name, (known, strange) in by.items():
        threshold = float(np.quantile(known, 1.0 - KNOWN_KEPT))
        found[name] = {
            "auroc": auroc(known, strange),
            "strangers let in": float((strange >= threshold).mean()),
        }
        say(f"{name:>22}: AUROC {found[name]['auroc']:.4f}, {found[name]['strangers let in']:.1%} let in")
    return {
        "command": f"vskd-train unknown --config configs/train/{experiment.name}.yaml --data DIR",
        "left_out": experiment.dataset.leave_out,
        "windows": {"known": len(known_logits), "strange": len(strange_logits)},
        "accuracy of the known": float((known_logits.argmax(1) == truth).mean()),
        "known kept": KNOWN_KEPT,
        "scores": found,
    }


def of_logits(divisor: float) -> dict[str, Callable[[Floats], Floats]]:
    """Scores of (w, labels) logits, which a bundle has when it serves; by name."""

    def probabilities(logits: Floats) -> Floats:
        powers = np.exp((logits - logits.max(1, keepdims=True)) / divisor)
        return np.asarray(powers / powers.sum(1, keepdims=True), np.float64)

    def energy(logits: Floats) -> Floats:
        top = logits.max(1)
        return np.asarray(top + np.log(np.exp(logits - top[:, np.newaxis]).sum(1)), np.float64)

    def entropy(logits: Floats) -> Floats:
        p = probabilities(logits)
        return np.asarray((p * np.log(np.maximum(p, 1e-12))).sum(1), np.float64)

    return {
        "largest probability": lambda logits: probabilities(logits).max(1),
        "largest logit": lambda logits: logits.max(1),
        "energy": energy,
        "negative entropy": entropy,
    }


def of_features(learned: Floats, labels: NDArray[np.int64]) -> dict[str, Callable[[Floats], Floats]]:
    """Scores of (w, d) features against those of (t,) labelled learned windows; by name."""
    classes = np.unique(labels)
    means = np.stack([learned[labels == each].mean(0) for each in classes])
    spread = learned - means[np.searchsorted(classes, labels)]
    # Shrunk a little towards a ball: features that never fired on what was learned have no variance.
    covariance = spread.T @ spread / len(spread)
    covariance += 1e-2 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    precision = np.linalg.inv(covariance)

    def mahalanobis(features: Floats) -> Floats:
        distances = [np.einsum("wd,de,we->w", off, precision, off) for off in (features - m for m in means)]
        return -np.asarray(np.min(distances, axis=0), np.float64)

    bank = _unit(learned)

    def neighbour(features: Floats) -> Floats:
        # Cosine to the k-th nearest (Sun et al. 2022), a part at a time for the memory's sake.
        parts = np.array_split(_unit(features), max(1, len(features) // 1024))
        nearest = min(_NEIGHBOURS, len(bank))
        return np.concatenate([np.sort(part @ bank.T, axis=1)[:, -nearest] for part in parts])

    return {"Mahalanobis": mahalanobis, "nearest neighbours": neighbour}


def auroc(known: Floats, strange: Floats) -> float:
    """Probability that a known window scores higher than a strange one; ties count half."""
    both = np.concatenate([known, strange])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    surplus = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2.0
    return float(surplus / (len(known) * len(strange)))


def _unit(features: Floats) -> Floats:
    return np.asarray(
        features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.float64
    )


def _answers(student: Network, windows: NDArray[np.float32], experiment: Experiment) -> tuple[Floats, Floats]:
    """(w, labels) logits and (w, d) features."""
    logits, features = told(student, windows, image=experiment.image)
    return logits.astype(np.float64), features.astype(np.float64)
