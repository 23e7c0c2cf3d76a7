"""Irregular samples → the model's rate, on a grid that the stream's own clock fixes.

Grid sample k lies at stream time k / rate, whoever resamples and whenever that process started.
A hole longer than ``max_gap_s`` is never interpolated: the grid samples in it are not made.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream import _resample

LOW_PASS_RATIO = 1.5
"""Input that is denser than the grid by more than this is low-passed; otherwise linear
interpolation is used, whose error is small where a wrist moves (below some 8 Hz)."""
CUTOFF = 0.45
"""Low-pass cutoff as a part of the grid's rate; its Nyquist frequency is at 0.5."""
HALF_WIDTH_PERIODS = 4.0
"""The low-pass reaches so many grid periods to either side, and delays the stream by as much."""

HELD_SAMPLES = 32
"""Room for so many more than have come, for those that wait for what follows them."""
_NO_FILTER = (0.0, 0.0)


class Block(msgspec.Struct, frozen=True, eq=False):
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
        self._low_pass_from_hz = LOW_PASS_RATIO * rate_hz
        self._filter = (CUTOFF * rate_hz, HALF_WIDTH_PERIODS / rate_hz)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what comes next is not joined with what came before."""
        self._held_s = np.empty(0, np.float64)
        self._held_g = np.empty((0, 3), np.float32)
        self._held = 0
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
        low_pass = sampling_rate_hz > self._low_pass_from_hz
        if low_pass != self._low_pass:
            self.reset()
            self._low_pass = low_pass
        count = len(t_s)
        if not self._held + count <= len(self._held_s) <= 8 * (self._held + count + HELD_SAMPLES):
            self._make_room(self._held + count + HELD_SAMPLES)
        cutoff_hz, reach_s = self._filter if low_pass else _NO_FILTER
        blocks = []
        end = 0
        while True:
            following = self._next
            end, self._held, first, out = _resample.advance(
                self._held_s,
                self._held_g,
                self._held,
                int(following is not None),
                following or 0,
                t_s,
                acc_g,
                end,
                self._max_gap_s,
                self._rate_hz,
                cutoff_hz,
                reach_s,
            )
            made = len(out)
            self._next = first + made
            if made:
                blocks.append(Block(first, out))
            if end == count:
                return blocks
            self._held, self._next = 0, None

    def _make_room(self, room: int) -> None:
        """For so many samples, those included that are held: no more, for one huge batch must not keep it."""
        held_s, held_g = np.empty(room, np.float64), np.empty((room, 3), np.float32)
        held_s[: self._held], held_g[: self._held] = self._held_s[: self._held], self._held_g[: self._held]
        self._held_s, self._held_g = held_s, held_g
