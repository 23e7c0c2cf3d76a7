"""The numba kernels of ``resample``: loops only. They never validate; the caller owns the output."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for, jit_inner


@jit_inner
def _interpolate(
    t_s: NDArray[np.float64], acc_g: NDArray[np.float32], left: int, t: float, out: NDArray[np.float32]
) -> None:
    weight = (t - t_s[left]) / (t_s[left + 1] - t_s[left])
    for axis in range(3):
        out[axis] = acc_g[left, axis] + weight * (acc_g[left + 1, axis] - acc_g[left, axis])


@jit_for("void(float64[::1], float32[:, ::1], int64, int64, float64, float32[:, ::1])")
def linear(
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    first: int,
    count: int,
    rate_hz: float,
    out: NDArray[np.float32],
) -> None:
    """Interpolate grid samples first .. first + count - 1; all lie within [t_s[0], t_s[-1]]."""
    left = 0
    for i in range(count):
        t = (first + i) / rate_hz
        while left + 2 < len(t_s) and t_s[left + 1] <= t:
            left += 1
        _interpolate(t_s, acc_g, left, t, out[i])


@jit_for("void(float64[::1], float32[:, ::1], int64, int64, float64, float64, float64, float32[:, ::1])")
def low_pass(
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    first: int,
    count: int,
    rate_hz: float,
    cutoff_hz: float,
    half_width_s: float,
    out: NDArray[np.float32],
) -> None:
    """Low-pass and resample: a Hann-windowed sinc at each grid sample, over whatever times lie under it.

    Every weight is multiplied by the stretch of time that its sample stands for and the sum is
    divided out, so jitter and bursts do not pull the mean. Where the samples around are too uneven
    for that, as in a hole wider than a grid period, the two nearest are interpolated instead. Each
    grid sample depends on the samples within ``half_width_s`` and on their neighbours alone: the
    result is the same however the stream was cut and whenever it began.
    """
    start, left, last = 1, 0, len(t_s) - 1
    for i in range(count):
        t = (first + i) / rate_hz
        while start < last and t_s[start] <= t - half_width_s:
            start += 1
        while left + 1 < last and t_s[left + 1] <= t:
            left += 1
        if (t_s[left + 1] - t_s[left]) * rate_hz > 1.0:
            _interpolate(t_s, acc_g, left, t, out[i])
            continue
        x = y = z = total = 0.0
        j = start
        while j < last and t_s[j] < t + half_width_s:
            offset = t_s[j] - t
            phase = math.pi * offset / half_width_s
            argument = 2.0 * math.pi * cutoff_hz * offset
            sinc = 1.0 if argument == 0.0 else math.sin(argument) / argument
            weight = sinc * (0.5 + 0.5 * math.cos(phase)) * (t_s[j + 1] - t_s[j - 1])
            x += weight * acc_g[j, 0]
            y += weight * acc_g[j, 1]
            z += weight * acc_g[j, 2]
            total += weight
            j += 1
        if not 0.7 < total * cutoff_hz < 1.3:
            # Bursts and holes: the weights do not add up to the filter, and would swing.
            _interpolate(t_s, acc_g, left, t, out[i])
            continue
        out[i, 0] = x / total
        out[i, 1] = y / total
        out[i, 2] = z / total
