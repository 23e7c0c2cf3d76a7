"""The numba kernels that say whether a batch is within its limits: one pass, no temporary arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for("boolean(float64[:, ::1], float64)", nogil=False)
def within(values: NDArray[np.float64], limit: float) -> bool:
    """Whether every |value| is at most ``limit``; a NaN is not."""
    for row in range(len(values)):
        for column in range(values.shape[1]):
            # Told by a NaN as well, of which every comparison is false.
            if not abs(values[row, column]) <= limit:
                return False
    return True


@jit_for("boolean(float64[::1], float64, float64)", nogil=False)
def increasing_within(t_s: NDArray[np.float64], low: float, high: float) -> bool:
    """Whether the times, of which there is one at least, increase strictly from ``low`` on to ``high``."""
    if not (low <= t_s[0] and t_s[-1] <= high):
        return False
    is_increasing = True
    for i in range(1, len(t_s)):
        is_increasing &= t_s[i - 1] < t_s[i]
    return is_increasing


@jit_for("boolean(Array(float32, 1, 'C', readonly=True))", nogil=False)
def finite(values: NDArray[np.float32]) -> bool:
    """Whether no value is infinite or a NaN."""
    is_finite = True
    for value in values:
        is_finite &= np.isfinite(value)
    return is_finite
