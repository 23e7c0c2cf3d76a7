from __future__ import annotations

from vskd_stream.pulse import Pulse


def test_it_beats_while_nothing_waits():
    pulse = Pulse()
    assert pulse.beats()
    assert pulse.beats()


def test_what_has_only_just_gone_in_is_not_due_yet():
    pulse = Pulse()
    pulse.went_in()
    assert pulse.waiting == 1
    assert pulse.beats()


def test_it_stops_when_something_waits_and_nothing_comes_out():
    pulse = Pulse()
    pulse.went_in()
    pulse.beats()
    pulse.went_in()
    assert not pulse.beats()
    assert not pulse.beats()


def test_a_queue_that_grows_is_no_standstill_while_anything_comes_out():
    pulse = Pulse()
    for _ in range(10):
        pulse.went_in()
        pulse.went_in()
        pulse.came_out()
        assert pulse.beats()
    assert pulse.waiting == 10


def test_it_beats_again_when_what_hung_has_come_out():
    pulse = Pulse()
    pulse.went_in()
    pulse.beats()
    assert not pulse.beats()
    pulse.came_out()
    assert pulse.beats()
    assert pulse.beats()
