from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.resample import resample
from tests.streams import jittered_times, motion
from vskd_stream.resample import Block, Resampler

RATE_HZ = 20.0
MAX_GAP_S = 0.25


def run(t_s, acc_g, cuts, *, sampling_rate_hz):
    resampler = Resampler(rate_hz=RATE_HZ, max_gap_s=MAX_GAP_S)
    blocks: list[Block] = []
    edges = [0, *cuts, len(t_s)]
    for start, end in pairwise(edges):
        if end > start:
            blocks += resampler.push(t_s[start:end], acc_g[start:end], sampling_rate_hz=sampling_rate_hz)
    return {block.start + i: sample for block in blocks for i, sample in enumerate(block.acc_g)}


@pytest.mark.parametrize("rate_hz", [12.5, 20.0, 25.0, 50.0, 104.0])
def test_agrees_with_the_definition_evaluated_at_once(rate_hz):
    t_s = jittered_times(np.random.default_rng(1), rate_hz=rate_hz, seconds=20)
    t_s = np.delete(t_s, slice(100, 100 + int(rate_hz)))
    acc_g = motion(t_s)
    grid = run(t_s, acc_g, [], sampling_rate_hz=rate_hz)
    expected = resample(t_s, acc_g, rate_hz=RATE_HZ, sampling_rate_hz=rate_hz, max_gap_s=MAX_GAP_S)
    assert grid.keys() == expected.keys()
    assert max(np.abs(grid[k] - expected[k]).max() for k in grid) < 1e-6


@pytest.mark.parametrize("rate_hz", [20.0, 104.0])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_chunking_gives_the_same_bits(rate_hz, data):
    t_s = jittered_times(np.random.default_rng(2), rate_hz=rate_hz, seconds=6)
    t_s = np.delete(t_s, slice(50, 50 + int(rate_hz / 2)))
    acc_g = motion(t_s)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(t_s)), max_size=20)))
    whole = run(t_s, acc_g, [], sampling_rate_hz=rate_hz)
    parts = run(t_s, acc_g, cuts, sampling_rate_hz=rate_hz)
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[k], parts[k]) for k in whole)


@pytest.mark.parametrize("rate_hz", [20.0, 104.0])
def test_one_sample_at_a_time_gives_the_same_bits(rate_hz):
    t_s = jittered_times(np.random.default_rng(3), rate_hz=rate_hz, seconds=6)
    acc_g = motion(t_s)
    whole = run(t_s, acc_g, [], sampling_rate_hz=rate_hz)
    single = run(t_s, acc_g, range(1, len(t_s)), sampling_rate_hz=rate_hz)
    assert whole.keys() == single.keys()
    assert all(np.array_equal(whole[k], single[k]) for k in whole)


@pytest.mark.parametrize("rate_hz", [20.0, 104.0])
def test_a_process_started_later_makes_the_same_bits_on_the_same_grid(rate_hz):
    t_s = jittered_times(np.random.default_rng(4), rate_hz=rate_hz, seconds=10)
    acc_g = motion(t_s)
    whole = run(t_s, acc_g, [], sampling_rate_hz=rate_hz)
    late = run(t_s[77:], acc_g[77:], [], sampling_rate_hz=rate_hz)
    assert len(late) > 50
    assert all(np.array_equal(whole[k], late[k]) for k in late)


def test_what_the_grid_cannot_hold_is_filtered_before_decimation():
    t_s = np.arange(0, 20, 1 / 100)
    passed, stopped = np.sin(2 * np.pi * 3 * t_s), np.sin(2 * np.pi * 17 * t_s)
    acc_g = np.stack([passed, stopped, np.ones_like(t_s)], axis=1).astype(np.float32)
    grid = run(t_s, acc_g, [], sampling_rate_hz=100.0)
    out = np.array(list(grid.values()))
    reference = np.sin(2 * np.pi * 3 * np.array(list(grid)) / RATE_HZ)
    assert np.abs(out[:, 0] - reference).max() < 0.01
    assert np.abs(out[:, 1]).max() < 0.02
    assert np.abs(out[:, 2] - 1.0).max() < 1e-6


def test_a_hole_longer_than_the_limit_is_left_open_and_a_shorter_one_is_bridged():
    t_s = np.arange(0, 4, 0.05)
    bridged = np.delete(t_s, slice(20, 23))
    grid = run(bridged, motion(bridged), [], sampling_rate_hz=20.0)
    assert set(range(20, 25)) <= grid.keys()
    opened = np.delete(t_s, slice(20, 26))
    grid = run(opened, motion(opened), [], sampling_rate_hz=20.0)
    assert not set(range(20, 25)) & grid.keys()
    assert {18, 27} <= grid.keys()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_holes_of_any_size_and_bursts_give_finite_values_within_the_samples_around(data):
    steps = st.sampled_from([0.0005, 0.01, 0.04, 0.06, 0.15, 0.3, 0.45, 0.9, 1.1])
    t_s = 100.0 + np.cumsum(data.draw(st.lists(steps, min_size=30, max_size=120)))
    acc_g = motion(t_s)
    resampler = Resampler(rate_hz=RATE_HZ, max_gap_s=1.0)
    blocks = resampler.push(t_s, acc_g, sampling_rate_hz=100.0)
    grid = {block.start + i: sample for block in blocks for i, sample in enumerate(block.acc_g)}
    expected = resample(t_s, acc_g, rate_hz=RATE_HZ, sampling_rate_hz=100.0, max_gap_s=1.0)
    assert grid.keys() == expected.keys()
    for k, sample in grid.items():
        assert np.abs(sample - expected[k]).max() < 1e-5
        assert np.abs(sample).max() < 2.0


def test_a_device_that_changes_to_a_rate_that_needs_filtering_starts_over():
    resampler = Resampler(rate_hz=RATE_HZ, max_gap_s=MAX_GAP_S)
    slow, fast = np.arange(0, 2, 0.05), np.arange(2.0, 4, 0.01)
    before = resampler.push(slow, motion(slow), sampling_rate_hz=20.0)
    after = resampler.push(fast, motion(fast), sampling_rate_hz=100.0)
    assert after[0].start > before[-1].end
