"""Whether what goes into the worker comes out of it again; asked now and then, it needs no clock."""

from __future__ import annotations


class Pulse:
    """Counts the pieces of streams on their way through the model."""

    def __init__(self) -> None:
        self._went_in = self._came_out = 0
        self._out_at_beat = 0
        self._was_waiting = False

    @property
    def waiting(self) -> int:
        """Pieces that wait for the model, or are in it."""
        return self._went_in - self._came_out

    def went_in(self) -> None:
        """A piece was handed to the worker."""
        self._went_in += 1

    def came_out(self) -> None:
        """One was decided on, or dropped and counted."""
        self._came_out += 1

    def beats(self) -> bool:
        """Whether anything came out since the last call, or nothing had to.

        What went in since then was not due yet: a worker is taken to hang when something waited at the
        last call and nothing at all has come out since.
        """
        moved = self._came_out > self._out_at_beat
        hangs = self._was_waiting and self.waiting > 0 and not moved
        self._out_at_beat, self._was_waiting = self._came_out, self.waiting > 0
        return not hangs
