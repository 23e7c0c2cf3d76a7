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


@jit_for(
    "Tuple((int64, int64, int64, float32[:, ::1]))(float64[::1], float32[:, ::1], int64, int64, int64,"
    " float64[::1], float32[:, ::1], int64, float64, float64, float64, float64)",
    nogil=False,
)
def advance(
    held_s: NDArray[np.float64],
    held_g: NDArray[np.float32],
    held: int,
    is_unbroken: int,
    following: int,
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    begin: int,
    max_gap_s: float,
    rate_hz: float,
    cutoff_hz: float,
    reach_s: float,
) -> tuple[int, int, int, NDArray[np.float32]]:
    """Take samples from ``begin`` on until a hole follows, and make what is whole of the grid.

    ``held_s`` and ``held_g`` have room for ``held`` samples that are there and all that come; what later
    grid samples will need is left in them. ``following`` is the next grid sample if the stream
    ``is_unbroken``. A ``cutoff_hz`` of 0 interpolates.

    Returns:
        Where the hole is, or len(t_s); how many samples are held now; the first grid sample; those made.
    """
    end = begin
    while end < len(t_s):
        if held > 0 and t_s[end] - held_s[held - 1] > max_gap_s:
            break
        held_s[held] = t_s[end]
        for axis in range(3):
            held_g[held, axis] = acc_g[end, axis]
        held += 1
        end += 1
    whole_s, whole_g = held_s[:held], held_g[:held]
    if not is_unbroken:
        following = math.floor((whole_s[0] + reach_s) * rate_hz) + 1
    # Strictly inside, so that the outermost samples in reach have neighbours on both sides.
    count = max(math.ceil((whole_s[-1] - reach_s) * rate_hz) - following, 0)
    out = np.empty((count, 3), np.float32)
    if count > 0:
        if cutoff_hz > 0.0:
            low_pass(whole_s, whole_g, following, count, rate_hz, cutoff_hz, reach_s, out)
        else:
            linear(whole_s, whole_g, following, count, rate_hz, out)
    # One sample before the reach of the next grid sample, so that the first within has a neighbour.
    needed_s = (following + count) / rate_hz - reach_s
    keep = max(int(np.searchsorted(whole_s, needed_s, side="right")) - 1, 0)
    for i in range(keep, held):
        held_s[i - keep] = held_s[i]
        for axis in range(3):
            held_g[i - keep, axis] = held_g[i, axis]
    return end, held - keep, following, out
