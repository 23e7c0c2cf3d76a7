from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from tests.messages import disorders, event, key, read, state
from vskd_stream.broker._keeper import Bounds, Keeper, Report
from vskd_stream.broker._store import Drop
from vskd_stream.broker.journal import Journal
from vskd_stream.broker.outbox import Outbox
from vskd_stream.events import EventType
from vskd_stream.hindsight import Ended
from vskd_stream.publication import Publication


def message(name: object) -> Publication:
    return Publication(f"vskd/gw/{name}", b"")


def test_a_birth_goes_before_what_waits_and_is_forgotten_with_its_connection() -> None:
    outbox, event, birth = Outbox(max_queued=4), message("event"), message("birth")
    outbox.put(event)
    outbox.greet(birth)
    assert outbox.head() is birth
    outbox.sent(1)
    assert outbox.head() is event
    outbox.disconnected()
    assert outbox.head() is event
    assert len(outbox) == 1


def test_what_was_in_flight_is_sent_again_in_its_order() -> None:
    outbox = Outbox(max_queued=4)
    messages = [message(i) for i in range(4)]
    for one in messages:
        outbox.put(one)
    outbox.sent(7)
    outbox.sent(3)
    outbox.disconnected()
    assert [outbox.discard() for _ in range(4)] == messages


def test_beyond_the_bound_the_oldest_that_waits_gives_way() -> None:
    outbox = Outbox(max_queued=2)
    first, second, third, fourth = (message(i) for i in range(4))
    assert outbox.put(first) is None
    outbox.sent(1)
    assert outbox.put(second) is None
    assert outbox.put(third) is None
    assert outbox.put(fourth) is second
    assert outbox.in_flight == 1


def test_an_acknowledgement_of_nothing_changes_nothing() -> None:
    outbox = Outbox(max_queued=2)
    outbox.put(message(0))
    assert outbox.acknowledged(5) is None
    assert len(outbox) == 1


def test_a_bound_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_queued must be positive"):
        Outbox(max_queued=0)


