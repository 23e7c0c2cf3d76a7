from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.messages import activity_id, event
from vskd_stream.broker._store import Drop, ForeignError, Store, StoredEvent, is_damage, is_locked
from vskd_stream.events import EventType
from vskd_stream.publication import Publication

NOW_S = 1.79e9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.sqlite3"


def opened(path: Path | None, **bounds: float) -> Store:
    return Store(path, **{"max_bytes": 10**9, "max_age_s": 1e9, **bounds})  # type: ignore[arg-type]


def stored(seq: int, type_: EventType = "update", name: object = 0, *, padding: int = 0) -> StoredEvent:
    return StoredEvent(seq, type_, activity_id(name), event(type_, name, at=seq, padding=padding))


def seqs(store: Store) -> list[int]:
    return [one.seq for one in store.read(after=-(10**9), limit=-1)]


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_what_is_written_is_read_in_order(path: Path, where: str) -> None:
    store = opened(path if where == "disk" else None)
    events = [stored(seq) for seq in (1, 2, 3)]
    assert store.write(events, now_s=NOW_S) == []
    assert store.read(after=0, limit=2) == events[:2]
    assert store.read(after=2, limit=9) == events[2:]
    assert (store.count, store.last_seq, store.reaches(2), store.reaches(3)) == (3, 3, True, False)
    store.write([], forget=[2, 7], now_s=NOW_S)
    assert (seqs(store), store.count) == ([1, 3], 2)
    store.close()


def test_a_message_comes_back_with_all_that_belongs_to_it(path: Path) -> None:
    store = opened(path)
    message = Publication(
        "vskd/gw/watch/event",
        b'{"schema":"vskd.event/1"}\xff\x00',
        expiry_s=7,
        content_type="application/json",
        user_properties=(("schema", "vskd.event/1"), ("bundle", "ab")),
    )
    store.write([StoredEvent(1, "start", "a", message)], now_s=NOW_S)
    store.close()
    store = opened(path)
    assert store.read(after=0, limit=1)[0].publication == message
    assert store.goes_on()[0].publication == message
    store.close()


def test_what_goes_on_is_known_after_its_start_was_delivered(path: Path) -> None:
    store = opened(path)
    store.write(
        [stored(1, "start", "a"), stored(2, "update", "a"), stored(3, "start", "b", padding=9)], now_s=0
    )
    store.write([], forget=[1, 2, 3], now_s=NOW_S)
    store.close()
    store = opened(path)
    # One device does one thing at a time.
    assert [one.id for one in store.goes_on()] == [activity_id("b")]
    store.write([stored(4, "end", "a")], now_s=NOW_S)
    assert [one.id for one in store.goes_on()] == [activity_id("b")]
    store.write([stored(5, "end", "b")], now_s=NOW_S)
    assert store.goes_on() == []
    store.write([], goes_on=[stored(6, "start", "c")], now_s=NOW_S)
    assert [one.id for one in store.goes_on()] == [activity_id("c")]
    store.close()


