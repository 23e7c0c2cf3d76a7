from __future__ import annotations

import numpy as np
import pytest

from vskd_stream.clock import ClockReading, StreamClock

NOW_S = 1.79e9


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
    assert np.quantile(np.abs(errors[200:]), 0.95) < 0.010


def test_a_device_that_knows_utc_is_believed():
    clock = StreamClock()
    clock.observe(NOW_S, arrival_s=NOW_S + 3600.0, epoch="utc")
    assert clock.read() == ClockReading("utc", 0.0)


def test_a_device_whose_utc_is_years_off_is_not():
    clock = StreamClock()
    clock.observe(1e9, arrival_s=NOW_S, epoch="utc")
    assert clock.read() == ClockReading("host", NOW_S - 1e9)


def test_a_host_clock_set_back_forgets_the_older_arrivals():
    clock = StreamClock()
    clock.observe(0.0, arrival_s=NOW_S, epoch="device")
    clock.observe(1.0, arrival_s=NOW_S - 3599.0, epoch="device")
    assert clock.read().offset_s == NOW_S - 3600.0


def test_memory_is_bounded():
    clock = StreamClock()
    for i in range(10_000):
        clock.observe(i * 0.1, arrival_s=NOW_S + i * 0.1 + (i % 7), epoch="device")
    assert len(clock._bins) <= 61
