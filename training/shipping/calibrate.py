"""Temperature and thresholds: what is chosen after learning, on the validation subjects alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 0.33
"""No threshold is higher: those few who validate may all do something more plainly than others do it."""

_COLDEST, _HOTTEST = 0.05, 20.0
_SECTIONS = 60


def temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The divisor of (w, labels) logits that gives the true labels the highest likelihood (Guo et al. 2017).

    The negative log-likelihood is convex in the inverse temperature, so a golden-section search on
    its logarithm finds the minimum.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(1))
        return float((normaliser - scaled[np.arange(len(truth)), truth]).mean())

    golden = (np.sqrt(5.0) - 1.0) / 2.0
    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    loss_inner, loss_outer = loss(inner), loss(outer)
    for _ in range(_SECTIONS):
        if loss_inner < loss_outer:
            high, outer, loss_outer = outer, inner, loss_inner
            inner = high - golden * (high - low)
            loss_inner = loss(inner)
        else:
            low, inner, loss_inner = inner, outer, loss_outer
            outer = low + golden * (high - low)
            loss_outer = loss(outer)
    return float(np.exp(0.5 * (low + high)))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(w, labels) probabilities of logits."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return probabilities


def unknown_below(
    won: NDArray[np.int64], probabilities: NDArray[np.floating], labels: Sequence[str], *, share: float
) -> dict[str, float]:
    """Per label, the threshold under which at most ``share`` of the windows it wins fall; ``MOST`` at most.

    Args:
        won: (w,) winning labels of windows of known activities, at least one, as the events smooth them.
        probabilities: (w,) of the winning labels.
        labels: Their names.
        share: Part of the windows that may become unknown, of each winning label.
    """
    # A label that never wins here has shown nothing of its own: it takes what holds for all.
    own = (probabilities[won == i] for i in range(len(labels)))
    found = [_lower_quantile(each if len(each) else probabilities, share) for each in own]
    return {label: min(each, MOST) for label, each in zip(labels, found, strict=True)}


def coarse_unknown_below(
    means: NDArray[np.floating], truth: NDArray[np.int64], kinds: Sequence[str], *, errors: float
) -> dict[str, float]:
    """Per coarse label, the least threshold above which at most the part ``errors`` of windows are wrong.

    Args:
        means: (w, kinds) mean probabilities of windows of known activities.
        truth: (w,) their true coarse labels.
        kinds: The labels' names. One that is never sure enough gets none: it is not told alone.
        errors: Part of the windows over a threshold that may be of another kind.
    """
    won = means.argmax(1)
    thresholds = {}
    for i, kind in enumerate(kinds):
        order = np.flatnonzero(won == i)
        order = order[np.argsort(-means[order, i])]
        wrong = np.cumsum(truth[order] != i) / np.arange(1, len(order) + 1)
        good = np.flatnonzero(wrong <= errors)
        if len(good):
            thresholds[kind] = math.floor(float(means[order[good[-1]], i]) * 1e4) / 1e4
    return thresholds


def _lower_quantile(values: NDArray[np.floating], share: float) -> float:
    # An observed value, so that "less than it" counts no more than the share; rounded down to read well.
    quantile = float(np.quantile(values, share, method="lower"))
    return math.floor(quantile * 1e4) / 1e4
