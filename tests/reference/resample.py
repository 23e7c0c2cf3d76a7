"""The resampler's definition, evaluated over a whole recording at once in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resample(
    t_s: NDArray[np.float64],
    acc_g: NDArray[np.float32],
    *,
    rate_hz: float,
    sampling_rate_hz: float,
    max_gap_s: float,
) -> dict[int, NDArray[np.float64]]:
    """Every grid sample that exists, by its number."""
    grid: dict[int, NDArray[np.float64]] = {}
    low_pass = sampling_rate_hz > 1.5 * rate_hz
    reach_s = 4.0 / rate_hz if low_pass else 0.0
    for run in np.split(np.arange(len(t_s)), np.flatnonzero(np.diff(t_s) > max_gap_s) + 1):
        times, values = t_s[run], acc_g[run].astype(np.float64)
        for k in range(int(np.ceil(times[0] * rate_hz)), int(times[-1] * rate_hz) + 1):
            t = k / rate_hz
            if not times[0] + reach_s < t < times[-1] - reach_s:
                continue
            left = int(np.searchsorted(times, t, side="right")) - 1
            if low_pass and times[left + 1] - times[left] <= 1 / rate_hz:
                offset = times[1:-1] - t
                window = np.where(np.abs(offset) < reach_s, 0.5 + 0.5 * np.cos(np.pi * offset / reach_s), 0.0)
                weight = np.sinc(2 * 0.45 * rate_hz * offset) * window * (times[2:] - times[:-2])
                if 0.7 < weight.sum() * 0.45 * rate_hz < 1.3:
                    grid[k] = weight @ values[1:-1] / weight.sum()
                    continue
            grid[k] = np.array([np.interp(t, times, values[:, axis]) for axis in range(3)])
    return grid
