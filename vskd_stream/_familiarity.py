"""The numba kernel of ``familiarity``: it loops, and allocates nothing but scratch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for(
    "void(Array(float32, 2, 'C', readonly=True), Array(float32, 2, 'C', readonly=True),"
    " Array(float32, 2, 'C', readonly=True), float64[::1])"
)
def nearest(
    taps: NDArray[np.float32],
    whitening: NDArray[np.float32],
    means: NDArray[np.float32],
    distances: NDArray[np.float64],
) -> None:
    """Write the distance of each (b, f) tap, whitened by (f, f), to the nearest of (m, f) means to (b,)."""
    features = whitening.shape[0]
    white = np.empty(features, np.float64)
    for b in range(len(taps)):
        white[:] = 0.0
        for i in range(features):
            tap = np.float64(taps[b, i])
            # Half of a tap is 0 after its ReLU.
            if tap != 0.0:
                for j in range(features):
                    white[j] += tap * np.float64(whitening[i, j])
        least = np.inf
        for m in range(len(means)):
            square = 0.0
            for j in range(features):
                off = white[j] - np.float64(means[m, j])
                square += off * off
            least = min(least, square)
        distances[b] = math.sqrt(least)
