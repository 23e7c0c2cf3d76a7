"""Synthetic streams for the tests of the signal path."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream.samples import Samples


def motion(t_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """A smooth (n, 3) motion with gravity, a function of time alone."""
    return np.stack(
        [0.4 * np.sin(2 * np.pi * 1.3 * t_s), 0.3 * np.cos(2 * np.pi * 2.1 * t_s), np.ones_like(t_s)], axis=1
    ).astype(np.float32)


def jittered_times(
    rng: np.random.Generator, *, rate_hz: float, seconds: float, start_s: float = 100.0
) -> NDArray[np.float64]:
    """Strictly increasing times around a nominal rate."""
    n = int(seconds * rate_hz)
    return start_s + (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / rate_hz


def batch(
    t_s: NDArray[np.float64] | list[float],
    *,
    rate_hz: float = 50.0,
    sequence: int | None = None,
    device: str = "watch",
) -> Samples:
    """A batch of ``motion`` at the given times."""
    times = np.asarray(t_s, np.float64)
    return Samples(device, times, motion(times), rate_hz, sequence=sequence)


def batches(
    *, seconds: float, rate_hz: float = 50.0, size: int = 25, start_s: float = 100.0, device: str = "watch"
) -> list[Samples]:
    """A gapless, numbered stream."""
    times = start_s + np.arange(int(seconds * rate_hz)) / rate_hz
    return [
        batch(times[i : i + size], rate_hz=rate_hz, sequence=i // size, device=device)
        for i in range(0, len(times), size)
    ]
