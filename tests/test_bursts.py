from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vskd_stream.bursts import UNIT_S, rhythm


def over_bluetooth(
    *, interval_s: float, period_s: float, seconds: float = 60.0, jitter_s: float = 0.5e-3, seed: int = 0
):
    """Arrivals of a device that makes a message every period and sends at connection events only."""
    rng = np.random.default_rng(seed)
    made_s = 0.0031 + np.arange(int(seconds / period_s)) * period_s
    sent_s = np.ceil(made_s / interval_s) * interval_s
    arrived_s = 1.7e9 + sent_s + np.abs(rng.normal(scale=jitter_s, size=len(sent_s)))
    return np.maximum.accumulate(arrived_s)


@pytest.mark.parametrize("interval_s", [0.0075, 0.015, 0.03, 0.04875, 0.1, 0.195])
@pytest.mark.parametrize("period_s", [0.0201, 0.0733, 0.25])
def test_the_connection_interval_is_found_to_a_step(interval_s, period_s):
    found = rhythm(over_bluetooth(interval_s=interval_s, period_s=period_s))
    assert found.interval_s == pytest.approx(interval_s, abs=1.01 * UNIT_S)


def test_messages_that_share_every_connection_event_make_it_the_bottleneck():
    found = rhythm(over_bluetooth(interval_s=0.195, period_s=0.02))
    assert found.is_bottleneck
    assert found.per_burst == pytest.approx(9.75, rel=0.05)


def test_an_interval_with_events_to_spare_is_no_bottleneck():
    found = rhythm(over_bluetooth(interval_s=0.015, period_s=0.25))
    assert not found.is_bottleneck
    assert not found.is_upper_bound
    assert found.events_used < 0.1


def test_a_device_at_its_own_steady_pace_gives_only_an_upper_bound():
    found = rhythm(over_bluetooth(interval_s=0.02, period_s=0.02))
    assert found.is_upper_bound
    assert not found.is_bottleneck


def test_arrivals_at_random_betray_no_interval():
    rng = np.random.default_rng(3)
    found = rhythm(np.cumsum(rng.exponential(0.05, size=2000)))
    assert found.interval_s is None
    assert not found.is_bottleneck


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_too_few_arrivals_tell_nothing(count):
    found = rhythm(np.arange(count) * 0.05)
    assert found.interval_s is None
    assert found.arrivals == count


def test_a_break_of_seconds_does_not_hide_the_interval():
    arrivals_s = over_bluetooth(interval_s=0.04875, period_s=0.1)
    arrivals_s[300:] += 7.3
    assert rhythm(arrivals_s).interval_s == pytest.approx(0.04875, abs=UNIT_S)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e11, allow_nan=False), max_size=200))
def test_whatever_arrivals_a_recording_holds_there_is_an_answer(times):
    found = rhythm(np.sort(np.array(times, np.float64)))
    assert found.arrivals == len(times)
    assert found.interval_s is None or 0.0075 <= found.interval_s <= 4.0 + 0.01
