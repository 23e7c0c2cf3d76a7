from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vskd_stream.clock import COUNTED_SPAN_S, MAX_SKEW, SPAN_S, ClockReading, StreamClock, _Hull
from vskd_stream.sources.ble.timing import SampleCounter

NOW_S = 1.79e9
INTERVAL_S = 0.045


@dataclass
class Radio:
    """50 Hz over a link that sends every 45 ms: arrivals in bursts, 1 to 48 ms apart, some lost."""

    seconds: float = 3600.0
    drift: float = 100e-6
    loss: float = 0.02
    t_s: NDArray[np.float64] = field(init=False)
    true_s: NDArray[np.float64] = field(init=False)
    arrival_s: NDArray[np.float64] = field(init=False)
    is_kept: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        n = int(self.seconds * 50)
        self.t_s = np.arange(n) / 50
        self.true_s = NOW_S + self.t_s * (1 + self.drift)
        slots = int(self.true_s[-1] - NOW_S) * 25 + 100
        sent_s = NOW_S + np.cumsum(rng.normal(INTERVAL_S, 0.001, slots))
        slot = np.searchsorted(sent_s, self.true_s)
        # Up to three samples leave in one slot, one after the other.
        place = np.arange(n) - np.searchsorted(slot, slot)
        self.arrival_s = sent_s[slot] + 0.0012 * place
        self.is_kept = rng.random(n) >= self.loss

    def p95_s(self, clock: StreamClock, *, counter: SampleCounter | None = None) -> float:
        """How far 19 of 20 samples are dated from the truth, each at the moment of its arrival."""
        errors, lost, told_s = [], 0, 0.0
        columns = (self.t_s, self.true_s, self.arrival_s, self.is_kept)
        for t_s, true_s, arrival_s, kept in zip(*(column.tolist() for column in columns), strict=True):
            lost += not kept
            if kept:
                time_s = t_s
                if counter is not None:
                    time_s = float(counter.take(1, arrival_s=arrival_s, lost=lost)[0])
                lost = 0
                clock.observe(time_s, arrival_s=arrival_s, epoch="device", counted=counter is not None)
                utc_s = clock.read().utc_s(time_s)
                assert utc_s >= told_s
                errors.append(utc_s - true_s)
                told_s = utc_s
        return float(np.quantile(np.abs(errors), 0.95))


def test_an_hour_of_bursts_loss_and_drift_is_dated_within_5_ms():
    radio = Radio()
    gaps_s = np.diff(radio.arrival_s)
    assert gaps_s.min() == pytest.approx(0.001, abs=0.0005)
    assert np.quantile(gaps_s, 0.99) == pytest.approx(0.046, abs=0.003)
    clock = StreamClock()
    assert radio.p95_s(clock) < 0.005
    assert clock.fit is not None
    assert clock.fit.ppm == pytest.approx(100, abs=5)
    assert clock.fit.residual_p95_s == pytest.approx(INTERVAL_S, abs=0.01)
    assert clock.fit.restarts == 0


@pytest.mark.parametrize("off", [100e-6, 0.02, -0.03])
def test_counted_samples_are_too_whatever_the_nominal_rate_is_off_by(off):
    radio, clock = Radio(seconds=1200, drift=off), StreamClock()
    assert radio.p95_s(clock, counter=SampleCounter(50.0, numbered=True)) < 0.005
    assert clock.fit is not None
    assert clock.fit.ppm == pytest.approx(off * 1e6, abs=50)


def feed(clock: StreamClock, t_s, *, offset_s, late_s=None):
    for i, t in enumerate(t_s):
        late = 0.0 if late_s is None else late_s[i]
        clock.observe(t, arrival_s=t + offset_s + late, epoch="device")


def test_the_least_delay_sets_the_offset():
    clock = StreamClock()
    for t_s, delay_s in ((10.0, 0.05), (10.5, 0.01), (11.0, 0.2)):
        clock.observe(t_s, arrival_s=NOW_S + t_s + delay_s, epoch="device")
    assert clock.read().kind == "host"
    assert clock.read().offset_s == pytest.approx(NOW_S + 0.01, abs=1e-6)


def test_a_drifting_clock_is_followed_within_milliseconds():
    rng = np.random.default_rng(0)
    clock = StreamClock()
    errors = []
    for i in range(7200):
        host_s = i * 0.5
        device_s = host_s * (1 - 100e-6)
        clock.observe(device_s, arrival_s=NOW_S + host_s + rng.exponential(0.02), epoch="device")
        errors.append(clock.read().offset_s + device_s - (NOW_S + host_s))
    assert np.quantile(np.abs(errors[200:]), 0.95) < 0.003


def test_a_moment_long_ago_is_dated_by_the_line_not_by_the_offset_of_today():
    clock = StreamClock()
    for i in range(3600):
        clock.observe(i * 1.0, arrival_s=NOW_S + i * (1 + 100e-6), epoch="device")
    assert clock.read().utc_s(1800.0) == pytest.approx(NOW_S + 1800.18, abs=1e-3)
    assert clock.read().offset_s + 1800.0 == pytest.approx(NOW_S + 1800.36, abs=1e-3)


def test_delay_that_grows_is_not_taken_for_drift():
    clock = StreamClock()
    t_s = np.arange(0, 200.0, 0.5)
    feed(clock, t_s, offset_s=NOW_S, late_s=t_s * 2e-4 * 1.2)
    assert clock.fit is not None
    assert clock.fit.ppm == pytest.approx(MAX_SKEW * 1e6)


def test_a_device_that_knows_utc_is_believed():
    clock = StreamClock()
    clock.observe(NOW_S, arrival_s=NOW_S + 3600.0, epoch="utc")
    assert clock.read() == ClockReading("utc", 0.0)


