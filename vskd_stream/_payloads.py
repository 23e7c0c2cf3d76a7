"""The numba kernel of ``payloads``: probabilities, rounded as they are told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for("int64[::1](Array(float32, 1, 'C', readonly=True))", nogil=False)
def in_ten_thousandths(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each probability the nearest whole number of them, 0 to 10,000; of two that are as near the even."""
    rounded = np.empty(len(probabilities), np.int64)
    for i in range(len(probabilities)):
        # Of a float32 this product is exact.
        value = np.rint(np.float64(probabilities[i]) * 1e4)
        # A softmax may exceed 1 by its rounding.
        rounded[i] = int(min(max(value, 0.0), 1e4))
    return rounded
