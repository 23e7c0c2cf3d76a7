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


def cosines(means: Floats, range_g: float | None) -> Floats:
    """To [-1, 1]: tanh of a fixed range, or min-max without one (a constant series goes to -1)."""
    if range_g is not None:
        return np.asarray(np.tanh(means / range_g))
    extent = float(np.ptp(means))
    if extent < 10 * np.finfo(np.float64).eps:
        extent = 1.0
    return np.asarray(np.clip(2.0 * (means - means.min()) / extent - 1.0, -1.0, 1.0))


def gramian_angular_field(
    window: NDArray[np.float32], *, size: int, method: str, range_g: float | None
) -> Floats:
    """(3, n) to (3 or 6, size, size); ``range_g`` None is min-max scaling."""
    angles = [
        np.arccos(cosines(piecewise_aggregate(axis.astype(np.float64), size), range_g)) for axis in window
    ]
    summation = [np.cos(phi[:, None] + phi[None, :]) for phi in angles]
    difference = [np.sin(phi[:, None] - phi[None, :]) for phi in angles]
    return np.stack(
        {"summation": summation, "difference": difference, "both": summation + difference}[method]
    )