class TestBounds:
    def test_updates_give_way_first_then_whole_activities_then_ends_of_what_was_seen_to_start(self) -> None:
        store = opened(None, max_events=100)
        told: list[tuple[EventType, str]] = [
            *(("end", "before"), ("start", "a"), ("update", "a"), ("end", "a")),
            *(("start", "b"), ("update", "b"), ("end", "b"), ("start", "c"), ("update", "c")),
        ]
        store.write([stored(seq, *one) for seq, one in enumerate(told, 1)], now_s=NOW_S)
        dropped = []
        store._max_events = 9
        while store.count > 1:
            store._max_events -= 1
            for drop in store.write([], now_s=NOW_S):
                assert drop.seq is not None
                dropped.append((*told[drop.seq - 1], drop.reason))
        assert dropped == [
            ("update", "a", "outbox_full_update"),
            ("update", "b", "outbox_full_update"),
            ("update", "c", "outbox_full_update"),
            ("start", "a", "outbox_full_start"),
            ("end", "a", "outbox_full_end"),
            ("start", "b", "outbox_full_start"),
            ("end", "b", "outbox_full_end"),
            ("start", "c", "outbox_full_start"),
        ]
        assert seqs(store) == [1]
        store.close()

    def test_neither_the_events_nor_the_file_outgrow_the_bound(self, path: Path) -> None:
        store = opened(path, max_bytes=2**20)
        kinds: Iterator[EventType] = itertools.cycle(["start", "update", "update", "end"])
        drops: list[Drop] = []
        for seq in range(1, 6001, 20):
            batch = [stored(s, next(kinds), (s - 1) // 4, padding=200) for s in range(seq, seq + 20)]
            drops += store.write(batch, now_s=NOW_S)
            assert store.size_bytes <= 2**20
        assert store.count + len(drops) == 6000
        files = sum(file.stat().st_size for file in path.parent.iterdir())
        # Pages are half full at worst, and a log lies beside them.
        assert files < 2 * 2**20 + 1.5 * 2**20
        left = [one.type for one in store.read(after=0, limit=-1)]
        assert "update" not in left
        assert left == ["start", "end"] * (len(left) // 2)
        store.close()

    def test_what_has_waited_too_long_goes_whatever_it_is(self) -> None:
        store = opened(None, max_age_s=60.0)
        store.write([stored(1, "start")], now_s=NOW_S)
        store.write([stored(2, "end")], now_s=NOW_S + 30)
        assert store.write([], now_s=NOW_S + 60) == []
        assert store.write([], now_s=NOW_S + 61) == [
            Drop("outbox_expired_start", "vskd/gw/watch/event", seq=1),
        ]
        assert store.write([], now_s=NOW_S + 91)[0].reason == "outbox_expired_end"
        assert store.count == 0
        store.close()

    def test_a_clock_that_had_no_date_yet_ages_nothing(self) -> None:
        store = opened(None, max_age_s=60.0)
        store.write([stored(1)], now_s=12.0)
        assert store.write([stored(2)], now_s=NOW_S) == []
        store.close()

    def test_a_bound_that_was_lowered_holds_after_the_next_write(self, path: Path) -> None:
        store = opened(path)
        store.write([stored(seq, padding=1000) for seq in range(1, 101)], now_s=NOW_S)
        store.close()
        store = opened(path, max_bytes=20_000)
        assert len(store.write([], now_s=NOW_S)) == 100 - store.count
        assert store.count < 20
        store.close()


def test_numbers_can_be_moved_under_a_bound_in_their_order(path: Path) -> None:
    store = opened(path)
    store.write([stored(seq, padding=seq) for seq in (3, 5, 9)], now_s=NOW_S)
    store.renumber(below=-2)
    assert seqs(store) == [-9, -7, -3]
    store.renumber(below=-2)
    assert seqs(store)[-1] == -3
    store.close()


def test_a_write_that_fails_changes_nothing(path: Path) -> None:
    store = opened(path)
    store.write([stored(1, "start")], now_s=NOW_S)
    with pytest.raises(sqlite3.IntegrityError):
        store.write([stored(2, "end"), stored(1)], now_s=NOW_S)
    assert (seqs(store), store.count) == ([1], 1)
    assert len(store.goes_on()) == 1
    before = store.size_bytes
    store.close()
    store = opened(path)
    assert store.size_bytes == before
    store.close()


class TestFile:
    def test_nobody_else_reads_it(self, path: Path) -> None:
        store = opened(path)
        store.write([stored(1)], now_s=NOW_S)
        files = list(path.parent.iterdir())
        assert len(files) > 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        store.close()

    def test_whoever_has_it_has_it_alone(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vskd_stream.broker._store._LOCK_S", 0.0)
        store = opened(path)
        with pytest.raises(sqlite3.OperationalError) as caught:
            opened(path)
        assert is_locked(caught.value)
        assert not is_damage(caught.value)
        store.close()
        opened(path).close()

    def test_what_was_written_survives_a_process_that_is_killed(self, path: Path) -> None:
        program = f"""
import os, signal
from pathlib import Path
from tests.broker.test_store import NOW_S, opened, stored
store = opened(Path({str(path)!r}))
store.write([stored(1, "start"), stored(2)], now_s=NOW_S)
store.write([], forget=[1], now_s=NOW_S)
os.kill(os.getpid(), signal.SIGKILL)
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], check=False)
        assert done.returncode == -9
        store = opened(path)
        assert seqs(store) == [2]
        assert len(store.goes_on()) == 1
        store.close()

    @pytest.mark.parametrize("content", [b"x" * 100, b"SQLite format 3\0" + bytes(4000), b"", b"\0" * 5000])
    def test_what_is_no_database_is_damage_and_an_empty_file_is_a_beginning(
        self, path: Path, content: bytes
    ) -> None:
        path.parent.mkdir()
        path.write_bytes(content)
        if not content:
            opened(path).close()
            return
        with pytest.raises((sqlite3.DatabaseError, ForeignError)) as caught:
            opened(path)
        assert is_damage(caught.value)

    @pytest.mark.parametrize("page", [1, 2, 3, 5, 8])
    def test_a_page_that_was_overwritten_is_damage(self, path: Path, page: int) -> None:
        store = opened(path)
        store.write([stored(seq, padding=900) for seq in range(1, 101)], now_s=NOW_S)
        store.close()
        with path.open("r+b") as file:
            file.seek(4096 * page)
            file.write(os.urandom(4096))
        with pytest.raises((sqlite3.DatabaseError, ForeignError)) as caught:
            opened(path)
        assert is_damage(caught.value)

    def test_a_database_of_someone_else_is_none_of_ours(self, path: Path) -> None:
        path.parent.mkdir()
        foreign = sqlite3.connect(path)
        foreign.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY)")
        foreign.close()
        with pytest.raises(ForeignError) as caught:
            opened(path)
        assert is_damage(caught.value)

    def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            opened(tmp_path / "file" / "outbox.sqlite3")


@pytest.fixture(autouse=True)
def _no_connection_is_left_open(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [one for one in recwarn if issubclass(one.category, ResourceWarning)]
