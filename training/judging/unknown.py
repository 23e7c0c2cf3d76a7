"""What was never learned: by which score a model tells it from what it knows.

The labels that the experiment leaves out are the strangers, done by the test subjects like what is known.
Every score is higher where the model is more at home.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Recording
from training.experiment import Experiment
from training.judging.evaluate import predict, vote
from training.networks import Network, told
from training.shipping.calibrate import temperature
from training.shipping.strangers import gaussian
from training.windows import cut, labels_of
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.familiarity import Familiarity

KNOWN_KEPT = 0.95
"""Part of the known windows above the threshold at which strangers are counted."""
_NEIGHBOURS = 20
_MOST_WINDOWS = 6000

Floats = NDArray[np.float64]


def compare(
    experiment: Experiment,
    student: Network,
    bundles: Mapping[str, Path],
    *,
    data: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """AUROC of each score, and how many strangers it lets in at the threshold that keeps 95 % of the known.

    Of ``bundles``, by name, the same of what their probabilities sum to, and what votes for ``unknown`` at
    their thresholds.

    Raises:
        DatasetError: The experiment leaves nothing out, or its test subjects did none of that.
        BundleError: A bundle is missing or damaged.
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
        labels = labels_of(stretches)
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
    found = {name: _judged(known, strange) for name, (known, strange) in by.items()}
    tested = experiment.split.select(recordings, "test")
    told = {name: _told(experiment, path, tested, strangers) for name, path in bundles.items()}
    for name, figures in (found | told).items():
        say(f"{name:>22}: " + ", ".join(f"{what} {value:.4f}" for what, value in figures.items()))
    return {
        "command": f"vskd-train unknown --config configs/train/{experiment.name}.yaml --data DIR",
        "left_out": experiment.dataset.leave_out,
        "windows": {"known": len(known_logits), "strange": len(strange_logits)},
        "accuracy of the known": float((known_logits.argmax(1) == truth).mean()),
        "known kept": KNOWN_KEPT,
        "scores": found,
        "bundles": told,
    }


def _judged(known: Floats, strange: Floats) -> dict[str, float]:
    threshold = float(np.quantile(known, 1.0 - KNOWN_KEPT))
    return {"AUROC": auroc(known, strange), "strangers let in": float((strange >= threshold).mean())}


def _told(
    experiment: Experiment, path: Path, known: Sequence[Recording], strangers: Sequence[Recording]
) -> dict[str, float]:
    """Figures of what a bundle's probabilities sum to, and of its votes."""
    bundle = load(path)
    manifest = bundle.manifest
    # A label that does not lead by the margin yet is not unknown: what was told before stays told.
    decision = manifest.decision.model_copy(update={"margin": 0.0})
    classifier = Classifier(bundle, threads=experiment.fit.threads)
    sides = [predict(classifier.classify, cut(each, experiment.signal)) for each in (known, strangers)]
    # Of a bundle that knows no strangers all sums are 1, and this tells that: 0.5.
    sums = [np.concatenate(each.probabilities).sum(1).round(6).astype(np.float64) for each in sides]
    figures = _judged(*sums)
    for name, each in zip(("known", "strangers"), sides, strict=True):
        votes = vote(each, decision, manifest.labels, signal=experiment.signal)
        figures[f"{name} told as unknown"] = float(1.0 - votes.sure.mean())
    return figures


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
    whitening, means = gaussian(learned.astype(np.float32), labels)
    nearest = Familiarity(whitening, means, half=1.0, spread=1.0)
    bank = _unit(learned)

    def neighbour(features: Floats) -> Floats:
        # Cosine to the k-th nearest (Sun et al. 2022), a part at a time for the memory's sake.
        parts = np.array_split(_unit(features), max(1, len(features) // 1024))
        nearest = min(_NEIGHBOURS, len(bank))
        return np.concatenate([np.sort(part @ bank.T, axis=1)[:, -nearest] for part in parts])

    return {
        "Mahalanobis": lambda features: -nearest.distances(features.astype(np.float32)),
        "nearest neighbours": neighbour,
    }


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
