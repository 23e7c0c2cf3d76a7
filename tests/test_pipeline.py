from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests import manifest
from tests.streams import jittered_times
from vskd_stream.pipeline import Pipeline
from vskd_stream.samples import Gap, Samples
from vskd_stream.window import Window

NOW_S = 1.79e9


def classify(windows):
    """Moving where the windows vary, still where they do not."""
    moving = windows.std(axis=2).max(axis=1) > 0.1
    return np.where(moving[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32)


def pipeline() -> Pipeline:
    return Pipeline(
        "watch",
        manifest=manifest(),
        bundle_sha256="ab" * 32,
        reorder_horizon_s=2.0,
        no_data_after_s=10.0,
    )


def samples(t_s, *, rate_hz=50.0, sequence=None, epoch="device") -> Samples:
    """Ten seconds of stillness and ten of shaking in turn."""
    t_s = np.asarray(t_s, np.float64)
    shaking = (t_s // 10 % 2) * np.sin(2 * np.pi * 3 * t_s)
    acc_g = np.stack([0.5 * shaking, 0.3 * shaking, np.ones_like(t_s)], axis=1).astype(np.float32)
    return Samples("watch", t_s, acc_g, rate_hz, epoch=epoch, sequence=sequence)


def play(stream, t_s, cuts=(), **kwargs):
    events = []
    edges = [0, *cuts, len(t_s)]
    for start, end in pairwise(edges):
        if end > start:
            batch = samples(t_s[start:end], **kwargs)
            events += stream.push(batch, arrival_s=NOW_S, classify=classify)
    return events


def told(events):
    return [(event.type, event.label) for event in events if event.type != "update"]


def test_a_stream_becomes_events_that_follow_its_motion():
    events = play(pipeline(), np.arange(0, 40, 0.02), range(0, 2000, 25))
    assert told(events) == [
        ("start", "still"),
        ("end", "still"),
        ("start", "moving"),
        ("end", "moving"),
        ("start", "still"),
        ("end", "still"),
        ("start", "moving"),
    ]
    starts = [event.start_s for event in events if event.type == "start"]
    assert starts[1:] == pytest.approx([10.0, 20.0, 30.0], abs=2.0)


@pytest.mark.parametrize("rate_hz", [20.0, 52.0, 104.0])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_chunking_gives_the_same_events(rate_hz, data):
    t_s = jittered_times(np.random.default_rng(5), rate_hz=rate_hz, seconds=30)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(t_s)), max_size=30)))
    assert play(pipeline(), t_s, cuts, rate_hz=rate_hz) == play(pipeline(), t_s, rate_hz=rate_hz)


def test_one_sample_at_a_time_gives_the_same_events():
    t_s = jittered_times(np.random.default_rng(6), rate_hz=50.0, seconds=30)
    events = play(pipeline(), t_s)
    assert events
    assert play(pipeline(), t_s, range(1, len(t_s))) == events


def test_a_process_started_later_cuts_the_very_same_windows():
    t_s = np.arange(0, 60, 0.02)
    windows = {
        start: {
            cut.piece.end_sample: cut.piece.acc_g
            for cut in pipeline().cut(samples(t_s[start:]), arrival_s=NOW_S)
            if isinstance(cut.piece, Window)
        }
        for start in (0, 777)
    }
    assert len(windows[777]) > 50
    assert all(np.array_equal(windows[0][end], acc_g) for end, acc_g in windows[777].items())


def test_the_moment_of_arrival_changes_nothing_but_the_clock():
    t_s = np.arange(0, 30, 0.02)
    early, late = pipeline(), pipeline()
    for i in range(0, len(t_s), 25):
        batch = samples(t_s[i : i + 25])
        a = early.push(batch, arrival_s=NOW_S + batch.t_s[-1], classify=classify)
        b = late.push(batch, arrival_s=NOW_S + batch.t_s[-1] + 5 + i % 3, classify=classify)
        assert a == b
    assert late.clock.offset_s == pytest.approx(early.clock.offset_s + 5, abs=0.1)


def test_a_hole_ends_what_went_on_and_no_window_spans_it():
    t_s = np.concatenate([np.arange(0, 9, 0.02), np.arange(12, 20, 0.02)])
    stream = pipeline()
    cuts = stream.cut(samples(t_s), arrival_s=NOW_S)
    (gap,) = [cut.piece for cut in cuts if isinstance(cut.piece, Gap)]
    assert gap.reason == "missing"
    assert gap.start_s == pytest.approx(9, abs=0.3)
    assert gap.end_s == pytest.approx(12, abs=0.3)
    for cut in cuts:
        if isinstance(cut.piece, Window):
            assert cut.piece.end_sample <= 9 * 20 or cut.piece.end_sample - 40 >= 12 * 20


