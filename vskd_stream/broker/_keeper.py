"""Where events wait: on disk, and in memory while the disk fails; they return to it when it works again.

Synchronous, and at home in one thread, which ``journal`` runs.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from vskd_stream import hindsight
from vskd_stream.broker._store import Drop, ForeignError, Store, StoredEvent, is_damage, is_dead, is_locked
from vskd_stream.errors import OutboxError

LAZY_S = 1.0
"""Deliveries are noted so late, many at once: one that a crash forgets is only repeated."""
RETRY_S = 15.0
_BEGINNING = -(2**63)
_TROUBLE = (OSError, sqlite3.Error, ForeignError)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait, and for how long."""

    max_bytes: int
    max_age_s: float
    max_in_memory: int
    """Events that may wait while the disk fails."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a call."""

    drops: Sequence[Drop] = ()
    loaded: Sequence[StoredEvent] | None = None
    """None: none were asked for."""
    is_behind: bool = False
    """Whether events wait that were not handed out."""
    found: int = 0
    """Events of an earlier run that only now could be read."""
    size_bytes: int = 0
    """Of all events that wait."""


class Keeper:
    """Events that wait; each is handed out once in a run, and answered for until it is forgotten."""

    def __init__(
        self,
        path: Path,
        bounds: Bounds,
        *,
        utc_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._bounds = bounds
        self._utc_s = utc_s
        self._monotonic_s = monotonic_s
        self._disk: Store | None = None
        self._was_open = False
        self._disk_reaches = 0
        """The last number that is on the disk."""
        self._unread = 0
        """Events on a disk that cannot be read now."""
        self._is_dead = False
        """Whether the open file may never work again, though another try may."""
        self._memory: Store | None = None
        """While the disk fails."""
        self._goes_on: dict[str, StoredEvent] = {}
        """By topic, the last event of what has not ended since we started."""
        self._held: set[int] = set()
        self._delivered: set[int] = set()
        """On the disk still."""
        self._handed_to = _BEGINNING
        self._note_at_s = math.inf
        self._retry_at_s = math.inf
        self._drops: list[Drop] = []

    @property
    def count(self) -> int:
        """Events that wait."""
        stored = sum(store.count for store in self._stores)
        return max(0, stored - len(self._delivered))

    @property
    def is_on_disk(self) -> bool:
        """Whether what is kept goes to the disk; may be asked by any thread."""
        return self._disk is not None and self._memory is None

    @property
    def due_in_s(self) -> float | None:
        """When ``take`` is to be called though there is nothing to give; None: never."""
        due_at_s = min(self._note_at_s, self._retry_at_s)
        return None if due_at_s == math.inf else max(0.0, due_at_s - self._monotonic_s())

    def start(self) -> tuple[int, list[hindsight.Ended]]:
        """Open the file: the last number in use, and the activities that a crash cut off.

        Each of those gets its ``end``, behind all that waits.

        Raises:
            OutboxError: Another process has the file open.
        """
        try:
            self._disk = self._opened()
        except _TROUBLE as error:
            if is_locked(error):
                words = "another daemon has it open; give each gateway its own outbox.directory"
                raise OutboxError(self._path, words) from None
            self._fail(error)
            return 0, []
        self._was_open = True
        self._disk_reaches = self._disk.last_seq
        cut_off = self._cut_off(self._disk)
        ends = _ends(cut_off, first_seq=max(0, self._disk_reaches) + 1)
        self._write(ends)
        if self._memory is None:
            _log.info("events wait on disk", outbox=str(self._path), events=self.count)
        return max(0, self._disk_reaches, *(end.seq for end in ends)), cut_off

    def take(
        self,
        events: Iterable[StoredEvent] = (),
        *,
        held: Iterable[int] = (),
        forget: Iterable[int] = (),
        load: int = 0,
    ) -> Report:
        """Keep events, of which ``held`` stay with the caller; forget others; hand out up to ``load``."""
        events, found = list(events), 0
        for seq in held:
            self._held.add(seq)
            self._handed_to = max(self._handed_to, seq)
        self._forget(forget)
        if events or load or self._monotonic_s() >= self._note_at_s:
            self._write(events)
        if self._monotonic_s() >= self._retry_at_s:
            found = self._return_to_disk()
        loaded = self._load(load) if load else None
        drops, self._drops = self._drops, []
        size_bytes = sum(store.size_bytes for store in self._stores)
        return Report(drops, loaded, self._is_behind(), found, size_bytes)

    def close(self) -> int:
        """Note what is to be noted, and let the file go; returns how many events end with us."""
        if self._memory is not None:
            self._return_to_disk()
        elif self._delivered:
            self._write([])
        volatile = 0 if self._memory is None else self._memory.count
        for store in self._stores:
            store.close()
        return volatile

    def _is_behind(self) -> bool:
        try:
            return any(store.reaches(self._handed_to) for store in self._stores)
        except _TROUBLE as error:
            self._fail(error, is_unreadable=True)
        return any(store.reaches(self._handed_to) for store in self._stores)

    @property
    def _stores(self) -> list[Store]:
        return [store for store in (self._disk, self._memory) if store is not None]

    def _opened(self) -> Store:
        try:
            return self._open()
        except _TROUBLE as error:
            if not is_damage(error):
                raise
            aside = self._path.with_name(f"{self._path.name}.damaged")
            # With its log, or SQLite would take that for the next one's.
            self._path.replace(aside)
            for suffix in ("-wal", "-journal"):
                log = self._path.with_name(self._path.name + suffix)
                if log.exists():
                    log.replace(aside.with_name(aside.name + suffix))
            _log.error("outbox damaged: begun anew", reason=str(error), moved_to=str(aside))
            if self._unread:
                self._drops.append(Drop("outbox_damaged", str(aside), count=self._unread))
            self._unread = 0
            self._delivered.clear()
            return self._open()

    def _open(self) -> Store:
        return Store(self._path, max_bytes=self._bounds.max_bytes, max_age_s=self._bounds.max_age_s)

    def _cut_off(self, disk: Store) -> list[hindsight.Ended]:
        """What went on when the daemon was killed, and was not found to go on since."""
        ours = {event.id for event in self._goes_on.values()}
        cut_off = []
        for event in disk.goes_on():
            try:
                one = hindsight.ended(event.publication, published_utc_s=self._utc_s())
            except ValueError as error:
                _log.warning("an activity without end cannot be read", id=event.id, reason=str(error))
                continue
            if event.id not in ours:
                cut_off.append(one)
        return cut_off

    def _forget(self, seqs: Iterable[int]) -> None:
        seqs = set(seqs)
        self._held -= seqs
        on_disk = seqs if self._memory is None else {seq for seq in seqs if seq <= self._disk_reaches}
        if self._memory is not None and seqs != on_disk:
            self._memory.write([], forget=seqs - on_disk, now_s=self._utc_s())
        if on_disk:
            self._delivered |= on_disk
            self._note_at_s = min(self._note_at_s, self._monotonic_s() + LAZY_S)

    def _write(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            topic = event.publication.topic
            if event.type != "end":
                self._goes_on[topic] = event
            elif topic in self._goes_on and self._goes_on[topic].id == event.id:
                del self._goes_on[topic]
        self._note_at_s = math.inf
        now_s = self._utc_s()
        if self._memory is None:
            assert self._disk is not None
            try:
                self._dropped(self._disk.write(events, forget=self._delivered, now_s=now_s))
            except _TROUBLE as error:
                self._fail(error)
            else:
                self._stored(events)
                return
        assert self._memory is not None
        self._dropped(self._memory.write(events, now_s=now_s))

    def _stored(self, events: Sequence[StoredEvent]) -> None:
        self._delivered.clear()
        self._disk_reaches = max([self._disk_reaches, *(event.seq for event in events)])

    def _dropped(self, drops: Sequence[Drop]) -> None:
        self._drops += drops
        gone = {drop.seq for drop in drops if drop.seq is not None}
        self._held -= gone
        self._delivered -= gone

    def _load(self, limit: int) -> list[StoredEvent]:
        rows: list[StoredEvent] = []
        for store in self._stores:
            try:
                rows += store.read(after=self._handed_to, limit=limit + len(self._held))
            except _TROUBLE as error:
                self._fail(error, is_unreadable=True)
        loaded: list[StoredEvent] = []
        for row in rows:
            if len(loaded) == limit:
                break
            self._handed_to = row.seq
            if row.seq not in self._held and row.seq not in self._delivered:
                loaded.append(row)
        self._held.update(row.seq for row in loaded)
        return loaded

    def _fail(self, error: Exception, *, is_unreadable: bool = False) -> None:
        """Go on in memory. What the disk holds is read on, unless that is what fails."""
        if is_unreadable or is_damage(error):
            self._give_up_disk()
        if self._memory is None:
            _log.warning("events wait in memory only", outbox=str(self._path), reason=_reason(error))
            self._memory = Store(
                None,
                max_bytes=self._bounds.max_bytes,
                max_age_s=self._bounds.max_age_s,
                max_events=self._bounds.max_in_memory,
            )
        self._is_dead = is_dead(error)
        self._retry_at_s = self._monotonic_s() + (0.0 if is_damage(error) else RETRY_S)

    def _give_up_disk(self) -> None:
        if self._disk is not None:
            self._unread = max(0, self._disk.count - len(self._delivered | self._held))
            with contextlib.suppress(sqlite3.Error):
                self._disk.close()
            self._disk = None

    def _return_to_disk(self) -> int:
        """Move everything to the disk, if it works; returns how many events of an earlier run were found."""
        assert self._memory is not None
        self._retry_at_s = self._monotonic_s() + RETRY_S
        found = 0
        try:
            if self._is_dead:
                self._give_up_disk()
            if self._disk is None:
                self._disk, found = self._reopened()
            events = self._memory.read(after=_BEGINNING, limit=-1)
            now_s, goes_on = self._utc_s(), self._goes_on.values()
            drops = self._disk.write(events, forget=self._delivered, goes_on=goes_on, now_s=now_s)
        except _TROUBLE as error:
            self._is_dead = is_dead(error) or is_damage(error)
            return found
        self._dropped(drops)
        self._stored(events)
        self._memory.close()
        self._memory, self._retry_at_s = None, math.inf
        _log.info("events wait on disk again", outbox=str(self._path), events=self.count)
        return found

    def _reopened(self) -> tuple[Store, int]:
        disk = self._opened()
        found = 0
        try:
            if not self._was_open:
                # All of it is older than what came since we started, and neither knows the other's numbers.
                cut_off = self._cut_off(disk)
                disk.renumber(below=-len(cut_off))
                ends = _ends(cut_off, first_seq=-len(cut_off))
                self._dropped(disk.write(ends, now_s=self._utc_s()))
                found = disk.count
        except BaseException:
            disk.close()
            raise
        self._was_open, self._handed_to, self._unread = True, _BEGINNING, 0
        return disk, found


def _ends(cut_off: Sequence[hindsight.Ended], *, first_seq: int) -> list[StoredEvent]:
    return [StoredEvent(seq, "end", one.id, one.end) for seq, one in enumerate(cut_off, first_seq)]


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
