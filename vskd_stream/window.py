"""Grid samples → windows, by a ring buffer with mirrored writes.

A window ends where the stream's sample number is a multiple of the hop, never where a process
happened to start, so a restart, a second gateway or a replay cuts the very same windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _window
from vskd_stream.resample import Block


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The grid samples [end_sample - n, end_sample)."""

    end_sample: int
    acc_g: NDArray[np.float32]
    """(3, n) float32, C-contiguous, its own memory."""


class WindowCutter:
    """One stream's ring: O(1) work per sample, a copy per hop."""

    def __init__(self, *, window_samples: int, hop_samples: int) -> None:
        self._n = window_samples
        self._hop = hop_samples
        # Each sample is written twice, n apart, so the last n are contiguous at any moment.
        self._ring = np.zeros((3, 2 * window_samples), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next window is whole again only after n new samples."""
        self._begin: int | None = None
        self._end: int | None = None

    def push(self, block: Block) -> list[Window]:
        """Take grid samples; a block that does not continue the last one starts over.

        Returns:
            The windows that the block completes, in order.
        """
        if self._begin is None or block.start != self._end:
            self._begin = block.start
        windows = []
        number, end, taken = block.start, block.end, 0
        while number < end:
            count = min(end - number, self._hop - number % self._hop)
            _window.write(self._ring, number, block.acc_g, taken, count)
            number += count
            taken += count
            if number % self._hop == 0 and number - self._begin >= self._n:
                slot = number % self._n
                windows.append(Window(number, self._ring[:, slot : slot + self._n].copy()))
        self._end = end
        return windows
