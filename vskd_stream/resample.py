"""Irregular samples → the model's rate, on a grid that the stream's own clock fixes.

Grid sample k lies at stream time k / rate, whoever resamples and whenever that process started.
A hole longer than ``max_gap_s`` is never interpolated: the grid samples in it are not made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _checks, _resample

LOW_PASS_RATIO = 1.5
"""Input that is denser than the grid by more than this is low-passed; otherwise linear
interpolation is used, whose error is small where a wrist moves (below some 8 Hz)."""
CUTOFF = 0.45
"""Low-pass cutoff as a part of the grid's rate; its Nyquist frequency is at 0.5."""
HALF_WIDTH_PERIODS = 4.0
"""The low-pass reaches so many grid periods to either side, and delays the stream by as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive grid samples; a hole lies before a block that does not continue the last one."""

    start: int
    """Number of the first grid sample."""
    acc_g: NDArray[np.float32]
    """(m, 3) acceleration in g, m >= 1."""

    @property
    def end(self) -> int:
        """Number of the grid sample after the last."""
        return self.start + len(self.acc_g)


class Resampler:
    """One stream's resampler: the same blocks, joined, however the samples are cut into pushes."""

    def __init__(self, *, rate_hz: float, max_gap_s: float) -> None:
        self._rate_hz = rate_hz
        self._max_gap_s = max_gap_s
        self._half_width_s = HALF_WIDTH_PERIODS / rate_hz
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what comes next is not joined with what came before."""
        self._t_s = np.empty(0, np.float64)
        self._acc_g = np.empty((0, 3), np.float32)
        self._next: int | None = None
        self._low_pass = False

    def push(
        self, t_s: NDArray[np.float64], acc_g: NDArray[np.float32], *, sampling_rate_hz: float
    ) -> list[Block]:
        """Take samples, later than all before them, and return the grid samples that they complete.

        Args:
            t_s: (n,) float64 stream time in seconds, strictly increasing.
            acc_g: (n, 3) float32.
            sampling_rate_hz: The device's nominal rate: decides whether to low-pass.
        """
        low_pass = sampling_rate_hz > LOW_PASS_RATIO * self._rate_hz
        if low_pass != self._low_pass:
            self.reset()
            self._low_pass = low_pass
        t_s = np.concatenate((self._t_s, t_s))
        acc_g = np.concatenate((self._acc_g, acc_g))
        if _checks.first_step_over(t_s, self._max_gap_s) < 0:
            whole = self._resample(t_s, acc_g)
            return [] if whole is None else [whole]
        blocks = []
        start = 0
        for end in (*(np.flatnonzero(np.diff(t_s) > self._max_gap_s) + 1), len(t_s)):
            if start > 0:
                self._next = None
            block = self._resample(t_s[start:end], acc_g[start:end])
            if block is not None:
                blocks.append(block)
            start = int(end)
        return blocks

    def _resample(self, t_s: NDArray[np.float64], acc_g: NDArray[np.float32]) -> Block | None:
        """Resample what is whole of one unbroken run, and keep what later grid samples will need."""
        reach_s = self._half_width_s if self._low_pass else 0.0
        if self._next is None:
            self._next = math.floor((t_s[0] + reach_s) * self._rate_hz) + 1
        # Strictly inside, so that the outermost samples in reach have neighbours on both sides.
        end = math.ceil((t_s[-1] - reach_s) * self._rate_hz)
        first, count = self._next, end - self._next
        block = None
        if count > 0:
            out = np.empty((count, 3), np.float32)
            if self._low_pass:
                _resample.low_pass(
                    t_s, acc_g, first, count, self._rate_hz, CUTOFF * self._rate_hz, reach_s, out
                )
            else:
                _resample.linear(t_s, acc_g, first, count, self._rate_hz, out)
            self._next = end
            block = Block(first, out)
        # One sample before the reach of the next grid sample, so that the first within has a neighbour.
        keep = max(int(t_s.searchsorted(self._next / self._rate_hz - reach_s, side="right")) - 1, 0)
        self._t_s, self._acc_g = t_s[keep:].copy(), acc_g[keep:].copy()
        return block
