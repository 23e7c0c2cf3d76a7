"""Messages of QoS 1 on their way out: in order, bounded, and each kept until a broker has acknowledged it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vskd_stream.publication import Publication


@dataclass(frozen=True, slots=True)
class _Sent:
    publication: Publication
    is_birth: bool


class Outbox:
    """A queue, and what has left it but is not acknowledged.

    Births belong to one connection: they go before everything that waits, and die with it.
    """

    def __init__(self, *, max_queued: int) -> None:
        """``max_queued`` bounds what waits; what is in flight comes on top, and is bounded by its sender."""
        if max_queued < 1:
            raise ValueError(f"max_queued must be positive, not {max_queued}")
        self._max_queued = max_queued
        self._births: deque[Publication] = deque()
        self._queue: deque[Publication] = deque()
        self._in_flight: dict[int, _Sent] = {}

    def __len__(self) -> int:
        return len(self._births) + len(self._queue) + len(self._in_flight)

    def __contains__(self, publication: Publication) -> bool:
        return publication in self._births or publication in self._queue

    @property
    def in_flight(self) -> int:
        """How many were sent and are not acknowledged."""
        return len(self._in_flight)

    def put(self, publication: Publication) -> Publication | None:
        """Queue a message; returns the oldest one if it had to give way."""
        gave_way = self._queue.popleft() if len(self._queue) >= self._max_queued else None
        self._queue.append(publication)
        return gave_way

    def greet(self, birth: Publication) -> None:
        """Queue a birth of the new connection, before everything but its other births."""
        self._births.append(birth)

    def head(self) -> Publication | None:
        """What is to be sent next."""
        source = self._births or self._queue
        return source[0] if source else None

    def sent(self, mid: int) -> None:
        """The head has been sent under this id."""
        is_birth = bool(self._births)
        self._in_flight[mid] = _Sent(self.discard(), is_birth)

    def discard(self) -> Publication:
        """Take the head out: nobody will ever accept it."""
        return (self._births or self._queue).popleft()

    def acknowledged(self, mid: int) -> Publication | None:
        """The broker has answered for this id; returns its message, None if it is not known."""
        sent = self._in_flight.pop(mid, None)
        return sent.publication if sent else None

    def disconnected(self) -> None:
        """What was in flight waits again, where it was; the births are forgotten."""
        self._queue.extendleft(
            sent.publication for sent in reversed(self._in_flight.values()) if not sent.is_birth
        )
        self._in_flight.clear()
        self._births.clear()
