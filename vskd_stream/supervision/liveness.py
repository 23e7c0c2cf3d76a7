"""Whether the gateway is alive and ready: verdicts in words, from counts that others keep."""

from __future__ import annotations

from typing import Final

HUNG_AFTER_S: Final = 20.0
"""A batch of the largest model takes a second on the slowest gateway; one that takes this long never ends."""
LAG_WINDOW_S: Final = 60.0
"""The event loop's lag is the worst of so long: longer than anyone waits between two scrapes."""


class Progress:
    """Whether what waits before the model comes out of it again; a thread that hangs says nothing.

    All times are monotonic seconds. Whoever asks, and how often, changes nothing.
    """

    def __init__(self, *, hung_after_s: float = HUNG_AFTER_S) -> None:
        self._hung_after_s = hung_after_s
        self._waiting = 0
        self._since_s: float | None = None

    def went_in(self, now_s: float) -> None:
        """A piece of a stream was handed to the worker."""
        if not self._waiting:
            self._since_s = now_s
        self._waiting += 1

    def came_out(self, now_s: float) -> None:
        """One was decided on."""
        self.gave_way()
        if self._waiting:
            self._since_s = now_s

    def gave_way(self) -> None:
        """One was skipped: before a model that hangs, too, there is no room for all."""
        self._waiting -= 1
        if not self._waiting:
            self._since_s = None

    def troubles(self, now_s: float) -> list[str]:
        """What is wrong, a sentence each."""
        if self._since_s is None or now_s - self._since_s < self._hung_after_s:
            return []
        return [f"windows wait, and the model has answered nothing for {now_s - self._since_s:.0f} s"]


class Lag:
    """How late the event loop was, at worst, in the last minute."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    def observe(self, now_s: float, late_s: float) -> None:
        """A timer was ``late_s`` late at ``now_s`` (monotonic seconds)."""
        # What came before and was less late can never be the worst again.
        while self._late and self._late[-1][1] <= late_s:
            self._late.pop()
        self._late.append((now_s, max(0.0, late_s)))

    def worst_s(self, now_s: float) -> float:
        """The worst of ``LAG_WINDOW_S``."""
        while self._late and now_s - self._late[0][0] > LAG_WINDOW_S:
            self._late.pop(0)
        return self._late[0][1] if self._late else 0.0


def unready(*, is_connected: bool, is_durable: bool) -> list[str]:
    """Why events would be lost now, a sentence each; the model is warm before anything is served."""
    if is_connected or is_durable:
        return []
    return ["no broker is connected, and no outbox on disk takes events"]
