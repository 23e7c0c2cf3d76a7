"""People and a watch of a set that no model learned from: how it does where it has never been."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.collection import SeveralSets, WeightedSet
from training.datasets import DatasetError, Recording
from training.experiment import Experiment, Signal
from training.judging.evaluate import (
    Predictions,
    coarse_level,
    measure,
    predict,
    subject_accuracies,
    summed,
    vote,
)
from training.windows import cut
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.manifest import Manifest
from vskd_stream.votes import without


def recordings(experiment: Experiment, *, data: Path) -> list[Recording]:
    """What the set named by ``elsewhere`` has of the experiment's labels.

    Raises:
        DatasetError: The experiment names none, or it is missing or damaged.
    """
    chosen = experiment.elsewhere
    if chosen is None:
        raise DatasetError(experiment.name, "the experiment names no set under `elsewhere`")
    one = SeveralSets(kind="merged", sets=(WeightedSet(kind=chosen.kind, file=chosen.file),))
    return [
        replace(each, label=experiment.labels.index(one.labels[each.label]))
        for each in one.recordings(data)
        if one.labels[each.label] in experiment.labels
    ]


def evaluate(
    experiment: Experiment, bundle: Path, *, data: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Single windows of everybody in that set, through the serving path; nobody wears the watch for long.

    Where the experiment says what these people never do, once more by a gateway that was told so.
    """
    found = recordings(experiment, data=data)
    loaded = load(bundle)
    classifier = Classifier(loaded, threads=experiment.fit.threads)
    predictions = predict(classifier.classify, cut(found, experiment.signal))
    figures = judged(predictions, loaded.manifest, signal=experiment.signal)
    say(_line(figures))
    if experiment.elsewhere and (never := experiment.elsewhere.never):
        told = ruled_out(predictions, never, loaded.manifest)
        figures["told_never"] = {"never": never} | judged(told, loaded.manifest, signal=experiment.signal)
        say(f"told what they never do: {_line(figures['told_never'])}")
    return {
        "command": f"vskd-train evaluate --elsewhere --config configs/train/{experiment.name}.yaml",
        "bundle_sha256": loaded.sha256,
        "set": found[0].dataset,
    } | figures


def _line(figures: Mapping[str, Any]) -> str:
    of_each = ", ".join(f"{kind} {share:.1%}" for kind, share in figures["recall"].items())
    return (
        f"coarse {figures['coarse_accuracy']:.1%} of {figures['windows']} windows ({of_each}); "
        f"{figures['unknown']:.1%} unknown"
    )


def ruled_out(predictions: Predictions, never: Collection[str], manifest: Manifest) -> Predictions:
    """What a gateway makes of them that knows what their wearers never do (``devices.*.never``)."""
    mask = np.array([label in never for label in manifest.labels])
    probabilities = [np.stack([without(row, mask) for row in rows]) for rows in predictions.probabilities]
    return Predictions(predictions.stretches, probabilities)


def judged(predictions: Predictions, manifest: Manifest, *, signal: Signal) -> dict[str, Any]:
    """Figures of windows; at the coarse level by label and by person as well."""
    labels = manifest.labels
    to, kinds = coarse_level(labels, manifest.decision.coarse)
    stretches = [replace(stretch, label=int(to[stretch.label])) for stretch in predictions.stretches]
    by_kind = Predictions(stretches, [summed(rows, to) for rows in predictions.probabilities])
    fine = measure(*predictions.pooled(), labels)
    coarse = measure(*by_kind.pooled(), kinds)
    # With its margin, the first seconds of recordings as short as these would be most of what is unknown.
    votes = vote(predictions, manifest.decision.model_copy(update={"margin": 0.0}), labels, signal=signal)
    seen = {kind: each for kind, each in coarse.labels.items() if each.windows}
    return {
        "windows": fine.windows,
        "accuracy": fine.accuracy,
        "ece": fine.ece,
        "coarse_accuracy": coarse.accuracy,
        "recall": {kind: each.recall for kind, each in seen.items()},
        "taken_for": {kind: each.most_often_taken_for for kind, each in seen.items()},
        "unknown": float(1.0 - votes.sure.mean()),
        "people": subject_accuracies(by_kind),
    }
