from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.disks import SmallDisk, writing_fails
from tests.messages import activity_id, event, read
from vskd_stream.broker._keeper import LAZY_S, RETRY_S, Bounds, Keeper, Report
from vskd_stream.broker._store import ForeignError, Store, StoredEvent
from vskd_stream.errors import VskdError
from vskd_stream.events import EventType

BOUNDS = Bounds(max_bytes=10**8, max_age_s=1e6, max_in_memory=1000)


class Clock:
    now_s = 1.79e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


def keeper_at(path: Path, clock: Clock, bounds: Bounds = BOUNDS) -> Keeper:
    return Keeper(path, bounds, utc_s=clock, monotonic_s=clock)


def stored(seq: int, type_: EventType = "end", name: object = 0, **more: Any) -> StoredEvent:
    return StoredEvent(seq, type_, activity_id(name), event(type_, name, at=seq, **more))


def loaded(report: Report) -> list[int]:
    assert report.loaded is not None
    return [one.seq for one in report.loaded]


def told(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs if line["event"] != "events wait on disk"]


def everything(keeper: Keeper) -> list[StoredEvent]:
    """All that was not handed out yet."""
    events: list[StoredEvent] = []
    while (report := keeper.take(load=10)).loaded or report.is_behind:
        assert report.loaded is not None
        events += report.loaded
    return events


class TestHandingOut:
    def test_each_event_is_handed_out_once_in_a_run(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        assert keeper.start() == (0, [])
        report = keeper.take([stored(1), stored(2)], held=[1, 2])
        assert not report.is_behind
        assert keeper.take([stored(seq) for seq in (3, 4, 5)]).is_behind
        report = keeper.take(load=2)
        assert (loaded(report), report.is_behind) == ([3, 4], True)
        report = keeper.take([stored(6)], forget=[1, 3], load=5)
        assert (loaded(report), report.is_behind) == ([5, 6], False)
        assert keeper.count == 4
        assert loaded(keeper.take(load=5)) == []
        keeper.close()

    def test_what_was_not_forgotten_is_handed_out_in_the_next_run(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(seq) for seq in range(1, 6)], held=range(1, 6))
        keeper.take(forget=[1, 3])
        keeper.close()
        keeper = keeper_at(path, clock)
        assert keeper.start() == (5, [])
        assert keeper.count == 3
        assert loaded(keeper.take(load=9)) == [2, 4, 5]
        keeper.close()

    def test_deliveries_are_noted_together_and_a_little_later(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1), stored(2)], held=[1, 2])
        assert keeper.due_in_s is None
        keeper.take(forget=[1])
        clock.now_s += LAZY_S / 2
        keeper.take(forget=[2])
        assert keeper._disk is not None
        assert (keeper.count, keeper._disk.count) == (0, 2)
        assert keeper.due_in_s == LAZY_S / 2
        clock.now_s += LAZY_S / 2
        keeper.take()
        assert (keeper.count, keeper._disk.count, keeper.due_in_s) == (0, 0, None)
        keeper.close()


