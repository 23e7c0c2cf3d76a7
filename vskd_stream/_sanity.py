"""The numba kernel of ``sanity``: what a second of samples looks like, in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for

TYPICAL, DEVIATION, REST, CLIPPED = 0, 1, 2, 3
"""Where ``measure`` writes what."""


@jit_for("void(float64[::1], float32[:, ::1], float64, float64, float64[::1])", nogil=False)
def measure(
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    rail_share: float,
    rail_g: float,
    out: NDArray[np.float64],
) -> None:
    """Judge n >= 2 samples.

    ``out`` (4,) becomes: the median time between two samples; the standard deviation of the axis that moves
    most; the size of the mean vector; and of the axis where that is most, the part of the samples that lie
    within ``rail_share`` of an extreme of at least ``rail_g``.
    """
    n = len(t_s)
    steps = np.empty(n - 1)
    for i in range(n - 1):
        steps[i] = t_s[i + 1] - t_s[i]
    out[TYPICAL] = np.sort(steps)[(n - 1) // 2]
    out[DEVIATION] = out[REST] = out[CLIPPED] = 0.0
    for axis in range(3):
        total = 0.0
        peak = 0.0
        for i in range(n):
            value = np.float64(acc_g[i, axis])
            total += value
            peak = max(peak, abs(value))
        mean = total / n
        squares = 0.0
        extreme = 0
        for i in range(n):
            value = np.float64(acc_g[i, axis])
            squares += (value - mean) * (value - mean)
            extreme += int(abs(value) >= (1.0 - rail_share) * peak)
        out[DEVIATION] = max(out[DEVIATION], squares / n)
        out[REST] += mean * mean
        if peak >= rail_g:
            out[CLIPPED] = max(out[CLIPPED], extreme / n)
    out[DEVIATION] = np.sqrt(out[DEVIATION])
    out[REST] = np.sqrt(out[REST])