def test_a_device_whose_utc_is_years_off_is_not():
    clock = StreamClock()
    clock.observe(1e9, arrival_s=NOW_S, epoch="utc")
    assert clock.read() == ClockReading("host", NOW_S - 1e9, at_s=1e9)


def test_a_host_clock_set_back_forgets_the_older_arrivals():
    clock = StreamClock()
    clock.observe(0.0, arrival_s=NOW_S, epoch="device")
    clock.observe(1.0, arrival_s=NOW_S - 3599.0, epoch="device")
    assert clock.read().offset_s == NOW_S - 3600.0


@pytest.mark.parametrize("step_s", [0.2, -0.2, 3600.0, -3600.0])
@pytest.mark.parametrize("before_s", [30.0, 1000.0])
def test_a_host_clock_that_is_set_is_followed_within_seconds(step_s, before_s):
    rng = np.random.default_rng(3)
    clock = StreamClock()
    t_s = np.arange(0, before_s, 0.2)
    feed(clock, t_s, offset_s=NOW_S, late_s=rng.exponential(0.01, len(t_s)))
    after_s = before_s + np.arange(0, 15, 0.2)
    feed(clock, after_s, offset_s=NOW_S + step_s, late_s=rng.exponential(0.01, len(after_s)))
    assert clock.read().utc_s(after_s[-1]) == pytest.approx(NOW_S + step_s + after_s[-1], abs=0.01)
    assert clock.fit is not None
    assert clock.fit.restarts >= 1


def test_a_congestion_of_seconds_moves_nothing():
    clock = StreamClock()
    t_s = np.arange(0, 120, 0.2)
    late_s = np.where((t_s > 60) & (t_s < 68), 1.5, 0.0)
    feed(clock, t_s, offset_s=NOW_S, late_s=late_s)
    assert clock.read().offset_s == pytest.approx(NOW_S, abs=1e-3)
    assert clock.fit is not None
    assert clock.fit.restarts == 0


def test_a_restarted_device_is_dated_anew_at_once_and_its_drift_stays_known():
    clock = StreamClock()
    for i in range(1000):
        clock.observe(i * 1.0, arrival_s=NOW_S + i * (1 + 80e-6), epoch="device")
    clock.reset()
    clock.observe(3.0, arrival_s=NOW_S + 2000.0, epoch="device")
    assert clock.read().offset_s == pytest.approx(NOW_S + 1997.0)
    assert clock.read().skew == pytest.approx(80e-6, abs=1e-7)


def test_a_count_that_pauses_begins_anew():
    clock = StreamClock()
    for i in range(100):
        clock.observe(i * 0.1, arrival_s=NOW_S + i * 0.1, epoch="device", counted=True)
    # The next connection's first packet was late, and its count starts there.
    clock.observe(20.0, arrival_s=NOW_S + 20.04, epoch="device", counted=True)
    assert clock.read().offset_s == pytest.approx(NOW_S + 0.04)


def test_nothing_is_told_of_the_fit_before_there_is_one():
    clock = StreamClock()
    assert clock.fit is None
    clock.observe(0.0, arrival_s=NOW_S, epoch="device")
    assert clock.fit is not None
    assert clock.fit.ppm is None


@pytest.mark.parametrize(("counted", "span_s"), [(False, SPAN_S), (True, COUNTED_SPAN_S)])
def test_memory_is_bounded_however_the_delays_lie(counted, span_s):
    clock = StreamClock()
    for i in range(20_000):
        # A parabola: every arrival is a corner of the hull.
        clock.observe(i * 0.5, arrival_s=NOW_S + i * 0.5 + 1e-9 * i * i, epoch="device", counted=counted)
    assert len(clock._hull._x) <= span_s + 2
    assert len(clock._residuals) <= 256


_steps = st.lists(
    st.tuples(st.floats(0.001, 5), st.floats(0, 2), st.sampled_from([0, 0, 0, 0, 0, 10, -10, 0.1, -0.1])),
    min_size=1,
    max_size=200,
)


@given(_steps, st.booleans())
def test_no_sample_is_dated_after_it_came_or_before_its_predecessor(steps, counted):
    clock, t_s, set_s, told_s = StreamClock(), 0.0, 0.0, -np.inf
    for step_s, late_s, jump_s in steps:
        t_s, set_s = t_s + step_s, set_s + jump_s
        arrival_s = 1000.0 + t_s + set_s + late_s
        clock.observe(t_s, arrival_s=arrival_s, epoch="device", counted=counted)
        utc_s = clock.read().utc_s(t_s)
        assert utc_s <= arrival_s + 1e-9
        assert utc_s >= min(told_s, arrival_s) - 1e-9
        told_s = utc_s


@given(st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1)), min_size=2, max_size=60))
def test_the_hull_gives_the_closest_line_under_all_points(steps):
    """Against all lines through two points: the closest of those that have none under them."""
    hull, x = _Hull(), 0.0
    points = []
    for step, y in steps:
        x += step
        points.append((x, y))
        hull.add(x, y)
    xs, ys = np.array(points).T
    heights = []
    for i in range(len(xs)):
        for j in range(i + 1, len(xs)):
            slope = (ys[j] - ys[i]) / (xs[j] - xs[i])
            line = ys[i] + slope * (xs - xs[i])
            if (line <= ys + 1e-9).all():
                heights.append(line.mean())
    slope = hull.slope()
    line = hull.floor(slope) + slope * xs
    assert (line <= ys + 1e-9).all()
    assert line.mean() == pytest.approx(max(heights), abs=1e-6)
