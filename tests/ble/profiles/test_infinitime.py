from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vskd_stream.errors import DecodeError, OptionError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.infinitime import MOTION, PROFILE, InfiniTimeSession


def session() -> InfiniTimeSession:
    return PROFILE.session("wrist", {})


def value(x: int = 0, y: int = 0, z: int = 1024) -> bytes:
    return struct.pack("<3h", x, y, z)


def fed(values: list[tuple[float, bytes]]) -> list[Samples]:
    tested = session()
    return [
        samples
        for arrival_s, data in values
        for samples in tested.decode(MOTION, data, arrival_s=1000.0 + arrival_s)
    ]


def test_1024_is_1_g_and_the_axes_are_androids() -> None:
    samples = session().decode(MOTION, bytes.fromhex("0004 00FC 00FE"), arrival_s=1.0)[0]
    assert samples.acc_g.tolist() == [[1.0, 1.0, 0.5]]
    assert samples.sampling_rate_hz == 10.0


def test_a_value_holds_until_the_next() -> None:
    first, second = fed([(0.0, value(1)), (0.52, value(2))])
    assert np.allclose(first.t_s, [1000.0])
    assert np.allclose(second.t_s, 1000.0 + np.arange(1, 6) / 10)
    assert second.acc_g[:, 0].tolist() == [1 / 1024] * 4 + [2 / 1024]


def test_a_value_that_was_read_and_notified_counts_once() -> None:
    batches = fed([(0.0, value(1)), (1.0, value(1)), (1.001, value(1))])
    assert [len(samples) for samples in batches] == [1, 10]


def test_values_that_come_in_a_burst_all_count() -> None:
    batches = fed([(0.0, value(1)), (0.3, value(2)), (0.301, value(3)), (0.302, value(4))])
    assert np.allclose(np.concatenate([b.t_s for b in batches]), 1000.0 + np.arange(6) / 10)


def test_our_own_clock_that_is_set_back_does_not_stop_the_watch() -> None:
    batches = fed([(0.0, value(1)), (1.0, value(1)), (-3600.0, value(1)), (-3599.0, value(1))])
    assert np.allclose(np.diff(np.concatenate([b.t_s for b in batches])), 0.1)
    assert sum(map(len, batches)) == 21


def test_after_a_long_silence_nothing_is_made_up() -> None:
    batches = fed([(0.0, value(1)), (60.0, value(1))])
    assert [len(samples) for samples in batches] == [1, 1]
    assert batches[1].t_s[0] - batches[0].t_s[0] == pytest.approx(60.0)


@given(st.lists(st.tuples(st.floats(-10.0, 10.0), st.binary(max_size=8) | st.just(value())), max_size=40))
def test_times_increase_and_batches_are_bounded_whatever_comes(packets: list[tuple[float, bytes]]) -> None:
    tested = session()
    arrival_s, last_s = 1e9, -np.inf
    for step_s, data in packets:
        arrival_s += step_s
        batches: list[Samples] = []
        with contextlib.suppress(DecodeError):
            batches = tested.decode(MOTION, data, arrival_s=arrival_s)
        for samples in batches:
            assert len(samples) <= 51
            assert samples.t_s[0] > last_s
            assert (np.diff(samples.t_s) > 0).all()
            last_s = samples.t_s[-1]


def test_its_limits_are_told() -> None:
    traits = session().traits
    assert traits.sampling_rate_hz == 10.0
    assert traits.range_g == 2.0
    assert traits.poll == MOTION
    assert "10 Hz" in traits.note


def test_it_has_no_options() -> None:
    with pytest.raises(OptionError, match="rate"):
        PROFILE.session("wrist", {"rate": 50})


def test_it_is_recognised_by_its_name() -> None:
    assert PROFILE.matches(Advertisement("A", "InfiniTime", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("A", "InfiniTimer", frozenset(), -50))
