"""Grid samples → windows, by a ring buffer with mirrored writes.

A window ends where the stream's sample number is a multiple of the hop, never where a process
happened to start, so a restart, a second gateway or a replay cuts the very same windows.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream import _window
from vskd_stream.resample import Block


class Window(msgspec.Struct, frozen=True, eq=False):
    """The grid samples [end_sample - n, end_sample)."""

    end_sample: int
    acc_g: NDArray[np.float32]
    """(3, n) float32, C-contiguous; nothing is written to it any more."""


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
        self._begin = 0
        self._end: int | None = None

    def push(self, block: Block) -> list[Window]:
        """Take grid samples; a block that does not continue the last one starts over.

        Returns:
            The windows that the block completes, in order.
        """
        start, count = block.start, len(block.acc_g)
        if start != self._end:
            self._begin = start
        self._end = end = start + count
        windows = _window.cut(self._ring, start, block.acc_g, self._hop, self._begin)
        made = len(windows)
        if not made:
            return []
        last = end - end % self._hop
        if made == 1:
            return [Window(last, windows[0])]
        return [Window(last - (made - 1 - i) * self._hop, windows[i]) for i in range(made)]
