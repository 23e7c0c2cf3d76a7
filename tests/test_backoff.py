from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vskd_stream.backoff import Backoff


def highest(_low: float, high: float) -> float:
    return high


def lowest(low: float, _high: float) -> float:
    return low


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base_s=1.0, cap_s=5.0, uniform=highest)
    assert [backoff.next_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_jitter_is_full_down_to_nothing() -> None:
    backoff = Backoff(uniform=lowest)
    assert [backoff.next_s() for _ in range(5)] == [0.0] * 5


def test_reset_begins_with_short_delays_again() -> None:
    backoff = Backoff(base_s=1.0, cap_s=30.0, uniform=highest)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 1.0


@given(base_s=st.floats(1e-3, 10.0), times=st.floats(1.0, 1e3), attempts=st.integers(1, 2000))
def test_no_delay_is_ever_negative_or_beyond_the_cap(base_s: float, times: float, attempts: int) -> None:
    cap_s = base_s * times
    backoff = Backoff(base_s=base_s, cap_s=cap_s)
    assert all(0.0 <= backoff.next_s() <= cap_s for _ in range(attempts))


@pytest.mark.parametrize(("base_s", "cap_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_delays_that_make_no_sense_are_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="base_s must be positive and not beyond cap_s"):
        Backoff(base_s=base_s, cap_s=cap_s)
