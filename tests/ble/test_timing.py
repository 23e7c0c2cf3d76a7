from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vskd_stream.sources.ble.timing import FrameTimes, SampleCounter


def bursty_arrivals(count: int, *, rate_hz: float, seed: int = 1) -> np.ndarray:
    """Arrivals of single samples as a connection interval makes them: in bursts, 1 to 48 ms apart."""
    chance = random.Random(seed)
    taken_s = np.arange(count) / rate_hz
    arrivals = []
    slot_s = 0.0
    for taken in taken_s:
        while slot_s < taken:
            slot_s += chance.choice([0.030, 0.045, 0.048])
        arrivals.append(slot_s + 0.001 * chance.random())
    return np.maximum.accumulate(np.array(arrivals)) + 1000.0


# --- counting


def test_counted_times_lie_at_the_nominal_rate_from_the_first_arrival_on() -> None:
    counter = SampleCounter(50.0, numbered=True)
    first = counter.take(5, arrival_s=100.0)
    second = counter.take(3, arrival_s=100.09)
    assert np.allclose(first, 100.0 - 0.08 + np.arange(5) * 0.02)
    assert np.allclose(second, 100.02 + np.arange(3) * 0.02)


def test_loss_that_is_told_advances_the_count() -> None:
    counter = SampleCounter(50.0, numbered=True)
    counter.take(5, arrival_s=100.0)
    assert counter.take(5, arrival_s=100.3, lost=10)[0] == pytest.approx(100.0 + 11 * 0.02)
    assert counter.lost == 10


def test_bursts_are_no_loss() -> None:
    counter = SampleCounter(50.0)
    for arrival_s in bursty_arrivals(3000, rate_hz=50.0):
        counter.take(1, arrival_s=float(arrival_s))
    assert counter.lost == 0


def taken_and_counted(
    *, seconds: float, loss: float, interval_s: float | None = None, size: int = 1, seed: int = 3
) -> tuple[np.ndarray, np.ndarray, SampleCounter, int]:
    """True and counted times of 50 Hz in packets of ``size``, 100 ppm slow; and how many were lost."""
    chance = random.Random(seed)
    counter, period_s, slot_s, last_s = SampleCounter(50.0), 0.02 * (1 + 100e-6), 1000.0, 0.0
    true_s, counted_s, lost = [], [], 0
    for number in range(0, int(50 * seconds), size):
        packet_s = 1000.007 + (number + np.arange(size)) * period_s
        while slot_s < packet_s[-1]:
            slot_s += chance.choice([0.030, 0.045, 0.048]) if interval_s is None else interval_s
        last_s = max(last_s + 0.0003, slot_s + 0.001 * chance.random())
        if number and chance.random() < loss:
            lost += size
            continue
        true_s.append(packet_s)
        counted_s.append(counter.take(size, arrival_s=last_s))
    return np.concatenate(true_s), np.concatenate(counted_s), counter, lost


def p95_s(true_s: np.ndarray, counted_s: np.ndarray) -> float:
    """What 19 of 20 samples are dated better than, beside a constant delay and the quartz's pace."""
    errors_s = counted_s - true_s
    errors_s -= np.polyval(np.polyfit(true_s - true_s[0], errors_s, 1), true_s - true_s[0])
    return float(np.percentile(np.abs(errors_s - np.median(errors_s)), 95))


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.02])
@pytest.mark.parametrize("interval_s", [None, 0.0075, 0.04125, 0.045])
def test_samples_stay_true_within_5_ms_through_bursts_drift_and_loss_that_nobody_tells(
    loss: float, interval_s: float | None
) -> None:
    true_s, counted_s, counter, lost = taken_and_counted(seconds=400, loss=loss, interval_s=interval_s)
    assert counter.lost == pytest.approx(lost, abs=3)
    assert p95_s(true_s, counted_s) <= 0.005


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_what_is_dated_wrong_by_more_loss_is_wrong_by_few_samples(loss: float) -> None:
    true_s, counted_s, counter, lost = taken_and_counted(seconds=300, loss=loss)
    assert counter.lost == pytest.approx(lost, rel=0.05)
    assert p95_s(true_s, counted_s) <= 0.1


def test_lost_packets_of_several_samples_are_lost_whole() -> None:
    true_s, counted_s, counter, lost = taken_and_counted(seconds=600, loss=0.02, size=5)
    assert lost > 0
    assert counter.lost == pytest.approx(lost, abs=5)
    assert p95_s(true_s, counted_s) <= 0.005


def test_a_stall_is_a_hole_at_once() -> None:
    counter = SampleCounter(50.0)
    for number in range(50):
        last_s = counter.take(1, arrival_s=100.0 + number * 0.02)[0]
    assert counter.take(1, arrival_s=103.0)[0] - last_s == pytest.approx(3.0 - 0.98, abs=0.03)


