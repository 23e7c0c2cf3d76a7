"""The numba kernels of ``sanity``: samples into seconds, and what a second of samples looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for


@jit_for(
    "Tuple((int64, int64))(float64[::1], float32[:, ::1], int64, float64, float64[::1], float32[:, ::1],"
    " int64)",
    nogil=False,
)
def gather(
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    begin: int,
    until_s: float,
    second_s: NDArray[np.float64],
    second_g: NDArray[np.float32],
    count: int,
) -> tuple[int, int]:
    """Put samples from ``begin`` on behind the ``count`` that a second has, as long as there is room.

    Returns:
        Where the samples from ``until_s`` on begin, or len(t_s); and how many the second has now.
    """
    end = begin
    while end < len(t_s) and t_s[end] < until_s:
        if count < len(second_s):
            second_s[count] = t_s[end]
            for axis in range(3):
                second_g[count, axis] = acc_g[end, axis]
            count += 1
        end += 1
    return end, count


@jit_for(
    "UniTuple(float64, 5)(float64[::1], float32[:, ::1], int64, float64, float64)",
    nogil=False,
)
def measure(
    t_s: NDArray[np.float64], acc_g: NDArray[np.float32], n: int, rail_share: float, rail_g: float
) -> tuple[float, float, float, float, float]:
    """Judge the first n >= 2 samples.

    Returns:
        The mean and the median time between two; the standard deviation of the axis that moves most; the size
        of the mean vector; and of the axis where that is most, the part of the samples that lie within
        ``rail_share`` of an extreme of at least ``rail_g``.
    """
    steps = np.empty(n - 1)
    for i in range(n - 1):
        steps[i] = t_s[i + 1] - t_s[i]
    deviation = rest = clipped = 0.0
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
        deviation = max(deviation, squares / n)
        rest += mean * mean
        if peak >= rail_g:
            clipped = max(clipped, extreme / n)
    mean_s = (t_s[n - 1] - t_s[0]) / (n - 1)
    return mean_s, np.sort(steps)[(n - 1) // 2], np.sqrt(deviation), np.sqrt(rest), clipped