class TestCutOff:
    def test_what_a_crash_cut_off_ends_at_the_last_sample_that_was_told(
        self, path: Path, clock: Clock
    ) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a"), stored(2, "start", "b", device="other")], held=[1, 2])
        keeper.take([stored(3, "update", "a")], forget=[1, 2], held=[3])
        crash(keeper)
        keeper = keeper_at(path, clock)
        last_seq, cut_off = keeper.start()
        assert [(one.device, one.id) for one in cut_off] == [
            ("other", activity_id("b")),
            ("watch", activity_id("a")),
        ]
        events = everything(keeper)
        assert [one.type for one in events][-2:] == ["end", "end"]
        assert events[-1].seq == last_seq
        end = read(events[-1].publication)
        assert (end["id"], end["event_type"], end["reason"]) == (activity_id("a"), "end", "stopped")
        assert (end["end_sample"], end["at_sample"]) == (3, 3)
        keeper.close()

    def test_it_is_ended_though_the_disk_is_full_when_the_daemon_comes_back(
        self, path: Path, clock: Clock
    ) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a"), stored(2, "start", "b", device="other")])
        crash(keeper)
        keeper = keeper_at(path, clock)
        with capture_logs() as logs, writing_fails():
            last_seq, cut_off = keeper.start()
        assert told(logs) == ["events wait in memory only"]
        assert (last_seq, len(cut_off)) == (4, 2)
        keeper.take([stored(5, name="c")])
        clock.now_s += RETRY_S
        with capture_logs():
            keeper.take()
        crash(keeper)
        keeper = keeper_at(path, clock)
        assert keeper.start() == (5, [])
        assert [one.type for one in everything(keeper)] == ["start", "start", "end", "end", "end"]
        keeper.close()

    def test_it_is_ended_once_however_often_the_daemon_is_killed(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a")])
        for _ in range(3):
            crash(keeper)
            keeper = keeper_at(path, clock)
            last_seq, _ = keeper.start()
            assert last_seq == 2
        assert [one.type for one in everything(keeper)] == ["start", "end"]
        keeper.close()

    def test_what_cannot_be_read_is_told_and_stops_nothing(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        odd = stored(1, "start", "a").publication
        odd = type(odd)(odd.topic, b'{"schema":"vskd.event/1"}')
        keeper.take([StoredEvent(1, "start", "a", odd), stored(2, "start", "b", device="other")])
        crash(keeper)
        keeper = keeper_at(path, clock)
        with capture_logs() as logs:
            _, cut_off = keeper.start()
        assert [one.device for one in cut_off] == ["other"]
        assert told(logs) == ["an activity without end cannot be read"]
        keeper.close()


class TestWhileWritingFails:
    def test_it_goes_on_in_memory_says_so_once_and_returns(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a"), stored(2)])
        with capture_logs() as logs, writing_fails():
            for seq in (3, 4, 5):
                assert keeper.take([stored(seq, "update", "a")]).is_behind
                clock.now_s += RETRY_S
            # What is on disk is read on, and delivered.
            assert loaded(keeper.take(load=2)) == [1, 2]
            keeper.take(forget=[1])
            assert loaded(keeper.take(load=2)) == [3, 4]
            keeper.take(forget=[3])
            assert keeper.count == 3
        assert told(logs) == ["events wait in memory only"]
        assert logs[0]["reason"]
        with capture_logs() as logs:
            assert keeper.due_in_s is not None
            clock.now_s += keeper.due_in_s
            keeper.take()
        assert told(logs) == ["events wait on disk again"]
        assert loaded(keeper.take([stored(6, "update", "a")], load=9)) == [5, 6]
        crash(keeper)
        keeper = keeper_at(path, clock)
        keeper.start()
        assert [one.seq for one in everything(keeper)] == [2, 4, 5, 6, 7]
        keeper.close()

    def test_what_goes_on_is_right_on_disk_afterwards(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a")])
        with capture_logs(), writing_fails():
            keeper.take([stored(2, "end", "a"), stored(3, "start", "b")])
            keeper.take(load=9)
            keeper.take(forget=[1, 2, 3])
        clock.now_s += RETRY_S
        keeper.take()
        crash(keeper)
        keeper = keeper_at(path, clock)
        _, cut_off = keeper.start()
        assert [one.id for one in cut_off] == [activity_id("b")]
        keeper.close()

    def test_memory_is_bounded_and_every_drop_is_told(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock, Bounds(10**8, 1e6, max_in_memory=10))
        keeper.start()
        kinds: Iterator[EventType] = itertools.cycle(["start", "update", "update", "end"])
        reports = []
        with capture_logs(), writing_fails():
            for seq in range(1, 25):
                reports.append(keeper.take([stored(seq, next(kinds), (seq - 1) // 4)]))
                assert keeper.count <= 10
            drops = [drop for report in reports for drop in report.drops]
            assert len(drops) + keeper.count == 24
            reasons = [drop.reason for drop in drops]
            assert reasons.count("outbox_full_update") == 12
            assert keeper.close() == 10

    def test_a_disk_that_fails_from_the_beginning_is_taken_when_it_works(
        self, path: Path, clock: Clock
    ) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "old"), stored(2, "start", "kept", device="other"), stored(3)])
        crash(keeper)
        path.rename(path.with_name("away"))
        path.mkdir()
        keeper = keeper_at(path, clock)
        with capture_logs() as logs:
            assert keeper.start() == (0, [])
            # The same activity was found to go on.
            keeper.take([stored(1, "start", "kept", device="other"), stored(2)], held=[1, 2])
        assert told(logs) == ["events wait in memory only"]
        path.rmdir()
        path.with_name("away").rename(path)
        clock.now_s += RETRY_S
        with capture_logs() as logs:
            report = keeper.take()
        assert told(logs) == ["events wait on disk again"]
        assert (report.is_behind, report.found) == (True, 4)
        found = everything(keeper)
        assert [(one.type, one.id) for one in found] == [
            ("start", activity_id("old")),
            ("start", activity_id("kept")),
            ("end", activity_id(0)),
            ("end", activity_id("old")),
        ]
        assert all(one.seq < 0 for one in found)
        keeper.take(forget=[1, 2, *(one.seq for one in found)])
        assert keeper.close() == 0
        keeper = keeper_at(path, clock)
        _, cut_off = keeper.start()
        assert keeper.count == 1
        assert [one.id for one in cut_off] == [activity_id("kept")]
        keeper.close()

    def test_a_disk_that_was_pulled_out_is_taken_when_it_is_back(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1), stored(2)], held=[1])
        with capture_logs() as logs:
            kill_descriptors(path)
            keeper.take([stored(3)])
            clock.now_s += RETRY_S
            report = keeper.take(load=9)
        assert told(logs) == ["events wait in memory only", "events wait on disk again"]
        assert loaded(report) == [2, 3]
        assert keeper.close() == 0

    @pytest.mark.parametrize("trouble", ["full", "read-only"])
    def test_a_real_disk_that_is_full_or_read_only_is_survived(
        self, tmp_path: Path, clock: Clock, trouble: str
    ) -> None:
        with SmallDisk(tmp_path / "disk") as disk:
            keeper = keeper_at(disk.path / "outbox.sqlite3", clock)
            keeper.start()
            with capture_logs() as logs:
                keeper.take([stored(1, "start")])
                if trouble == "full":
                    disk.fill()
                    for seq in range(2, 30):
                        keeper.take([stored(seq, "update", padding=5000)])
                        clock.now_s += RETRY_S / 2
                    disk.make_room()
                else:
                    keeper.close()
                    disk.read_only()
                    keeper = keeper_at(disk.path / "outbox.sqlite3", clock)
                    keeper.start()
                    for seq in range(2, 30):
                        keeper.take([stored(seq, "update", "later")])
                        clock.now_s += RETRY_S / 2
                    disk.read_only(yes=False)
                clock.now_s += RETRY_S
                keeper.take()
            assert told(logs) == ["events wait in memory only", "events wait on disk again"]
            expected = "database or disk is full" if trouble == "full" else "Read-only file system"
            assert logs[0]["reason"] == expected
            waiting = everything(keeper)
            # What lay there when the daemon found it was an activity that had been cut off.
            cut_off = ["end"] if trouble == "read-only" else []
            assert [one.type for one in waiting] == ["start", *cut_off, *["update"] * 28]
            assert keeper.close() == 0


class TestDamage:
    @pytest.mark.parametrize(
        "content", [b"no database", os.urandom(9000), b"SQLite format 3\0" + bytes(9000)]
    )
    def test_a_damaged_file_is_moved_aside_and_begun_anew(
        self, path: Path, clock: Clock, content: bytes
    ) -> None:
        path.write_bytes(content)
        keeper = keeper_at(path, clock)
        with capture_logs() as logs:
            assert keeper.start() == (0, [])
        assert told(logs) == ["outbox damaged: begun anew"]
        aside = Path(logs[0]["moved_to"])
        assert aside.read_bytes() == content
        assert aside.parent == path.parent
        keeper.take([stored(1)])
        keeper.close()
        keeper = keeper_at(path, clock)
        assert keeper.start()[0] == 1
        keeper.close()

    def test_the_log_of_a_damaged_file_is_not_taken_for_the_next_ones(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(seq) for seq in range(1, 50)])
        keeper.close()
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(50)])
        log = path.with_name("outbox.sqlite3-wal").read_bytes()
        keeper.close()
        path.write_bytes(b"x" * 8192)
        path.with_name("outbox.sqlite3-wal").write_bytes(log)
        keeper = keeper_at(path, clock)
        with capture_logs() as logs:
            assert keeper.start() == (0, [])
        assert told(logs) == ["outbox damaged: begun anew"]
        assert keeper.count == 0
        keeper.close()

    def test_damage_that_shows_later_costs_what_it_hit_and_is_counted(self, path: Path, clock: Clock) -> None:
        keeper = keeper_at(path, clock)
        keeper.start()
        keeper.take([stored(1, "start", "a")], held=[1])
        keeper.take([stored(seq, padding=900) for seq in range(2, 400)])
        assert keeper._disk is not None
        keeper._disk._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        keeper._disk._connection.execute("PRAGMA cache_size = 0")
        with path.open("r+b") as file:
            for page in range(1, 60):
                file.seek(4096 * page)
                file.write(b"\xff" * 4096)
        with capture_logs() as logs:
            reports = [
                keeper.take([stored(400, "update", "a")]),
                keeper.take(load=100),
                keeper.take(load=100),
            ]
        assert "outbox damaged: begun anew" in told(logs)
        assert told(logs)[-1] == "events wait on disk again"
        drops = [drop for report in reports for drop in report.drops]
        assert [(drop.reason, drop.count) for drop in drops] == [("outbox_damaged", 398)]
        crash(keeper)
        keeper = keeper_at(path, clock)
        _, cut_off = keeper.start()
        assert [one.id for one in cut_off] == [activity_id("a")]
        assert [one.type for one in everything(keeper)] == ["update", "end"]
        keeper.close()


