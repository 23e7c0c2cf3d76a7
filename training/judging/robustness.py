"""What other watches and other wrists cost: the test subjects again, as those would have recorded them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.augment import mirrored, other_way_round
from training.datasets import Recording
from training.experiment import Experiment
from training.judging.evaluate import coarse_level, measure, predict, summed
from training.windows import Stretch, cut
from vskd_stream.bundle import load
from vskd_stream.classify import Classifier
from vskd_stream.manifest import Manifest
from vskd_stream.mounting import Mounting

TILT_DEG = 30.0
RANGE_G = 2.0
RATES_HZ = (12.5, 25.0, 50.0, 100.0)
LOSS = 0.05

Change = Callable[[Recording], Recording]


def tilted(axis: int, degrees: float) -> NDArray[np.float64]:
    """(3, 3) turn about one axis of the watch."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = np.cos(np.deg2rad(degrees))
    turn[j, i] = np.sin(np.deg2rad(degrees))
    turn[i, j] = -turn[j, i]
    return turn


def at_rate(recording: Recording, rate_hz: float) -> Recording:
    """As a sensor of that rate would have sampled it, without a filter of its own."""
    count = max(2, int((recording.t_s[-1] - recording.t_s[0]) * rate_hz) + 1)
    t_s = recording.t_s[0] + np.arange(count) / rate_hz
    acc_g = np.stack([np.interp(t_s, recording.t_s, axis) for axis in recording.acc_g.T], axis=1)
    # Silence stays silence: what the recording left out is not made up.
    nearest = np.minimum(np.searchsorted(recording.t_s, t_s), len(recording.t_s) - 1)
    before = np.maximum(nearest - 1, 0)
    is_real = recording.t_s[nearest] - recording.t_s[before] <= 0.5
    return replace(
        recording, t_s=t_s[is_real], acc_g=acc_g[is_real].astype(np.float32), sampling_rate_hz=rate_hz
    )


def changes(seed: int) -> dict[str, Change]:
    """By name; a function of the seed."""
    rng = np.random.default_rng(seed)

    def with_(function: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> Change:
        return lambda recording: replace(recording, acc_g=function(recording.acc_g).astype(np.float32))

    def lossy(recording: Recording) -> Recording:
        kept = rng.random(len(recording.t_s)) >= LOSS
        kept[[0, -1]] = True
        return replace(recording, t_s=recording.t_s[kept], acc_g=recording.acc_g[kept])

    named: dict[str, Change] = {
        "as recorded": lambda recording: recording,
        "other wrist": with_(lambda acc_g: mirrored(acc_g.T).T),
        "strapped on the other way round": with_(lambda acc_g: other_way_round(acc_g.T).T),
    }
    for axis, name in enumerate("xyz"):
        for degrees in (-TILT_DEG, TILT_DEG):
            turn = tilted(axis, degrees)
            named[f"turned by {degrees:+.0f} degrees about {name}"] = with_(
                lambda acc_g, turn=turn: acc_g @ turn.T  # type: ignore[misc]
            )
    named[f"railed at {RANGE_G:g} g"] = with_(lambda acc_g: np.clip(acc_g, -RANGE_G, RANGE_G))
    for rate_hz in RATES_HZ:
        named[f"sampled at {rate_hz:g} Hz"] = lambda recording, rate_hz=rate_hz: at_rate(recording, rate_hz)  # type: ignore[misc]
    named[f"{LOSS:.0%} of the samples lost"] = lossy
    return named


def settled(stretches: Sequence[Stretch], manifest: Manifest) -> list[Stretch]:
    """Windows as a gateway turns them that has seen all of each person's before, and no label."""
    assert manifest.hanging is not None
    mountings: dict[str, Mounting] = {}
    for stretch in stretches:
        if stretch.subject not in mountings:
            mountings[stretch.subject] = Mounting(
                manifest.hanging, sampling_rate_hz=manifest.sampling_rate_hz
            )
        for window in stretch.windows[:: -(-manifest.window_samples // manifest.hop_samples)]:
            mountings[stretch.subject].learn(window)
    return [
        replace(each, windows=np.stack([mountings[each.subject].turned(window) for window in each.windows]))
        for each in stretches
    ]


def evaluate(
    experiment: Experiment, bundle: Path, *, data: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Single windows of the test subjects under each change, through the serving path.

    Where the model has watches turned back, once as in a wearer's first minutes, when nobody knows how the
    watch sits, and once as when the wearer has walked.
    """
    loaded = load(bundle)
    classifier = Classifier(loaded, threads=experiment.fit.threads)
    labels = loaded.manifest.labels
    to, kinds = coarse_level(labels, loaded.manifest.decision.coarse)
    chosen = experiment.split.select(experiment.recordings(data), "test")
    rows: dict[str, dict[str, float]] = {}
    for name, change in changes(experiment.seed).items():
        stretches = cut([change(each) for each in chosen], experiment.signal)
        seen = {name: stretches}
        if loaded.manifest.hanging is not None:
            seen[f"{name}, once worn for a walk"] = settled(stretches, loaded.manifest)
        for title, windows in seen.items():
            probabilities, truth = predict(classifier.classify, windows).pooled()
            fine = measure(probabilities, truth, labels)
            rows[title] = {
                "windows": fine.windows,
                "accuracy": fine.accuracy,
                "macro_f1": fine.macro_f1,
                "ece": fine.ece,
                "coarse_accuracy": measure(summed(probabilities, to), to[truth], kinds).accuracy,
            }
            cost = rows["as recorded"]["accuracy"] - fine.accuracy
            say(
                f"{title:>56}: accuracy {fine.accuracy:.4f} (costs {100 * cost:+.2f} points), "
                f"coarse {rows[title]['coarse_accuracy']:.4f}"
            )
    return {
        "command": f"vskd-train evaluate --robustness --config configs/train/{experiment.name}.yaml",
        "bundle_sha256": loaded.sha256,
        "changes": rows,
    }
