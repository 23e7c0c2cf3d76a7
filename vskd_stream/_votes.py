"""The numba kernels of ``votes``: a ring of a device's last windows, and the likeliest path through them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for(
    "void(Array(float32, 1, 'C', readonly=True), float64, float32[:, ::1], float64[:, ::1], int64)",
    nogil=False,
)
def keep(
    probabilities: NDArray[np.float32],
    least: float,
    kept: NDArray[np.float32],
    evidence: NDArray[np.float64],
    pushed: int,
) -> None:
    """Write (labels,) probabilities and their logarithms, in nats, over the oldest rows of two rings.

    Less than ``least`` counts as this.
    """
    slot = pushed % len(kept)
    for label in range(len(probabilities)):
        kept[slot, label] = probabilities[label]
        evidence[slot, label] = math.log(max(np.float64(probabilities[label]), least))


@jit_for("Tuple((int64, int64, float64))(float64[:, ::1], int64, int64, float64)", nogil=False)
def likeliest_path(
    evidence: NDArray[np.float64], begin: int, count: int, change_cost: float
) -> tuple[int, int, float]:
    """Label, first window and lead of ``votes.Path``.

    ``evidence`` (size, labels) is a ring: of its rows, the ``count`` from ``begin`` on are looked at.
    """
    size, labels = evidence.shape
    worth = np.zeros(labels)
    first = np.zeros(labels, np.int64)
    highest = 0.0
    for i in range(count):
        row = evidence[(begin + i) % size]
        # Whoever is further behind than a change costs is better reached by changing to it just now.
        floor = highest - change_cost
        highest = -np.inf
        for label in range(labels):
            if worth[label] < floor:
                worth[label] = floor
                first[label] = i
            worth[label] += row[label]
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
