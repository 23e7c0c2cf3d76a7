"""Ways to smooth scores into votes: those that the daemon knows, and their rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Smooth = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to smooth, with its parameters."""

    name: str
    parameters: dict[str, float]
    decision: dict[str, Any]
    """Fields of ``Decision``."""
    smooth: Smooth | None = None
    """What is done to a stream's (w, labels) scores before the decider sees them."""
    threshold: float | None = None
    """Of all labels; None: chosen for each, as ``export`` does."""


def mean_of(windows: int) -> Smooth:
    """The last windows' mean."""

    def smooth(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([rows[max(0, i + 1 - windows) : i + 1].mean(0, np.float64) for i in range(len(rows))])

    return smooth


def median_of(windows: int) -> Smooth:
    """The last windows' median of each label, made to sum to 1."""

    def smooth(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        medians = np.array([np.median(rows[max(0, i + 1 - windows) : i + 1], 0) for i in range(len(rows))])
        smoothed: NDArray[np.float64] = medians / np.maximum(medians.sum(1, keepdims=True), 1e-12)
        return smoothed

    return smooth


def forward(*, expected_windows: float, weight: float) -> Smooth:
    """The filtered belief of a hidden Markov model, by the forward algorithm (Rabiner 1989).

    Args:
        expected_windows: An activity is expected to last so long; whichever comes next is equally likely.
        weight: Power of each window's probabilities, for windows that overlap say the same thing twice.
    """

    def smooth(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        labels = rows.shape[1]
        move = 1.0 / expected_windows / (labels - 1)
        stay = 1.0 - 1.0 / expected_windows - move
        belief = np.full(labels, 1.0 / labels)
        beliefs = np.empty(rows.shape)
        for i, row in enumerate(np.maximum(rows, 1e-6).astype(np.float64) ** weight):
            belief = (stay * belief + move) * row
            belief /= belief.sum()
            beliefs[i] = belief
        return beliefs

    return smooth


FIRST = Way(
    "mean, as first shipped",
    {"windows": 3, "switch_after_s": 2.0, "unknown_after_s": 2.0},
    {"smoothing_windows": 3, "switch_after_s": 2.0, "unknown_after_s": 2.0},
)


def ways(hop_s: float) -> list[Way]:
    """All that are compared."""
    means = [
        Way("mean", {"windows": k, "switch_after_s": s}, {"smoothing_windows": k, "switch_after_s": s})
        for k in (3, 5, 9, 15, 25)
        for s in (0.0, 2.0, 5.0, 10.0)
    ]
    medians = [
        Way("median", {"windows": k, "switch_after_s": s}, {"switch_after_s": s}, median_of(k))
        for k in (3, 5, 9, 15, 25)
        for s in (0.0, 2.0, 5.0, 10.0)
    ]
    consecutive = [
        Way("consecutive", {"windows": k}, {"switch_after_s": (k - 1) * hop_s})
        for k in (1, 2, 3, 5, 8, 12, 20)
    ]
    filters = [
        Way(
            "hidden Markov filter",
            {"expected_windows": n, "weight": weight, "threshold": threshold},
            {},
            forward(expected_windows=n, weight=weight),
            threshold,
        )
        for n in (1e2, 1e3, 1e4, 1e6)
        for weight in (0.2, 0.3, 0.5)
        for threshold in (0.0, 0.9, 0.99)
    ]
    paths = [
        Way(
            "likeliest path",
            {"windows": k, "change_cost": cost, "margin": margin},
            {"smoothing": "path", "smoothing_windows": k, "change_cost": cost, "margin": margin},
        )
        for k in (32, 64)
        for cost in (15.0, 20.0, 25.0, 30.0, 40.0)
        for margin in (0.0, 2.0, 4.0, 7.0, 10.0)
    ]
    return [FIRST, *means, *medians, *consecutive, *filters, *paths]