def test_a_loss_that_was_none_is_taken_back() -> None:
    chance = random.Random(9)
    counter = SampleCounter(50.0)
    errors_s = []
    for number in range(6000):
        # For a second the link holds everything back, and has caught up after that.
        held_s = 0.05 if 3000 <= number < 3050 else 0.0
        arrival_s = 100.0 + number * 0.02 + held_s + 0.002 * chance.random()
        errors_s.append(counter.take(1, arrival_s=arrival_s)[0] - number * 0.02)
    assert np.median(errors_s[3200:]) == pytest.approx(np.median(errors_s[:2900]), abs=0.005)


def test_a_device_that_is_slower_than_it_says_keeps_true_times() -> None:
    counter = SampleCounter(50.0)
    for number in range(5000):
        taken_s = counter.take(1, arrival_s=100.0 + number / 49.0)[0]
    assert taken_s == pytest.approx(100.0 + 4999 / 49.0, abs=0.05)


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.floats(-1.0, 5.0) | st.floats(-1e4, 1e4), st.integers(0, 100)),
        min_size=1,
        max_size=60,
    ),
    st.booleans(),
)
def test_counted_times_increase_whatever_arrives(
    packets: list[tuple[int, float, int]],
    numbered: bool,  # noqa: FBT001 (hypothesis draws it)
) -> None:
    counter = SampleCounter(25.0, numbered=numbered)
    arrival_s = 1e9
    last_s = -np.inf
    for count, step_s, lost in packets:
        arrival_s += step_s
        t_s = counter.take(count, arrival_s=arrival_s, lost=lost)
        assert len(t_s) == count
        assert t_s[0] > last_s
        assert (np.diff(t_s) > 0).all()
        last_s = t_s[-1]


# --- frames


def times_of(frames: list[tuple[float, int]], *, rate_hz: float) -> np.ndarray:
    clock = FrameTimes(rate_hz)
    return np.concatenate([clock.take(last_s, count) for last_s, count in frames])


def test_frames_without_loss_are_evenly_divided_at_the_devices_own_pace() -> None:
    # The device runs 3 % slow: nominal spacing would leave a step at every frame.
    frames = [(10.0 + i * 36 / 50.4, 36) for i in range(10)]
    t_s = times_of(frames, rate_hz=52.0)
    assert np.allclose(np.diff(t_s[36:]), 1 / 50.4)


def test_a_lost_frame_leaves_a_hole_and_stretches_nothing() -> None:
    frames = [(10.0 + i, 50) for i in range(10) if i != 5]
    steps = np.diff(times_of(frames, rate_hz=50.0))
    assert np.allclose(np.delete(steps, 249), 0.02)
    assert steps[249] == pytest.approx(1.02)


def test_frames_of_many_sizes_are_dated_alike() -> None:
    chance = random.Random(2)
    last, frames = 0, []
    for _ in range(200):
        count = chance.randint(1, 70)
        last += count
        if chance.random() > 0.1:
            frames.append((last / 52.0, count))
    t_s = times_of(frames, rate_hz=52.0)
    assert np.allclose(t_s * 52.0, np.round(t_s * 52.0), atol=1e-6)


def test_a_repeated_frame_keeps_its_times() -> None:
    clock = FrameTimes(50.0)
    clock.take(10.0, 10)
    once = clock.take(10.203, 10)
    assert np.array_equal(clock.take(10.203, 10), once)


@pytest.mark.parametrize("rate_hz", [26.0, 40.0, 70.0, 104.0])
def test_a_pace_that_persists_is_the_rate(rate_hz: float) -> None:
    clock = FrameTimes(52.0)
    clock.take(10.0, 20)
    for i in range(1, 12):
        t_s = clock.take(10.0 + i * 20 / rate_hz, 20)
    assert clock.sampling_rate_hz == pytest.approx(rate_hz)
    assert np.allclose(np.diff(t_s), 1 / rate_hz)


def test_loss_of_a_fifth_of_the_frames_is_no_new_rate() -> None:
    chance = random.Random(4)
    clock = FrameTimes(50.0)
    for i in range(20_000):
        if chance.random() > 0.2:
            clock.take(i * 0.5, 25)
    assert clock.sampling_rate_hz == 50.0


@example([(0.0, 1), (4.3e-9, 38)])
@given(
    st.lists(
        st.tuples(st.floats(-1e3, 1e3) | st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 50)),
        min_size=1,
        max_size=50,
    )
)
def test_frame_times_increase_within_a_frame_whatever_the_device_dates_it(
    frames: list[tuple[float, int]],
) -> None:
    clock = FrameTimes(50.0)
    last_s = 1e6
    for step_s, count in frames:
        last_s += step_s
        t_s = clock.take(last_s, count)
        assert t_s[-1] == last_s
        assert (np.diff(t_s) > 0).all()
