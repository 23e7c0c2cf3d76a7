"""The numba kernels of ``votes``: a ring of a device's last windows, and the likeliest path through them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for

_MOST_PARTIALS = 16
"""Of 53 bits each, and the bits of a sum of float32 span fewer than 300."""


@jit_for("Tuple((int64, int64, float64))(float32[:, ::1], int64, int64, float64, float64)", nogil=False)
def likeliest_path(
    kept: NDArray[np.float32], begin: int, count: int, change_cost: float, least: float
) -> tuple[int, int, float]:
    """Label, first window and lead of ``votes.Path``.

    ``kept`` (size, labels) is a ring of probabilities: of its rows, the ``count`` from ``begin`` on are
    looked at; less than ``least`` counts as this. Logarithms are taken anew each time: kept, they would be a
    quarter of what a device takes.
    """
    size, labels = kept.shape
    worth = np.zeros(labels)
    first = np.zeros(labels, np.int64)
    # Most labels are unlikely nearly always, and a logarithm is what takes longest here.
    least_evidence = math.log(least)
    highest = 0.0
    for i in range(count):
        row = kept[(begin + i) % size]
        # Whoever is further behind than a change costs is better reached by changing to it just now.
        floor = highest - change_cost
        highest = -np.inf
        for label in range(labels):
            if worth[label] < floor:
                worth[label] = floor
                first[label] = i
            probability = np.float64(row[label])
            worth[label] += math.log(probability) if probability > least else least_evidence
            highest = max(highest, worth[label])
    best = 0
    second = -np.inf
    for label in range(1, labels):
        if worth[label] > worth[best]:
            second = worth[best]
            best = label
        else:
            second = max(second, worth[label])
    return best, first[best], worth[best] - second


@jit_for("float64(float32[:, ::1], int64, int64, int64)", nogil=False)
def mean_of_last(kept: NDArray[np.float32], pushed: int, count: int, label: int) -> float:
    """Mean probability of a label over the last ``count`` of ``pushed`` rows of a ring.

    The sum is exact until it is rounded once, as that of ``math.fsum`` (Shewchuk 1997): neither the order
    of the sum nor the machine decides a tie.
    """
    partials = np.empty(_MOST_PARTIALS)
    held = 0
    for i in range(pushed - count, pushed):
        x = np.float64(kept[i % len(kept), label])
        size = 0
        for j in range(held):
            y = partials[j]
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low != 0.0:
                partials[size] = low
                size += 1
            x = high
        partials[size] = x
        held = size + 1
    held -= 1
    total = partials[held]
    low = 0.0
    while held > 0 and low == 0.0:
        held -= 1
        before = total
        total = before + partials[held]
        low = partials[held] - (total - before)
    # What lies behind a half decides to which side it is rounded.
    if held > 0 and low * partials[held - 1] > 0.0:
        higher = total + 2.0 * low
        if higher - total == 2.0 * low:
            total = higher
    return float(total / count)


@jit_for(
    "Tuple((int64, float64))(float32[:, ::1], int64, int64, Array(int64, 1, 'C', readonly=True), int64)",
    nogil=False,
)
def likeliest_kind(
    kept: NDArray[np.float32], pushed: int, count: int, kind_of: NDArray[np.int64], kinds: int
) -> tuple[int, float]:
    """The kind whose labels have the largest sum over the last ``count`` of ``pushed`` rows, and its mean.

    ``kind_of`` has (labels,) numbers below ``kinds``; a label with a negative one speaks for none. Rows are
    added from the oldest on, wherever in the ring they lie: whoever replays them adds alike.
    """
    sums = np.zeros(kinds)
    for i in range(pushed - count, pushed):
        row = kept[i % len(kept)]
        for label in range(len(kind_of)):
            if kind_of[label] >= 0:
                sums[kind_of[label]] += np.float64(row[label])
    best = 0
    for kind in range(1, kinds):
        if sums[kind] > sums[best]:
            best = kind
    return best, sums[best] / count
