"""The numba kernel of ``window``: grid samples into a ring with mirrored writes, and windows out of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for("float32[:, :, ::1](float32[:, ::1], int64, float32[:, ::1], int64, int64)", nogil=False)
def cut(
    ring: NDArray[np.float32], start: int, acc_g: NDArray[np.float32], hop: int, unbroken_from: int
) -> NDArray[np.float32]:
    """Write the samples (m, 3), the first of them grid sample ``start``; returns (windows, 3, n), in order.

    ``ring`` (3, 2 n) holds each sample twice, n apart. A window ends at each multiple of ``hop`` that lies n
    samples behind ``unbroken_from`` or further.
    """
    n = ring.shape[1] // 2
    end = start + len(acc_g)
    first = -(-max(start + 1, unbroken_from + n) // hop) * hop
    windows = np.empty((max(0, (end - first) // hop + 1), 3, n), np.float32)
    slot = start % n
    made = 0
    for i in range(len(acc_g)):
        for axis in range(3):
            ring[axis, slot] = ring[axis, slot + n] = acc_g[i, axis]
        slot = slot + 1 if slot + 1 < n else 0
        if start + i + 1 == first + made * hop:
            for axis in range(3):
                for k in range(n):
                    windows[made, axis, k] = ring[axis, slot + k]
            made += 1
    return windows
