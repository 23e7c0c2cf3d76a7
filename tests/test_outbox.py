from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vskd_stream.outbox import Outbox
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
