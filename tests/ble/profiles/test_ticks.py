from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ble.profiles.links import ARRIVAL_S
from vskd_stream.errors import DecodeError
from vskd_stream.sources.ble.profiles._ticks import NumberedTimes, TickClock, WrappedCounter


@given(
    bits=st.sampled_from([8, 16, 32]),
    start=st.integers(0, 2**32 - 1),
    steps=st.lists(st.integers(1, 20), min_size=1, max_size=100),
    late_s=st.lists(st.floats(0, 0.4), min_size=101, max_size=101),
)
def test_a_counter_is_followed_over_its_wraps_whatever_the_jitter(
    bits: int, start: int, steps: list[int], late_s: list[float]
) -> None:
    counter = WrappedCounter(bits=bits, pace_hz=5.0)
    assert counter.step(start % 2**bits, arrival_s=ARRIVAL_S) == 0
    total = 0
    for step, late in zip(steps, late_s, strict=False):
        total += step
        found = counter.step((start + total) % 2**bits, arrival_s=ARRIVAL_S + total / 5.0 + late)
        assert found == step


@pytest.mark.parametrize("away", [300, 256, 512, 1000, 10_000])
def test_a_silence_longer_than_the_wrap_is_measured_by_its_arrivals(away: int) -> None:
    counter = WrappedCounter(bits=8, pace_hz=50.0)
    counter.step(17, arrival_s=ARRIVAL_S)
    assert counter.step((17 + away) % 256, arrival_s=ARRIVAL_S + away / 50.0 + 0.03) == (
        away if away / 50.0 > 5.1 else away % 256
    )


def test_a_burst_after_a_stall_is_no_loss() -> None:
    counter = WrappedCounter(bits=16, pace_hz=5.0)
    counter.step(0, arrival_s=ARRIVAL_S)
    assert [counter.step(i, arrival_s=ARRIVAL_S + 4.0) for i in range(1, 21)] == [1] * 20


def test_a_counter_far_ahead_of_the_arrivals_is_refused_without_a_trace() -> None:
    counter = WrappedCounter(bits=16, pace_hz=5.0)
    counter.step(100, arrival_s=ARRIVAL_S)
    for garbage in (30_000, 99):
        with pytest.raises(DecodeError) as caught:
            counter.step(garbage, arrival_s=ARRIVAL_S + 0.1)
        assert caught.value.reason == "bad_time"
    assert counter.step(101, arrival_s=ARRIVAL_S + 0.2) == 1


def test_a_counter_that_began_anew_is_believed_at_the_third_time() -> None:
    counter = WrappedCounter(bits=32, pace_hz=1000.0)
    counter.step(10**9, arrival_s=ARRIVAL_S)
    for i in (0, 200):
        with pytest.raises(DecodeError):
            counter.step(i, arrival_s=ARRIVAL_S + 3.0 + i / 1000)
    assert counter.step(400, arrival_s=ARRIVAL_S + 3.4) == 3400
    assert counter.step(600, arrival_s=ARRIVAL_S + 3.6) == 200


def test_ticks_that_last_keep_their_own_beginning() -> None:
    clock = TickClock(bits=32, rate_hz=1000.0)
    assert clock.seconds(5000, arrival_s=ARRIVAL_S) == 65.0
    assert clock.seconds(5020, arrival_s=ARRIVAL_S + 0.05) == 65.02


def test_ticks_that_wrap_soon_begin_at_their_arrival() -> None:
    clock = TickClock(bits=16, rate_hz=1000.0)
    assert clock.seconds(65_000, arrival_s=ARRIVAL_S) == ARRIVAL_S
    assert clock.seconds(464, arrival_s=ARRIVAL_S + 1.1) == pytest.approx(ARRIVAL_S + 1.0)


@given(
    packets=st.lists(
        st.tuples(st.integers(1, 8), st.integers(0, 3), st.floats(-0.4, 0.4)), min_size=1, max_size=40
    )
)
def test_numbered_packets_are_dated_in_order_and_end_at_their_time(
    packets: list[tuple[int, int, float]],
) -> None:
    times = NumberedTimes(50.0)
    due, before, found = 0, -1.0, []
    for count, lost, jitter in packets:
        due += lost + count
        last_s = max(100.0 + (due - 1 + jitter) / 50.0, before + 1e-3)
        t_s = times.take(last_s, count, lost=lost)
        assert t_s[-1] == last_s
        assert len(t_s) == count
        found.append(t_s)
        before = last_s
    assert (np.diff(np.concatenate(found)) > 0).all()