class AnyTrouble(RuleBasedStateMachine):
    """Against a model that keeps one list: the unacknowledged, in the order they were put."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_queued=5)
        self.names = itertools.count()
        self.mids = itertools.count(1)
        self.waiting: deque[Publication] = deque()
        self.in_flight: dict[int, Publication] = {}

    @rule()
    def put(self) -> None:
        one = message(next(self.names))
        gave_way = self.outbox.put(one)
        assert gave_way == (self.waiting.popleft() if len(self.waiting) >= 5 else None)
        self.waiting.append(one)

    @precondition(lambda self: self.waiting and len(self.in_flight) < 3)
    @rule()
    def send(self) -> None:
        mid, one = next(self.mids), self.waiting.popleft()
        assert self.outbox.head() is one
        self.outbox.sent(mid)
        self.in_flight[mid] = one

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        mid = data.draw(st.sampled_from(sorted(self.in_flight)))
        assert self.outbox.acknowledged(mid) is self.in_flight.pop(mid)

    @rule()
    def disconnect(self) -> None:
        self.outbox.disconnected()
        self.waiting.extendleft(reversed(self.in_flight.values()))
        self.in_flight.clear()

    @invariant()
    def nothing_is_lost_or_out_of_order(self) -> None:
        assert len(self.outbox) == len(self.waiting) + len(self.in_flight)
        assert self.outbox.in_flight == len(self.in_flight)
        assert self.outbox.head() is (self.waiting[0] if self.waiting else None)
        assert len(self.outbox) <= 5 + 3


test_whatever_happens_messages_are_kept_in_order_until_acknowledged = AnyTrouble.TestCase


class TestRetained:
    def test_only_the_newest_message_of_a_topic_waits(self) -> None:
        outbox = Outbox(max_queued=4)
        other = message("other")
        for name in (1, 2, 3):
            outbox.put(state(name))
            if name == 1:
                outbox.put(other)
        assert len(outbox) == 2
        assert [outbox.discard(), outbox.discard()] == [other, state(3)]

    def test_what_is_in_flight_is_not_called_back_and_gives_way_to_a_newer_one_when_cut_off(self) -> None:
        outbox = Outbox(max_queued=4)
        outbox.put(state(1))
        outbox.sent(1)
        outbox.put(state(2))
        assert len(outbox) == 2
        outbox.sent(2)
        outbox.put(state(3, device="other"))
        outbox.disconnected()
        assert [outbox.discard(), outbox.discard()] == [state(2), state(3, device="other")]
        assert len(outbox) == 0

    def test_a_message_that_is_not_retained_never_gives_way_to_one_that_is(self) -> None:
        outbox = Outbox(max_queued=4)
        passing = replace(state(1), retain=False)
        outbox.put(passing)
        outbox.put(state(2))
        assert len(outbox) == 2
        outbox.sent(1)
        outbox.disconnected()
        assert [outbox.discard(), outbox.discard()] == [passing, state(2)]


class TestEvents:
    def test_updates_give_way_before_anything_else(self) -> None:
        outbox = Outbox(max_queued=3)
        start, end = event("start"), event("end")
        updates = [event("update", at=at) for at in (1, 2, 3)]
        for one in (start, updates[0], updates[1]):
            assert outbox.put(one) is None
        assert outbox.put(end) == updates[0]
        assert outbox.put(updates[2]) == updates[1]
        outbox.sent(1)
        assert outbox.put(state(1)) is None
        outbox.disconnected()
        assert outbox.put(message("x")) == updates[2]
        assert outbox.put(message("y")) == start

    def test_what_comes_late_is_flagged(self) -> None:
        outbox = Outbox(max_queued=9)
        outbox.put(event("start"))
        outbox.connected()
        assert head_is_flagged(outbox)
        outbox.sent(1)
        outbox.acknowledged(1)
        outbox.put(event("update"))
        assert not head_is_flagged(outbox)
        outbox.sent(2)
        outbox.put(event("end"))
        outbox.disconnected()
        outbox.connected()
        assert head_is_flagged(outbox)
        outbox.sent(3)
        assert head_is_flagged(outbox)
        assert outbox.acknowledged(3) == event("update")

    def test_the_flag_is_all_that_changes(self) -> None:
        outbox, one = Outbox(max_queued=9), event("start")
        outbox.put(one)
        outbox.connected()
        head = outbox.head()
        assert head is not None
        assert read(head) == read(one) | {"replayed": True}
        assert replace(head, payload=b"") == replace(one, payload=b"")


def head_is_flagged(outbox: Outbox) -> bool:
    head = outbox.head()
    assert head is not None
    return bool(read(head)["replayed"])


WINDOW = 6


class SteppedJournal(Journal):
    """A journal without a thread: it works when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(Keeper(path, Bounds(10**9, 1e9, max_in_memory=10**6)), max_pending=10**6)
        self._loop = SimpleNamespace(call_later=lambda *_: SimpleNamespace(cancel=lambda: None))  # type: ignore[assignment]

    def open_now(self) -> list[Ended]:
        self.last_seq, cut_off = self._keeper.start()
        self.count = self._keeper.count
        self._stored_to, self._is_behind = self.last_seq, self.count > 0
        self.on_report(Report(is_behind=self._is_behind))
        return cut_off

    def work(self) -> None:
        if self._batch:
            self._step()

    def crash(self) -> None:
        assert self._keeper._disk is not None
        self._keeper._disk.close()

    def _post(self, what: Callable[..., object], *arguments: object) -> None:
        what(*arguments)


