"""Synthetic walks, by someone whose watch sits as it may."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE_HZ, N = 20.0, 200
HANGING = (0.96, -0.28, 0.0)
"""Where gravity points while the arm hangs."""


def about(axis: int, degrees: float) -> NDArray[np.float64]:
    """(3, 3) turn about one axis of the watch."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_z = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return np.roll(about_z, axis - 2, axis=(0, 1))


def walk(
    gravity: Sequence[float] | NDArray[np.float64] = HANGING,
    *,
    samples: int = N,
    steps_hz: float = 1.8,
    strength_g: float = 0.3,
    seed: int = 0,
) -> NDArray[np.float32]:
    """(3, samples) at ``RATE_HZ``: gravity that every other step presses harder, and noise."""
    rng = np.random.default_rng(seed)
    t_s = np.arange(samples) / RATE_HZ + rng.random()
    step = np.sin(2 * np.pi * steps_hz * t_s) + 0.4 * np.sin(np.pi * steps_hz * t_s + 1.0)
    acc_g = np.outer(gravity, 1.0 + strength_g * step) + rng.normal(0.0, 0.02, (3, samples))
    return acc_g.astype(np.float32)
