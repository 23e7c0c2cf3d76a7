"""The numba kernels of ``health``: what a batch adds to its second, and what sixty of them add up to."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for, jit_inner

WINDOW_S: Final = 60
BATCHES, SAMPLES, FIRST_SAMPLES, DUPLICATES, LATE, REFUSED, GAPS, WINDOWS, SKIPPED, MISSING = range(10)
"""Columns of what is counted in a second; ``FIRST_SAMPLES`` are those of its first batch."""
NUMBER, FIRST_S, LAST_S, HOLE_S = range(4)
"""Columns of its times: which second it is, arrivals of its first and last batch, seconds of holes."""

_HOLE_PERIODS = 1.5
"""A step longer than one period and this many more is a hole: a late sample is not."""


def minute() -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Rings of counts and of times; a second's place in both is its number modulo ``WINDOW_S``."""
    times = np.zeros((WINDOW_S, 4))
    times[:, NUMBER] = -np.inf
    return np.zeros((WINDOW_S, 10), np.uint32), times


@jit_inner
def _row(counts: NDArray[np.uint32], times: NDArray[np.float64], number: float) -> int:
    row = int(number) % WINDOW_S
    if times[row, NUMBER] != number:
        counts[row] = 0
        times[row] = 0.0
        times[row, NUMBER] = number
    return row


@jit_for("void(uint32[:, ::1], float64[:, ::1], float64, int64, int64)", nogil=False)
def count(
    counts: NDArray[np.uint32], times: NDArray[np.float64], number: float, column: int, more: int
) -> None:
    """Count so many more in a second; beyond 32 bits it stays at the most."""
    row = _row(counts, times, number)
    counts[row, column] = min(np.int64(counts[row, column]) + more, np.int64(0xFFFFFFFF))


@jit_for(
    "float64(uint32[:, ::1], float64[:, ::1], float64, float64, Array(float64, 1, 'C', readonly=True),"
    " float64, float64, int64)",
    nogil=False,
)
def add(
    counts: NDArray[np.uint32],
    times: NDArray[np.float64],
    number: float,
    arrival_s: float,
    t_s: NDArray[np.float64],
    period_s: float,
    newest_s: float,
    windows: int,
) -> float:
    """Add a batch (n,) to a second, and the windows that it made whole; the newest stream time so far.

    ``newest_s`` is that before, NaN where there is none. A batch leaves a hole before it, at most a minute
    long; one that is older than what has come fills some.
    """
    row = _row(counts, times, number)
    if counts[row, BATCHES] == 0:
        times[row, FIRST_S] = arrival_s
        counts[row, FIRST_SAMPLES] = len(t_s)
    times[row, LAST_S] = arrival_s
    counts[row, BATCHES] += 1
    counts[row, SAMPLES] += len(t_s)
    counts[row, WINDOWS] += windows
    first_s, last_s = t_s[0], t_s[-1]
    if np.isnan(newest_s):
        return float(last_s)
    if last_s <= newest_s:
        times[row, HOLE_S] -= len(t_s) * period_s
        return newest_s
    hole_s = first_s - newest_s - period_s
    if hole_s > _HOLE_PERIODS * period_s:
        # A clock that leaps says no more than that all of the minute is in doubt.
        times[row, HOLE_S] += min(hole_s, np.float64(WINDOW_S))
    return float(last_s)


@jit_for("Tuple((int64[::1], float64[::1]))(uint32[:, ::1], float64[:, ::1], float64)", nogil=False)
def total(
    counts: NDArray[np.uint32], times: NDArray[np.float64], number: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sums over the minute up to a second; ``FIRST_SAMPLES`` and ``FIRST_S`` are those of its first batch."""
    counted, timed = np.zeros(counts.shape[1], np.int64), np.zeros(times.shape[1])
    for age in range(WINDOW_S):
        second = number - (WINDOW_S - 1 - age)
        row = int(second) % WINDOW_S
        if times[row, NUMBER] != second:
            continue
        if counts[row, BATCHES] > 0:
            if counted[BATCHES] == 0:
                timed[FIRST_S] = times[row, FIRST_S]
                counted[FIRST_SAMPLES] = counts[row, FIRST_SAMPLES]
            timed[LAST_S] = times[row, LAST_S]
        for column in range(counts.shape[1]):
            if column != FIRST_SAMPLES:
                counted[column] += counts[row, column]
        timed[HOLE_S] += times[row, HOLE_S]
    return counted, timed
