"""Events in one SQLite database, a file or in memory: a change is made as a whole or not at all.

Whoever has the file open has it alone. No threads and no second attempts here: what SQLite raises is
for the caller.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vskd_stream.events import EventType
from vskd_stream.publication import Publication

_LOCK_S = 1.0
"""A daemon that is just ending lets go of the file within this time."""
_ROW_BYTES = 128
"""What a row takes beside topic and payload: its numbers, id, and indexes."""
_FIRST_DATE_S = 1.6e9
"""A clock that shows less was not set yet (a Pi has no date but the network's): no age comes of it."""
_APPLICATION, _VERSION = 0x76736B64, 1
_SCHEMA = f"""
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, stored_s REAL,
        topic TEXT NOT NULL, properties BLOB NOT NULL, payload BLOB NOT NULL
    );
    CREATE INDEX event_update ON event (seq) WHERE type = 'update';
    CREATE INDEX event_start ON event (seq) WHERE type = 'start';
    CREATE INDEX event_end ON event (id) WHERE type = 'end';
    CREATE TABLE open (
        topic TEXT PRIMARY KEY, seq INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
        properties BLOB NOT NULL, payload BLOB NOT NULL
    );
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {_VERSION};
"""
_COLUMNS = "seq, type, id, topic, properties, payload"
_SIZE = f"length(topic) + length(properties) + length(payload) + {_ROW_BYTES}"
_PUT_EVENT = f"INSERT INTO event ({_COLUMNS}, stored_s) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_PUT_OPEN = f"INSERT OR REPLACE INTO open ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
_OLDEST = "seq = (SELECT min(seq) FROM event WHERE type = '{}')"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event, in the order of ``seq``."""

    seq: int
    type: EventType
    id: str
    publication: Publication


@dataclass(frozen=True, slots=True)
class Drop:
    """Events that were given up; ``reason`` names a counter."""

    reason: str
    detail: str
    count: int = 1
    seq: int | None = None
    """Which, if it was one."""


class ForeignError(Exception):
    """A sound database that is not an outbox, or one of another version."""


def is_damage(error: Exception) -> bool:
    """Whether the file itself is the trouble, rather than the disk it lies on."""
    return isinstance(error, ForeignError) or _primary_code(error) in _DAMAGE


def is_locked(error: Exception) -> bool:
    """Whether another process has the file open."""
    return _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_dead(error: Exception) -> bool:
    """Whether the open file may never work again, as on a stick that was pulled out."""
    return _primary_code(error) == sqlite3.SQLITE_IOERR


def _primary_code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class Store:
    """The events that wait, oldest first, and the last that was told of every activity that goes on."""

    def __init__(
        self, path: Path | None, *, max_bytes: int, max_age_s: float, max_events: int | None = None
    ) -> None:
        """Open the file, or make it; None: in memory.

        Raises:
            sqlite3.Error: It is damaged, someone else's, or on a disk that does not do.
            OSError: Its folder is not there and cannot be made, or nothing may be written in it.
            ForeignError: It is a database, but none of ours.
        """
        self.count = 0
        """Events that wait."""
        self.size_bytes = 0
        """Of those, what the bound counts."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._max_events = max_events
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It tells what someone does all day: nobody else reads it, nor what SQLite puts beside it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(path or ":memory:", timeout=_LOCK_S, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def write(
        self,
        events: Sequence[StoredEvent],
        *,
        now_s: float,
        forget: Iterable[int] = (),
        goes_on: Iterable[StoredEvent] | None = None,
    ) -> list[Drop]:
        """Add events, and take out what was delivered; returns what had to give way.

        What goes on follows from the events, unless ``goes_on`` tells it.
        """
        # Without an event nothing is lost with a power cut: what was delivered is delivered again.
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if events else 'NORMAL'}")
        with self._transaction():
            for event in events:
                self._insert(event, now_s)
            for seq in forget:
                self._delete("seq = ?", seq)
            if goes_on is not None:
                self._connection.execute("DELETE FROM open")
                self._connection.executemany(_PUT_OPEN, map(_row, goes_on))
            return [*self._expired(now_s), *self._surplus()]

    def read(self, *, after: int, limit: int) -> list[StoredEvent]:
        """The first events behind ``after``; all of them if ``limit`` is negative."""
        query = f"SELECT {_COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
        return [_event(row) for row in self._connection.execute(query, (after, limit))]

    def reaches(self, after: int) -> bool:
        """Whether there are events behind ``after``."""
        return bool(self._one("SELECT EXISTS (SELECT 1 FROM event WHERE seq > ?)", after))

    @property
    def last_seq(self) -> int:
        """The greatest number; 0 if no event waits."""
        last: int | None = self._one("SELECT max(seq) FROM event")
        return last or 0

    def goes_on(self) -> list[StoredEvent]:
        """The last event of every activity that has not ended, delivered or not."""
        query = f"SELECT {_COLUMNS} FROM open ORDER BY seq"  # noqa: S608
        return [_event(row) for row in self._connection.execute(query)]

    def renumber(self, *, below: int) -> None:
        """Move all numbers, in their order, under ``below``."""
        with self._transaction():
            self._connection.execute("UPDATE event SET seq = seq - ?", (self.last_seq - below + 1,))

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def _prepare(self) -> None:
        run = self._connection.execute
        # Nobody else may come in between: and SQLite needs no file of shared memory then.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        # The log beside the file stays at a megabyte.
        run("PRAGMA wal_autocheckpoint = 256")
        run("PRAGMA journal_size_limit = 1048576")
        with self._transaction():
            if self._one("SELECT count(*) FROM sqlite_master") == 0:
                for statement in _SCHEMA.split(";"):
                    run(statement)
        marks = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if marks != (_APPLICATION, _VERSION):
            raise ForeignError("it is not an outbox of this version")
        if (found := self._one("PRAGMA quick_check(1)")) != "ok":
            raise ForeignError(found)
        size = f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM event"  # noqa: S608
        self.count, self.size_bytes = run(size).fetchone()

    def _insert(self, event: StoredEvent, now_s: float) -> None:
        row = _row(event)
        self._connection.execute(_PUT_EVENT, (*row, now_s if now_s > _FIRST_DATE_S else None))
        self.count += 1
        self.size_bytes += sum(map(len, row[3:])) + _ROW_BYTES
        if event.type == "end":
            ended = (event.publication.topic, event.id)
            self._connection.execute("DELETE FROM open WHERE topic = ? AND id = ?", ended)
        else:
            self._connection.execute(_PUT_OPEN, row)

    def _delete(self, where: str, *values: object) -> list[tuple[int, str, str, str]]:
        """Delete events; returns (seq, type, id, topic) of each."""
        delete = f"DELETE FROM event WHERE {where} RETURNING seq, type, id, topic, {_SIZE}"  # noqa: S608
        rows = self._connection.execute(delete, values).fetchall()
        self.count -= len(rows)
        self.size_bytes -= sum(size for *_, size in rows)
        return [(seq, type_, id_, topic) for seq, type_, id_, topic, _ in rows]

    def _expired(self, now_s: float) -> Iterator[Drop]:
        oldest = "SELECT stored_s FROM event ORDER BY seq LIMIT 1"
        while (stored_s := self._one(oldest)) is not None and now_s - stored_s > self._max_age_s:
            for seq, type_, _, topic in self._delete("seq = (SELECT min(seq) FROM event)"):
                yield Drop(f"outbox_expired_{type_}", topic, seq=seq)

    def _surplus(self) -> Iterator[Drop]:
        """Give up updates, then whole activities, then ends whose start was delivered; of each the oldest.

        So nobody waits for ever for the end of what he saw start.
        """
        while self.size_bytes > self._max_bytes or (
            self._max_events is not None and self.count > self._max_events
        ):
            gone = (
                self._delete(_OLDEST.format("update"))
                or self._delete(_OLDEST.format("start"))
                or self._delete("seq = (SELECT min(seq) FROM event)")
            )
            for seq, type_, id_, _ in gone.copy():
                if type_ == "start":
                    gone += self._delete("id = ? AND type = 'end' AND seq > ?", id_, seq)
            for seq, type_, _, topic in gone:
                yield Drop(f"outbox_full_{type_}", topic, seq=seq)

    def _one(self, query: str, *values: object) -> Any:
        row = self._connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self.count, self.size_bytes
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self.count, self.size_bytes = before
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise


_Row = tuple[int, EventType, str, str, bytes, bytes]


def _row(event: StoredEvent) -> _Row:
    topic, payload = event.publication.topic, event.publication.payload
    properties = msgspec.json.encode(msgspec.structs.replace(event.publication, topic="", payload=b""))
    return event.seq, event.type, event.id, topic, properties, payload


def _event(row: _Row) -> StoredEvent:
    seq, type_, id_, topic, properties, payload = row
    publication = msgspec.json.decode(properties, type=Publication)
    return StoredEvent(seq, type_, id_, msgspec.structs.replace(publication, topic=topic, payload=payload))
