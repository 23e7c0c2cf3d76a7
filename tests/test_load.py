from __future__ import annotations

import pytest

from vskd_stream.load import LATE_S, Load


def offered(load: Load, *, rate_hz: int, from_s: float, seconds: float = 2.0) -> float:
    for i in range(round(rate_hz * seconds)):
        load.offer(from_s + i / rate_hz)
    return from_s + seconds


def test_while_windows_are_in_time_every_one_is_taken():
    load = Load(max_widening=8)
    assert not load.look(0.0, oldest_s=LATE_S)
    assert all(load.takes(end, hop_samples=20) for end in range(0, 400, 20))


def test_late_windows_widen_the_hop_step_by_step_as_far_as_no_sample_goes_unseen():
    load = Load(max_widening=4)
    changes = [(now_s, load.widening) for now_s in range(10) if load.look(now_s, oldest_s=1.0)]
    assert changes == [(0, 2), (1, 4)]


def test_one_look_more_within_the_patience_changes_nothing():
    load = Load(max_widening=4)
    assert load.look(10.0, oldest_s=1.0)
    assert not load.look(10.9, oldest_s=9.0)


@pytest.mark.parametrize("widening", [2, 4, 8])
def test_of_a_widened_hop_the_windows_at_its_multiples_are_taken(widening):
    load = Load(max_widening=widening)
    now_s = 0.0
    while load.widening < widening:
        load.look(now_s, oldest_s=1.0)
        now_s += 1.0
    taken = [end for end in range(0, 2000, 20) if load.takes(end, hop_samples=20)]
    assert taken == list(range(0, 2000, 20 * widening))


def test_the_hop_stays_wide_while_the_model_could_not_give_more():
    load = Load(max_widening=2)
    load.look(0.0, oldest_s=1.0)
    load.measure(0.032, windows=32)
    now_s = offered(load, rate_hz=900, from_s=1.0)
    assert not load.look(now_s, oldest_s=0.0)
    assert load.widening == 2


def test_it_is_as_narrow_as_ever_within_five_seconds_of_the_load_going():
    load = Load(max_widening=4)
    load.measure(0.032, windows=32)
    now_s = offered(load, rate_hz=3000, from_s=0.0)
    for _ in range(2):
        now_s += 1.0
        load.look(now_s, oldest_s=1.0)
    assert load.widening == 4
    gone_s = now_s
    while load.widening > 1:
        now_s = offered(load, rate_hz=100, from_s=now_s, seconds=0.25)
        load.look(now_s, oldest_s=0.0)
    assert now_s - gone_s <= 5.0


@pytest.mark.parametrize(("rate_hz", "widening"), [(900, 1), (1100, 2)])
def test_windows_that_gave_way_widen_the_hop_where_more_is_asked_than_can_be_done(rate_hz, widening):
    load = Load(max_widening=4)
    load.measure(0.032, windows=32)
    now_s = offered(load, rate_hz=rate_hz, from_s=0.0)
    for _ in range(2):
        load.look(now_s, oldest_s=0.0, gave_way=True)
        now_s += 1.0
    assert load.widening == widening