def test_a_hole_in_the_middle_of_a_batch_is_a_gap_like_any_other():
    whole = np.concatenate([np.arange(0, 9, 0.02), np.arange(12, 20, 0.02)])
    assert play(pipeline(), whole) == play(pipeline(), whole, [450])


def test_silence_becomes_no_data_once_and_data_end_it():
    stream = pipeline()
    batch = samples(np.arange(0, 9, 0.02))
    events = stream.push(batch, arrival_s=NOW_S, classify=classify)
    assert stream.tick(NOW_S + 9.9) == []
    events += stream.complete(stream.tick(NOW_S + 10.0), classify=classify)
    assert stream.tick(NOW_S + 1000.0) == []
    events += stream.push(samples(np.arange(60, 69, 0.02)), arrival_s=NOW_S + 60, classify=classify)
    assert told(events) == [
        ("start", "still"),
        ("end", "still"),
        ("start", "no_data"),
        ("end", "no_data"),
        ("start", "still"),
    ]


def test_silence_is_the_same_whether_a_timer_or_the_next_batch_tells_it():
    def play_with(ticks):
        stream = pipeline()
        events = stream.push(samples(np.arange(0, 9, 0.02)), arrival_s=NOW_S, classify=classify)
        for now_s in ticks:
            events += stream.complete(stream.tick(now_s), classify=classify)
        return events + stream.push(samples(np.arange(60, 69, 0.02)), arrival_s=NOW_S + 60, classify=classify)

    assert play_with([]) == play_with([NOW_S + 5, NOW_S + 17, NOW_S + 30])


def test_a_batch_that_waits_for_a_missing_one_is_not_lost_in_silence():
    stream = pipeline()
    stream.push(samples(np.arange(0, 4, 0.02), sequence=0), arrival_s=NOW_S, classify=classify)
    held = samples(np.arange(4.5, 5.5, 0.02), sequence=2)
    assert stream.cut(held, arrival_s=NOW_S + 1) == []
    cuts = stream.tick(NOW_S + 20)
    assert [cut.piece.reason for cut in cuts if isinstance(cut.piece, Gap)] == ["missing", "no_data"]


@pytest.mark.parametrize("jump_s", [3e8, -3e8, 1e5])
def test_a_clock_that_jumps_breaks_the_stream_and_the_stream_goes_on(jump_s):
    stream = pipeline()
    first, second = np.arange(4e8, 4e8 + 9, 0.02), np.arange(4e8 + 9, 4e8 + 18, 0.02) + jump_s
    stream.push(samples(first, sequence=0), arrival_s=NOW_S, classify=classify)
    cuts = stream.cut(samples(second, sequence=1), arrival_s=NOW_S + 9)
    assert isinstance(cuts[0].piece, Gap)
    assert cuts[0].piece.reason == "clock_jump"
    assert cuts[0].clock.offset_s == pytest.approx(NOW_S - first[-1])
    assert len(cuts) > 10
    assert stream.clock.offset_s == pytest.approx(NOW_S + 9 - second[-1])


def test_a_device_that_is_too_slow_for_the_model_is_refused_and_counted():
    stream = pipeline()
    assert stream.cut(samples(np.arange(0, 30, 0.2), rate_hz=5.0), arrival_s=NOW_S) == []
    assert stream.take_counts() == {"rate_too_low": 1}


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_arrives_in_whatever_order_starts_and_ends_alternate(data):
    stream = pipeline()
    arrival_s, events = NOW_S, []
    for _ in range(data.draw(st.integers(1, 12))):
        start = data.draw(st.floats(0, 100) | st.floats(0, 1e10))
        seconds = data.draw(st.sampled_from([0.02, 1.0, 8.0]))
        rate_hz = data.draw(st.sampled_from([10.0, 50.0, 200.0]))
        arrival_s += data.draw(st.floats(0, 20) | st.floats(-1e6, 1e6))
        t_s = start + np.arange(max(1, int(seconds * rate_hz))) / rate_hz
        t_s = t_s[np.concatenate([[True], np.diff(t_s) > 0])]
        sequence = data.draw(st.none() | st.integers(0, 20))
        batch = samples(t_s, rate_hz=rate_hz, sequence=sequence)
        events += stream.push(batch, arrival_s=arrival_s, classify=classify)
    open_id = None
    for event in events:
        if event.type == "start":
            assert open_id is None
            open_id = event.id
        else:
            assert event.id == open_id
            open_id = None if event.type == "end" else open_id
