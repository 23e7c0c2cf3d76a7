"""The Gramian Angular Field by its definition: angles, then cosines and sines of their sums, in float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def piecewise_aggregate(series: Floats, size: int) -> Floats:
    """Means of ``size`` segments of nearly equal length."""
    bounds = np.linspace(0, len(series), size + 1).astype(int)
    return np.array([series[a:b].mean() for a, b in pairwise(bounds)])


def cosines(means: Floats, scaling: str, range_g: float | None) -> Floats:
    """To [-1, 1]: tanh of a range, its upper half, or min-max (a constant series goes to -1)."""
    if range_g is not None:
        cosine = np.tanh(means / range_g)
        return np.asarray({"fixed": cosine, "logistic": (1.0 + cosine) / 2.0}[scaling])
    extent = float(np.ptp(means))
    if extent < 10 * np.finfo(np.float64).eps:
        extent = 1.0
    return np.asarray(np.clip(2.0 * (means - means.min()) / extent - 1.0, -1.0, 1.0))


def detail(means: Floats, half_g: float) -> Floats:
    """Less the mean of 25 segments around, the ends' repeated; half of its way it goes within ``half_g``."""
    around = np.array([np.pad(means, 12, mode="edge")[i : i + 25].mean() for i in range(len(means))])
    less = means - around
    return np.asarray((1.0 + less / (np.abs(less) + half_g)) / 2.0)


def gramian_angular_field(
    window: NDArray[np.float32],
    *,
    size: int,
    method: str,
    scaling: str,
    range_g: float | None,
    detail_g: float | None = None,
) -> Floats:
    """(3, n) to (3, 6 or 12, size, size)."""
    series = [piecewise_aggregate(axis.astype(np.float64), size) for axis in window]
    fields = _fields([cosines(means, scaling, range_g) for means in series], method)
    if detail_g is None:
        return fields
    return np.concatenate([fields, _fields([detail(means, detail_g) for means in series], method)])


def _fields(scaled: list[Floats], method: str) -> Floats:
    angles = [np.arccos(each) for each in scaled]
    summation = [np.cos(phi[:, None] + phi[None, :]) for phi in angles]
    difference = [np.sin(phi[:, None] - phi[None, :]) for phi in angles]
    return np.stack(
        {"summation": summation, "difference": difference, "both": summation + difference}[method]
    )


def band(field: Floats, lags: int) -> Floats:
    """What lies beside a (c, size, size) field's diagonal: (c, lags, size - lags), pixel by pixel."""
    channels, size, _ = field.shape
    sheared = np.empty((channels, lags, size - lags))
    for k in range(lags):
        for t in range(size - lags):
            sheared[:, k, t] = field[:, t, t + k + 1]
    return sheared
