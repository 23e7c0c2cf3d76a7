"""Window → how still the device was: pure, and blind to what a still device may mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for("float64(Array(float32, 2, 'C', readonly=True))", nogil=False)
def unrest_g(acc_g: NDArray[np.float32]) -> float:
    """Standard deviation of the axis that moved most in a (3, n) window, in g; gravity has no part in it."""
    largest = 0.0
    for axis in range(len(acc_g)):
        # In float64, where a still axis at 1 g does not lose its few milli-g to rounding.
        total = 0.0
        for value in acc_g[axis]:
            total += np.float64(value)
        mean = total / acc_g.shape[1]
        squares = 0.0
        for value in acc_g[axis]:
            squares += (np.float64(value) - mean) ** 2
        largest = max(largest, squares / acc_g.shape[1])
    return float(np.sqrt(largest))