class AnyCrash(RuleBasedStateMachine):
    """A gateway with a journal, killed and cut off at will; what a broker got, against what was made."""

    def __init__(self) -> None:
        super().__init__()
        self.holder = TemporaryDirectory()
        self.path = Path(self.holder.name) / "outbox.sqlite3"
        self.numbers = itertools.count(1)
        self.mids = itertools.count(1)
        self.made: dict[int, Publication] = {}
        """Events that were put, by their sample, which is unique here."""
        self.got: list[dict[str, Any]] = []
        self.in_flight: dict[int, int] = {}
        self.is_connected = False
        self.goes_on: int | None = None
        self.begin()

    def begin(self) -> None:
        self.drops: list[Drop] = []
        self.journal = SteppedJournal(self.path)
        self.outbox = Outbox(max_queued=100, journal=self.journal, window=WINDOW)
        self.journal.on_report = lambda report: self.drops.extend(self.outbox.take(report))
        last = read(list(self.made.values())[-1]) if self.made else {"event_type": "end"}
        cut_off = self.journal.open_now()
        assert [one.id for one in cut_off] == ([] if last["event_type"] == "end" else [last["id"]])
        for one in cut_off:
            self.made[next(self.numbers)] = one.end
        self.goes_on = None

    def put(self, type_: EventType, name: int) -> None:
        number = next(self.numbers)
        self.made[number] = event(type_, name, at=number)
        assert self.outbox.put(self.made[number]) is None

    @rule(count=st.integers(1, 12))
    def tell(self, count: int) -> None:
        for _ in range(count):
            if self.goes_on is None:
                self.goes_on = next(self.numbers)
                self.put("start", self.goes_on)
            elif next(self.numbers) % 3:
                self.put("update", self.goes_on)
            else:
                self.put("end", self.goes_on)
                self.goes_on = None
        self.outbox.put(state(next(self.numbers)))

    @rule()
    def work(self) -> None:
        self.journal.work()

    @precondition(lambda self: not self.is_connected)
    @rule()
    def connect(self) -> None:
        self.outbox.connected()
        self.is_connected = True
        self.connected_at = next(self.numbers)

    @precondition(lambda self: self.is_connected)
    @rule(count=st.integers(1, 9))
    def send(self, count: int) -> None:
        for _ in range(count):
            head = self.outbox.head()
            if head is None:
                return
            mid = next(self.mids)
            self.outbox.sent(mid)
            self.in_flight[mid] = mid
            if not head.retain:
                payload = read(head)
                assert payload["replayed"] == (payload["at_sample"] < self.connected_at)
                assert self.is_on_disk(payload)
                self.got.append(payload)

    def is_on_disk(self, payload: dict[str, Any]) -> bool:
        disk = self.journal._keeper._disk
        assert disk is not None
        waiting = (read(one.publication) for one in disk.read(after=-(10**9), limit=-1))
        return any(key(one) == key(payload) for one in waiting)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        mid = data.draw(st.sampled_from(sorted(self.in_flight)))
        del self.in_flight[mid]
        assert self.outbox.acknowledged(mid) is not None

    @precondition(lambda self: self.is_connected)
    @rule()
    def disconnect(self) -> None:
        self.outbox.disconnected()
        self.in_flight.clear()
        self.is_connected = False

    @rule()
    def kill(self) -> None:
        # What was put in the very last moment was never sent, and dies.
        unstored = [waiting.publication for waiting in self.journal._batch.events]
        self.made = {number: one for number, one in self.made.items() if one not in unstored}
        self.journal.crash()
        self.in_flight.clear()
        self.is_connected = False
        self.begin()

    @invariant()
    def little_is_in_memory(self) -> None:
        assert len(self.outbox._held) <= WINDOW
        assert len(self.outbox._queue) <= WINDOW + 1
        assert self.drops == []

    def teardown(self) -> None:
        if not self.is_connected:
            self.connect()
        for _ in range(2000):
            self.journal.work()
            self.send(9)
            for mid in sorted(self.in_flight):
                del self.in_flight[mid]
                self.outbox.acknowledged(mid)
            if not len(self.outbox):
                break
        assert len(self.outbox) == 0
        self.journal.crash()
        self.holder.cleanup()
        expected = [read(one) for one in self.made.values()]
        first = {key(payload): None for payload in self.got}
        assert list(first) == [key(payload) for payload in expected]
        assert not [one for one in disorders(self.got) if "never ends" not in one]


AnyCrash.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

test_whatever_crashes_no_event_is_lost_sent_before_it_is_stored_or_overtaken = AnyCrash.TestCase
