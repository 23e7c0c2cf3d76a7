from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.messages import event
from vskd_stream import hindsight
from vskd_stream.broker._keeper import Bounds, Keeper, Report
from vskd_stream.broker.journal import Journal
from vskd_stream.errors import VskdError
from vskd_stream.events import EventType

BOUNDS = Bounds(max_bytes=10**8, max_age_s=1e6, max_in_memory=1000)


class Rooms:
    """A journal, and what it reports."""

    def __init__(self, path: Path, *, keeper: type[Keeper] = Keeper, **options: Any) -> None:
        self.keeper = keeper(path, BOUNDS)
        self.journal = Journal(self.keeper, **{"max_pending": 1000, **options})
        self.reports: list[Report] = []
        self._arrived = asyncio.Event()
        self.journal.on_report = self._take

    def append(self, type_: EventType = "end", *, hold: bool = True) -> int | None:
        message = event(type_)
        told = hindsight.told(message)
        assert told is not None
        return self.journal.append(message, told, hold=hold)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self._arrived.clear()
                await self._arrived.wait()

    def _take(self, report: Report) -> None:
        self.reports.append(report)
        self._arrived.set()


class SlowKeeper(Keeper):
    """A disk that answers when it is let."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.batches: list[int] = []

    def take(self, events: Any = (), **more: Any) -> Report:
        self.may_answer.wait(10)
        self.batches.append(len(events))
        return super().take(events, **more)


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    one = Rooms(tmp_path / "outbox.sqlite3")
    assert await one.journal.open() == []
    yield one
    await one.journal.close()


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Rooms]:
    one = Rooms(tmp_path / "outbox.sqlite3", keeper=SlowKeeper, max_pending=10, patience_s=0.2)
    await one.journal.open()
    yield one
    assert isinstance(one.keeper, SlowKeeper)
    one.keeper.may_answer.set()
    await one.journal.close()


async def test_an_event_is_stored_a_moment_after_it_was_appended(rooms: Rooms) -> None:
    seq = rooms.append()
    assert seq == 1
    assert not rooms.journal.is_stored(seq)
    await rooms.until(lambda: rooms.journal.is_stored(1))
    assert (rooms.journal.count, rooms.journal.last_seq, rooms.journal.is_behind) == (1, 1, False)


async def test_what_the_caller_does_not_hold_is_loaded_when_it_asks(rooms: Rooms) -> None:
    rooms.append(hold=False)
    rooms.append(hold=False)
    assert rooms.journal.is_behind
    rooms.journal.load(5)
    await rooms.until(lambda: any(report.loaded for report in rooms.reports))
    loaded = next(report.loaded for report in rooms.reports if report.loaded)
    assert [one.seq for one in loaded] == [1, 2]
    assert not rooms.journal.is_behind
    rooms.journal.forget(1)
    assert rooms.journal.count == 1


async def test_the_next_run_finds_what_was_not_forgotten(rooms: Rooms, tmp_path: Path) -> None:
    for type_ in ("start", "update", "end"):
        rooms.append(type_)
    rooms.journal.forget(1)
    assert await rooms.journal.close() == 0
    again = Rooms(tmp_path / "outbox.sqlite3")
    assert await again.journal.open() == []
    assert (again.journal.count, again.journal.last_seq, again.journal.is_behind) == (2, 3, True)
    assert again.reports == [Report(is_behind=True)]
    await again.journal.close()


async def test_a_second_daemon_is_refused(
    rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vskd_stream.broker._store._LOCK_S", 0.0)
    with pytest.raises(VskdError, match="another daemon has it open"):
        await Rooms(tmp_path / "outbox.sqlite3").journal.open()


async def test_what_comes_while_the_disk_is_busy_is_written_in_one_go(slow: Rooms) -> None:
    keeper = slow.keeper
    assert isinstance(keeper, SlowKeeper)
    keeper.may_answer.clear()
    for _ in range(9):
        slow.append()
        await asyncio.sleep(0.002)
    keeper.may_answer.set()
    await slow.until(lambda: slow.journal.is_stored(9))
    assert sum(keeper.batches) == 9
    assert len(keeper.batches) == 2


async def test_the_loop_waits_for_no_disk(slow: Rooms) -> None:
    assert isinstance(slow.keeper, SlowKeeper)
    slow.keeper.may_answer.clear()
    began_s = time.perf_counter()
    for _ in range(10):
        slow.append()
    slow.journal.forget(1)
    slow.journal.load(5)
    assert time.perf_counter() - began_s < 0.02


async def test_a_disk_that_does_not_answer_holds_up_nothing_for_long(slow: Rooms) -> None:
    keeper = slow.keeper
    assert isinstance(keeper, SlowKeeper)
    with capture_logs() as logs:
        keeper.may_answer.clear()
        slow.append()
        assert not slow.journal.is_stored(1)
        await slow.until(lambda: slow.journal.is_stored(1))
        slow.append()
        assert slow.journal.is_stored(2)
        keeper.may_answer.set()
        await slow.until(lambda: len(keeper.batches) >= 2 and len(slow.reports) > 2 and keeper.count == 2)
    assert [line["event"] for line in logs][:2] == [
        "the outbox does not answer: events are sent unstored",
        "the outbox answers again",
    ]
    assert slow.keeper.count == 2


async def test_what_waits_for_a_disk_that_does_not_answer_is_bounded(slow: Rooms) -> None:
    keeper = slow.keeper
    assert isinstance(keeper, SlowKeeper)
    keeper.may_answer.clear()
    assert [slow.append(hold=False) for _ in range(12)] == [*range(1, 11), None, None]
    # What the caller holds goes its way all the same.
    assert slow.append() == 11
    keeper.may_answer.set()
    await slow.until(lambda: slow.journal.is_stored(11))
    assert slow.keeper.count == 10


async def test_closing_waits_for_no_dead_disk_and_says_what_is_lost(slow: Rooms) -> None:
    assert isinstance(slow.keeper, SlowKeeper)
    slow.keeper.may_answer.clear()
    for _ in range(3):
        slow.append()
    began_s = time.monotonic()
    assert await slow.journal.close() == 3
    assert time.monotonic() - began_s < 5.0


async def test_closing_stores_what_was_appended_a_moment_before(tmp_path: Path) -> None:
    rooms = Rooms(tmp_path / "outbox.sqlite3")
    await rooms.journal.open()
    for _ in range(50):
        rooms.append()
    assert await rooms.journal.close() == 0
    again = Rooms(tmp_path / "outbox.sqlite3")
    await again.journal.open()
    assert again.journal.count == 50
    await again.journal.close()
