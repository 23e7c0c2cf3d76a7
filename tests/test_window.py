from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vskd_stream.resample import Block
from vskd_stream.window import WindowCutter


def block(start: int, end: int) -> Block:
    """Samples that carry their own number, so a window shows which it holds."""
    numbers = np.arange(start, end, dtype=np.float32)
    return Block(start, np.stack([numbers, numbers + 0.25, numbers + 0.5], axis=1))


def expected_ends(start: int, end: int, n: int, hop: int) -> list[int]:
    return [k for k in range(start + n, end + 1) if k % hop == 0]


@given(
    start=st.integers(0, 10**12),
    n=st.integers(8, 50),
    hop_part=st.floats(0.01, 1.0),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12),
)
@settings(max_examples=150, deadline=None)
def test_windows_hold_the_last_samples_and_end_at_multiples_of_the_hop(start, n, hop_part, sizes):
    hop = max(1, int(n * hop_part))
    start %= 2**23  # float32 counts exactly up to here
    cutter = WindowCutter(window_samples=n, hop_samples=hop)
    windows, position = [], start
    for size in sizes:
        windows += cutter.push(block(position, position + size))
        position += size
    assert [window.end_sample for window in windows] == expected_ends(start, position, n, hop)
    for window in windows:
        numbers = np.arange(window.end_sample - n, window.end_sample, dtype=np.float32)
        assert np.array_equal(window.acc_g[0], numbers)
        assert np.array_equal(window.acc_g[2], numbers + 0.5)
        assert window.acc_g.flags.c_contiguous


def test_windows_keep_their_content_when_the_ring_goes_on():
    cutter = WindowCutter(window_samples=10, hop_samples=5)
    (first, *_) = cutter.push(block(0, 10))
    before = first.acc_g.copy()
    cutter.push(block(10, 100))
    assert np.array_equal(first.acc_g, before)


def test_no_window_spans_a_hole():
    cutter = WindowCutter(window_samples=10, hop_samples=5)
    ends = [window.end_sample for window in cutter.push(block(0, 12))]
    ends += [window.end_sample for window in cutter.push(block(13, 40))]
    assert ends == [10, 25, 30, 35, 40]


def test_after_a_reset_a_window_needs_all_its_samples_anew():
    cutter = WindowCutter(window_samples=10, hop_samples=5)
    cutter.push(block(0, 10))
    cutter.reset()
    assert [window.end_sample for window in cutter.push(block(10, 21))] == [20]
