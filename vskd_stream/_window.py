"""The numba kernel of ``window``: grid samples into a ring with mirrored writes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for("void(float32[:, ::1], int64, float32[:, ::1], int64, int64)", nogil=False)
def write(ring: NDArray[np.float32], number: int, acc_g: NDArray[np.float32], begin: int, count: int) -> None:
    """Write ``count`` of the samples (m, 3) from ``begin`` on, the first of them grid sample ``number``.

    ``ring`` (3, 2 n) holds each sample twice, n apart.
    """
    n = ring.shape[1] // 2
    slot = number % n
    for i in range(begin, begin + count):
        for axis in range(3):
            ring[axis, slot] = ring[axis, slot + n] = acc_g[i, axis]
        slot = slot + 1 if slot + 1 < n else 0
