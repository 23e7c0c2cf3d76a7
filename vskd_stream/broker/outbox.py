"""Messages of QoS 1 on their way out: in order, bounded, and each kept until a broker has acknowledged it.

Events wait in a journal, if there is one: few of them are in memory then, and none leaves before it is
stored. Retained messages never do; of those only a topic's newest matters, and only that one waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vskd_stream import hindsight

if TYPE_CHECKING:
    from vskd_stream.broker._keeper import Report
    from vskd_stream.broker._store import Drop
    from vskd_stream.broker.journal import Journal
    from vskd_stream.events import EventType
    from vskd_stream.publication import Publication

WINDOW = 128
"""Events of a journal that are in memory: some more than a broker takes at once."""


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    publication: Publication
    place: int = 0
    """In the order of ``put``."""
    seq: int | None = None
    """Its number in the journal, if it is there."""
    event_type: EventType | None = None
    """None: it is no event."""
    is_birth: bool = False


class Outbox:
    """A queue, and what has left it but is not acknowledged.

    Births belong to one connection: they go before everything that waits, and die with it. An event that
    is not sent on the connection it was made in, or was made while there was none, is flagged as replayed.
    """

    def __init__(self, *, max_queued: int, journal: Journal | None = None, window: int = WINDOW) -> None:
        """``max_queued`` bounds what waits and is in no journal, ``window`` what is in memory all the same.

        What is in flight comes on top of the first, and is bounded by its sender.
        """
        if max_queued < 1:
            raise ValueError(f"max_queued must be positive, not {max_queued}")
        self._max_queued = max_queued
        self._journal = journal
        self._window = window
        self._births: deque[_Message] = deque()
        self._queue: OrderedDict[int, _Message] = OrderedDict()
        self._retained: dict[str, int] = {}
        """Topic to the place of its message in the queue."""
        self._updates: OrderedDict[int, None] = OrderedDict()
        """Places in the queue of updates that are in no journal."""
        self._held: dict[int, _Message] = {}
        """Events in memory that are in the journal, by their number there."""
        self._in_flight: dict[int, _Message] = {}
        self._last_place = 0
        self._replay_to = 0
        """The last event (by number, or by place) that was made before this connection."""
        self._is_loading = False
        self.replayed = 0
        """Events that were sent flagged, repetitions included."""

    def __len__(self) -> int:
        return self.unstored + (self._journal.count if self._journal else 0)

    def __contains__(self, publication: Publication) -> bool:
        waiting = (*self._births, *self._queue.values())
        return any(message.publication == publication for message in waiting)

    @property
    def in_flight(self) -> int:
        """How many were sent and are not acknowledged."""
        return len(self._in_flight)

    @property
    def unstored(self) -> int:
        """How many of those that wait or are in flight are in no journal."""
        return len(self._births) + len(self._queue) + len(self._in_flight) - len(self._held)

    def put(self, publication: Publication) -> Publication | None:
        """Queue a message; returns the one that had to give way: the oldest update, else the oldest."""
        told = hindsight.told(publication)
        if told is not None and self._journal is not None:
            hold = not self._journal.is_behind and len(self._held) < self._window
            seq = self._journal.append(publication, told, hold=hold)
            if seq is not None and hold:
                self._hold(seq, told.event_type, publication)
            return publication if seq is None else None
        if publication.retain and publication.topic in self._retained:
            self._remove(self._retained[publication.topic])
        gave_way = None
        if len(self._queue) - len(self._held) >= self._max_queued:
            place = next(iter(self._updates), None)
            if place is None:
                place = next(place for place, message in self._queue.items() if message.seq is None)
            gave_way = self._remove(place).publication
        self._last_place += 1
        event_type = None if told is None else told.event_type
        self._insert(_Message(publication, self._last_place, event_type=event_type))
        return gave_way

    def greet(self, birth: Publication) -> None:
        """Queue a birth of the new connection, before everything but its other births."""
        self._births.append(_Message(birth, is_birth=True))

    def head(self) -> Publication | None:
        """What is to be sent next; None if there is nothing, or it is not stored yet."""
        if self._births:
            return self._births[0].publication
        message = next(iter(self._queue.values()), None)
        if message is None:
            return None
        if message.seq is not None:
            assert self._journal is not None
            if not self._journal.is_stored(message.seq):
                return None
        publication = message.publication
        return hindsight.replayed(publication) if self._is_replay(message) else publication

    def sent(self, mid: int) -> None:
        """The head has been sent under this id."""
        message = self._in_flight[mid] = self._pop()
        self.replayed += self._is_replay(message)

    def discard(self) -> Publication:
        """Take the head out: nobody will ever accept it."""
        return self._forget(self._pop())

    def acknowledged(self, mid: int) -> Publication | None:
        """The broker has answered for this id; returns its message, None if it is not known."""
        message = self._in_flight.pop(mid, None)
        return None if message is None else self._forget(message)

    def connected(self) -> None:
        """A new connection begins: what waits now was not made for it."""
        self._replay_to = self._last_place if self._journal is None else self._journal.last_seq

    def disconnected(self) -> None:
        """What was in flight waits again, where it was; the births are forgotten."""
        for message in reversed(self._in_flight.values()):
            is_outdated = message.publication.retain and message.publication.topic in self._retained
            if message.is_birth or is_outdated:
                continue
            self._insert(message)
            self._queue.move_to_end(message.place, last=False)
            if message.place in self._updates:
                self._updates.move_to_end(message.place, last=False)
        self._in_flight.clear()
        self._births.clear()

    def take(self, report: Report) -> list[Drop]:
        """Take what the journal tells; returns what was dropped there."""
        assert self._journal is not None
        drops = [drop for drop in report.drops if not self._is_on_its_way(drop)]
        for drop in drops:
            self._journal.count -= drop.count
            message = None if drop.seq is None else self._held.pop(drop.seq, None)
            if message is not None:
                self._remove(message.place)
        if report.loaded is not None:
            self._is_loading = False
            for event in report.loaded:
                self._hold(event.seq, event.type, event.publication)
        self._refill()
        return drops

    def _is_replay(self, message: _Message) -> bool:
        number = message.place if message.seq is None else message.seq
        return message.event_type is not None and number <= self._replay_to

    def _is_on_its_way(self, drop: Drop) -> bool:
        message = None if drop.seq is None else self._held.get(drop.seq)
        return message is not None and message.place not in self._queue

    def _hold(self, seq: int, event_type: EventType, publication: Publication) -> None:
        self._last_place += 1
        message = _Message(publication, self._last_place, seq, event_type)
        self._held[seq] = message
        self._insert(message)

    def _insert(self, message: _Message) -> None:
        self._queue[message.place] = message
        if message.publication.retain:
            self._retained[message.publication.topic] = message.place
        elif message.event_type == "update" and message.seq is None:
            self._updates[message.place] = None

    def _pop(self) -> _Message:
        if self._births:
            return self._births.popleft()
        return self._remove(next(iter(self._queue)))

    def _remove(self, place: int) -> _Message:
        message = self._queue.pop(place)
        self._updates.pop(place, None)
        if message.publication.retain:
            del self._retained[message.publication.topic]
        return message

    def _forget(self, message: _Message) -> Publication:
        if message.seq is not None:
            assert self._journal is not None
            del self._held[message.seq]
            self._journal.forget(message.seq)
            self._refill()
        return message.publication

    def _refill(self) -> None:
        """Load more events once half of those in memory have left."""
        assert self._journal is not None
        if self._journal.is_behind and not self._is_loading and len(self._held) <= self._window // 2:
            self._is_loading = True
            self._journal.load(self._window - len(self._held))
