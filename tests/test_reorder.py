from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams import batch, batches
from vskd_stream.reorder import Reorderer


def sequences(released):
    return [samples.sequence for samples in released]


def test_batches_in_order_leave_at_once():
    reorderer = Reorderer(horizon_s=2.0)
    for samples in batches(seconds=5):
        assert reorderer.push(samples) == [samples]
    assert not reorderer.counts


def test_a_swapped_pair_is_put_right():
    first, second, third = batches(seconds=1.5)
    reorderer = Reorderer(horizon_s=2.0)
    assert sequences(reorderer.push(first)) == [0]
    assert reorderer.push(third) == []
    assert sequences(reorderer.push(second)) == [1, 2]
    assert not reorderer.counts


def test_a_batch_that_never_comes_is_awaited_no_longer_than_the_horizon():
    stream = batches(seconds=6)
    reorderer = Reorderer(horizon_s=2.0)
    released = [sequences(reorderer.push(samples)) for samples in (stream[0], *stream[2:])]
    held = released.index([2, 3, 4, 5])
    assert released[1:held] == [[]] * (held - 1)
    assert stream[held + 1].t_s[-1] - stream[0].t_s[-1] <= 2.0 + 0.5
    assert reorderer.counts == {"missing": 1}


def test_a_repeated_batch_is_dropped_and_counted():
    first, second = batches(seconds=1)
    reorderer = Reorderer(horizon_s=2.0)
    released = [sequences(reorderer.push(samples)) for samples in (first, first, second, second, first)]
    assert released == [[0], [], [1], [], []]
    assert reorderer.counts == {"duplicate": 3}


def test_a_straggler_beyond_the_horizon_is_dropped_and_counted_as_late():
    stream = batches(seconds=8)
    reorderer = Reorderer(horizon_s=1.0)
    for samples in (stream[0], *stream[2:10]):
        reorderer.push(samples)
    assert reorderer.push(stream[1]) == []
    assert reorderer.counts["late"] == 1


def test_samples_that_came_already_are_cut_off_an_overlapping_batch():
    reorderer = Reorderer(horizon_s=1.0)
    reorderer.push(batch(np.arange(0, 1, 0.02)))
    (rest,) = reorderer.push(batch(np.arange(0.5, 1.5, 0.02) - 1e-9))
    assert rest.t_s[0] > 0.98 + 0.01
    assert len(rest.t_s) == len(rest.acc_g) == 25
    assert reorderer.counts == {"overlap": 25}


def test_a_clock_set_back_by_years_starts_over_at_once():
    reorderer = Reorderer(horizon_s=1.0)
    reorderer.push(batch([1e9, 1e9 + 0.02]))
    assert len(reorderer.push(batch([5.0, 5.02]))) == 1
    assert reorderer.counts["restart"] == 1


def test_a_device_that_restarts_after_a_short_while_is_recognised_by_a_run_of_old_batches():
    reorderer = Reorderer(horizon_s=1.0)
    for samples in batches(seconds=20, start_s=0.0):
        reorderer.push(samples)
    again = batches(seconds=3, start_s=0.25)
    released = [len(reorderer.push(samples)) for samples in again]
    assert released == [0, 0, 1, 1, 1, 1]
    assert reorderer.counts["late"] == 2


def test_a_clock_set_forward_does_not_hold_the_stream_up():
    reorderer = Reorderer(horizon_s=2.0)
    reorderer.push(batch([0.0, 0.02]))
    assert len(reorderer.push(batch([1e9, 1e9 + 0.02]))) == 1


def test_a_counter_that_wraps_costs_nothing():
    stream = batches(seconds=3)
    wrapped = [batch(samples.t_s, sequence=65533 + i & 0xFFFF) for i, samples in enumerate(stream)]
    reorderer = Reorderer(horizon_s=2.0)
    assert [len(reorderer.push(samples)) for samples in wrapped] == [1] * 6


@given(
    order=st.permutations(range(40)),
    repeats=st.lists(st.integers(0, 39), max_size=10),
    numbered=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_order_times_increase_between_restarts_and_memory_is_bounded(order, repeats, numbered):
    stream = [
        batch(samples.t_s, sequence=samples.sequence if numbered else None) for samples in batches(seconds=20)
    ]
    reorderer = Reorderer(horizon_s=2.0)
    released = []
    for index in (*order, *repeats):
        released += reorderer.push(stream[index])
    released += reorderer.flush()
    backwards = sum(b.t_s[0] <= a.t_s[-1] for a, b in pairwise(released))
    assert backwards <= reorderer.counts["restart"]
    dropped = reorderer.counts["late"] + reorderer.counts["duplicate"]
    assert len(released) + dropped == len(order) + len(repeats)


@given(shifts=st.lists(st.integers(0, 2), min_size=40, max_size=40))
@settings(max_examples=100, deadline=None)
def test_stragglers_within_the_horizon_lose_nothing(shifts):
    stream = batches(seconds=20)
    order = sorted(range(1, 40), key=lambda i: i + shifts[i])
    reorderer = Reorderer(horizon_s=2.0)
    released = [*reorderer.push(stream[0])]
    for index in order:
        released += reorderer.push(stream[index])
    released += reorderer.flush()
    assert sequences(released) == list(range(40))
    assert not reorderer.counts
