"""Events on disk until a broker has them. A thread of its own writes: the event loop waits for no disk.

What comes while the thread is busy it writes together, in one go: a slow disk makes events late by one
write, not by a queue of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from vskd_stream.broker._keeper import Keeper, Report
from vskd_stream.broker._store import StoredEvent
from vskd_stream.hindsight import Ended, Told
from vskd_stream.publication import Publication

PATIENCE_S = 10.0
"""A disk may tidy up for seconds; one that takes longer holds up no event any more."""
_CLOSE_S = 0.5

_log = structlog.get_logger()


@dataclass(slots=True)
class _Batch:
    """What the thread is to do next."""

    events: list[StoredEvent] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    forget: list[int] = field(default_factory=list)
    load: int = 0
    last_seq: int = 0
    is_last: bool = False

    def __bool__(self) -> bool:
        return bool(self.events or self.forget or self.load or self.is_last)


class Journal:
    """The event loop's side of it: nothing here waits, ``on_report`` tells what came of it.

    Every event has a number. The caller holds some in its memory, and loads the others when there is
    room; what it has delivered it forgets.
    """

    def __init__(self, keeper: Keeper, *, max_pending: int, patience_s: float = PATIENCE_S) -> None:
        """``max_pending`` bounds the events that may wait for a disk which does not answer."""
        self.on_report: Callable[[Report], None] = lambda _: None
        self.last_seq = 0
        """The number of the last event."""
        self.count = 0
        """Events that were not forgotten yet."""
        self.size_bytes = 0
        """Of the events that wait, as far as the thread has told."""
        self._keeper = keeper
        self._max_pending = max_pending
        self._patience_s = patience_s
        self._is_behind = False
        self._stored_to = 0
        self._unheld_to = 0
        self._is_open = self._is_stuck = False
        self._watch: asyncio.TimerHandle | None = None
        self._wake = threading.Condition()
        self._batch = _Batch()

    @property
    def is_behind(self) -> bool:
        """Whether there are events that the caller does not hold."""
        return self._is_behind or self._unheld_to > self._stored_to

    @property
    def is_durable(self) -> bool:
        """Whether events are on disk: it is open, its disk works, and answers."""
        return self._is_open and not self._is_stuck and self._keeper.is_on_disk

    async def open(self) -> list[Ended]:
        """Start; returns the activities that a crash cut off, whose ends wait now behind all else.

        Raises:
            OutboxError: Another process has the file open.
        """
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[tuple[int, int, list[Ended]]] = self._loop.create_future()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._run, name="journal", daemon=True).start()
        self.last_seq, self.count, lost = await self._opened
        self._stored_to = self.last_seq
        self._is_behind = self.count > 0
        self._is_open = True
        self.on_report(Report(is_behind=self._is_behind))
        return lost

    def append(self, publication: Publication, told: Told, *, hold: bool) -> int | None:
        """Keep an event, ``hold``: beside the caller. Its number; None if there is no room for it."""
        is_full = self.last_seq - self._stored_to >= self._max_pending
        if is_full and not hold:
            return None
        self.last_seq += 1
        self.count += 1
        if not hold:
            self._unheld_to = self.last_seq
        event = StoredEvent(self.last_seq, told.event_type, told.id, publication)
        with self._wake:
            self._batch.last_seq = self.last_seq
            if not is_full:
                self._batch.events.append(event)
            if hold:
                self._batch.held.append(self.last_seq)
            self._wake.notify()
        if self._watch is None and not self._is_stuck:
            self._watch = self._loop.call_later(self._patience_s, self._lose_patience)
        return self.last_seq

    def is_stored(self, seq: int) -> bool:
        """Whether an event may be sent: it is on disk, or there is none to wait for."""
        return self._is_stuck or seq <= self._stored_to

    def forget(self, seq: int) -> None:
        """An event needs no keeping any more."""
        self.count -= 1
        with self._wake:
            self._batch.forget.append(seq)
            self._wake.notify()

    def load(self, limit: int) -> None:
        """Ask for the next events that the caller does not hold; a report brings them."""
        with self._wake:
            self._batch.load = limit
            self._wake.notify()

    async def close(self) -> int:
        """Let the thread end, but wait for no dead disk; how many events end with the process."""
        with self._wake:
            self._batch.is_last = True
            self._wake.notify()
        await asyncio.wait((self._ended,), timeout=_CLOSE_S)
        self._calm()
        return self._ended.result() if self._ended.done() else self.last_seq - self._stored_to

    def _run(self) -> None:
        """The thread."""
        try:
            last_seq, lost = self._keeper.start()
        except Exception as error:  # noqa: BLE001 (told on the loop)
            self._post(_settle, self._opened, error)
            return
        self._post(_settle, self._opened, (last_seq, self._keeper.count, lost))
        while not self._step():
            pass
        self._post(_settle, self._ended, self._keeper.close())

    def _step(self) -> bool:
        """Wait for something to do, and do it; whether it was the last."""
        with self._wake:
            if not self._batch:
                self._wake.wait(self._keeper.due_in_s)
            batch, self._batch = self._batch, _Batch()
        report = self._keeper.take(batch.events, held=batch.held, forget=batch.forget, load=batch.load)
        self._post(self._take, report, batch.last_seq)
        return batch.is_last

    def _post(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(what, *arguments)

    def _take(self, report: Report, last_seq: int) -> None:
        self._stored_to = max(self._stored_to, last_seq)
        self._is_behind, self.size_bytes = report.is_behind, report.size_bytes
        self.count += report.found
        self._calm()
        if self._stored_to < self.last_seq:
            self._watch = self._loop.call_later(self._patience_s, self._lose_patience)
        if self._is_stuck:
            self._is_stuck = False
            _log.info("the outbox answers again")
        self.on_report(report)

    def _lose_patience(self) -> None:
        self._watch, self._is_stuck = None, True
        _log.warning("the outbox does not answer: events are sent unstored", seconds=self._patience_s)
        self.on_report(Report(is_behind=self._is_behind))

    def _calm(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def _settle(future: asyncio.Future[Any], outcome: object) -> None:
    if future.done():  # Whoever asked has gone.
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
