"""Window → how still the device was: pure, and blind to what a still device may mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unrest_g(acc_g: NDArray[np.float32]) -> float:
    """Standard deviation of the axis that moved most in a (3, n) window, in g; gravity has no part in it."""
    # In float64, where a still axis at 1 g does not lose its few milli-g to rounding.
    return float(acc_g.std(axis=1, dtype=np.float64).max())