def test_what_sqlite_left_beside_a_damaged_file_goes_with_it(path: Path, clock: Clock) -> None:
    class Refusing(Keeper):
        refusals = 1

        def _open(self) -> Store:
            if self.refusals:
                self.refusals -= 1
                raise ForeignError("it is odd")
            return super()._open()

    path.write_bytes(b"file")
    path.with_name("outbox.sqlite3-wal").write_bytes(b"log")
    keeper = Refusing(path, BOUNDS)
    with capture_logs() as logs:
        keeper.start()
    assert logs[0]["reason"] == "it is odd"
    assert path.with_name("outbox.sqlite3.damaged").read_bytes() == b"file"
    assert path.with_name("outbox.sqlite3.damaged-wal").read_bytes() == b"log"
    keeper.close()


def test_a_second_daemon_is_refused_in_a_sentence(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vskd_stream.broker._store._LOCK_S", 0.0)
    keeper = keeper_at(path, clock)
    keeper.start()
    with pytest.raises(VskdError) as caught:
        keeper_at(path, clock).start()
    assert str(caught.value) == (
        f"outbox {path}: another daemon has it open; give each gateway its own outbox.directory"
    )
    keeper.take([stored(1)])
    assert keeper.close() == 0


def kill_descriptors(path: Path) -> None:
    """Whoever has the file open, or what lies beside it, can do nothing with it any more."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink().name.startswith(path.name):
                nothing = os.open(os.devnull, os.O_RDONLY)
                os.dup2(nothing, int(link.name))
                os.close(nothing)


def crash(keeper: Keeper) -> None:
    """Leave everything as a kill does, but for the lock."""
    assert keeper._disk is not None
    keeper._disk._connection.close()
