from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.manifests import manifest
from tests.streams import jittered_times
from tests.walks import HANGING, RATE_HZ, about, walk
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.manifest import Manifest
from vskd_stream.pipeline import Pipeline
from vskd_stream.samples import Gap, Samples
from vskd_stream.window import Window

NOW_S = 1.79e9


def classify(windows):
    """Moving where the windows vary, still where they do not."""
    moving = windows.std(axis=2).max(axis=1) > 0.1
    return np.where(moving[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32)


def pipeline(**decision) -> Pipeline:
    return Pipeline(
        "watch",
        manifest=manifest(decision=manifest().decision.model_dump() | decision),
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


def strapped_askew(worn: Pipeline, *, cuts=()) -> list[Window]:
    """What a wearer's two minutes of walking are cut into, with a watch that is 30 degrees off."""
    acc_g = np.ascontiguousarray(walk(about(1, 30.0) @ HANGING, samples=2400).T)
    t_s = np.arange(len(acc_g)) / RATE_HZ
    windows = []
    for start, end in pairwise([0, *cuts, len(t_s)]):
        if end > start:
            batch = Samples("watch", t_s[start:end], acc_g[start:end], RATE_HZ)
            cuts_made = worn.cut(batch, arrival_s=NOW_S)
            windows += [cut.piece for cut in cuts_made if isinstance(cut.piece, Window)]
    return windows


def wrist(**changes) -> Manifest:
    return manifest(window_samples=200, hop_samples=20, **changes)


def piped(model: Manifest) -> Pipeline:
    return Pipeline(
        "watch", manifest=model, bundle_sha256="ab" * 32, reorder_horizon_s=2.0, no_data_after_s=10.0
    )


def test_a_watch_that_sits_askew_is_turned_back_if_the_model_says_how_an_arm_hangs():
    turning, plain = piped(wrist(hanging=HANGING)), piped(wrist())
    turned, raw = strapped_askew(turning), strapped_askew(plain)
    assert plain.turned_deg is None
    assert turning.turned_deg == pytest.approx(29.0, abs=1.0)
    assert [window.end_sample for window in turned] == [window.end_sample for window in raw]
    # A minute is learned from before anything is turned.
    assert all(np.array_equal(a.acc_g, b.acc_g) for a, b in zip(turned[:50], raw[:50], strict=True))
    gravity = turned[-1].acc_g.mean(axis=1)
    assert gravity / np.linalg.norm(gravity) == pytest.approx(HANGING, abs=0.02)


@given(cuts=st.lists(st.integers(0, 2400), max_size=20).map(sorted))
@settings(max_examples=10, deadline=None)
def test_windows_are_turned_alike_however_the_stream_is_cut(cuts):
    whole, pieces = (strapped_askew(piped(wrist(hanging=HANGING)), cuts=where) for where in ((), cuts))
    assert len(whole) == len(pieces)
    assert all(np.array_equal(a.acc_g, b.acc_g) for a, b in zip(whole, pieces, strict=True))


def test_another_model_of_the_same_wrist_goes_on_with_what_was_learned():
    stream = piped(wrist(hanging=HANGING))
    strapped_askew(stream)
    for model, known in ((wrist(hanging=HANGING), True), (wrist(), False), (wrist(hanging=HANGING), False)):
        stream = stream.under(model, bundle_sha256="cd" * 32, no_data_after_s=10.0)
        assert (stream.turned_deg is not None) is known


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
        batch = in_mps2(batch) if data.draw(st.booleans()) else batch
        events += stream.push(batch, arrival_s=arrival_s, classify=classify)
    open_id = None
    for event in events:
        if event.type == "start":
            assert open_id is None
            open_id = event.id
        else:
            assert event.id == open_id
            open_id = None if event.type == "end" else open_id


def in_mps2(batch):
    return replace(batch, acc_g=batch.acc_g * np.float32(9.80665))


def wrong_then_right(t_s, *, wrong, cuts=()):
    """A stream whose unit is wrong where ``wrong`` says so: its events, and what was counted."""
    stream, events = pipeline(), []
    edges = sorted({0, *cuts, *(np.flatnonzero(np.diff(wrong(t_s))) + 1).tolist(), len(t_s)})
    for start, end in pairwise(edges):
        batch = samples(t_s[start:end])
        batch = in_mps2(batch) if wrong(t_s[start]) else batch
        events += stream.push(batch, arrival_s=NOW_S, classify=classify)
    return events, stream.take_counts()


def test_a_wrong_unit_ends_what_goes_on_and_nothing_is_classified_until_it_is_right_again():
    t_s = np.arange(0, 80, 0.02)
    events, counts = wrong_then_right(t_s, wrong=lambda t: (t >= 8) & (t < 58))
    suspect = next(i for i, event in enumerate(events) if event.label == "units_suspect")
    assert [(event.type, event.label) for event in events[suspect : suspect + 2]] == [
        ("start", "units_suspect"),
        ("end", "units_suspect"),
    ]
    before, start, end = events[suspect - 1 : suspect + 2]
    assert (before.type, before.reason, before.end_s) == ("end", "units_suspect", start.start_s)
    assert start.confidence is None
    # Still until 10 s and from 20 s on, so known at 25 s; right from 58 s on, and still from 60 s on.
    assert 8 < start.start_s <= 26
    assert end.reason == "data"
    assert 64 <= end.end_s <= 72
    assert counts["suspect_windows"] > 50
    assert told(events)[-1][0] == "start"


def test_what_is_wrong_and_what_to_do_is_told_once():
    stream = pipeline()
    cuts = stream.cut(in_mps2(samples(np.arange(0, 40, 0.02))), arrival_s=NOW_S)
    (gap,) = [cut.piece for cut in cuts if isinstance(cut.piece, Gap)]
    assert gap.reason == "units_suspect"
    assert gap.detail == "|a| at rest is 9.81 g, expected 0.9 to 1.1 g: the unit is m/s2, not g"
    assert cuts[-1].piece is gap
    assert stream.finding is not None
    assert (stream.finding.check, stream.finding.detail) == ("gravity", gap.detail)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_suspicion_begins_and_ends_at_the_same_windows_however_the_stream_is_cut(data):
    rate_hz = data.draw(st.sampled_from([52.0, 25.0]))
    t_s = jittered_times(np.random.default_rng(8), rate_hz=rate_hz, seconds=70)
    holes = data.draw(st.lists(st.floats(100, 170), max_size=2))
    t_s = t_s[np.all([(t_s < hole) | (t_s > hole + 1.3) for hole in holes], axis=0)] if holes else t_s

    def play_cut(cuts):
        stream, events = pipeline(), []
        for start, end in pairwise(sorted({0, *cuts, len(t_s)})):
            batch = samples(t_s[start:end], rate_hz=rate_hz)
            scale = np.where((batch.t_s > 104) & (batch.t_s < 140), 9.81, 1.0).astype(np.float32)
            batch = replace(batch, acc_g=batch.acc_g * scale[:, None])
            events += stream.push(batch, arrival_s=NOW_S, classify=classify)
        return events

    whole = play_cut([])
    assert "units_suspect" in {event.label for event in whole}
    assert play_cut(data.draw(st.lists(st.integers(0, len(t_s)), max_size=30))) == whole


def test_silence_after_a_suspicion_is_no_data_and_the_suspicion_stays():
    stream = pipeline()
    events = []
    for start_s, arrival_s in ((0, 0), (60, 60)):
        batch = in_mps2(samples(np.arange(start_s, start_s + 9.9, 0.02)))
        events += stream.push(batch, arrival_s=NOW_S + arrival_s, classify=classify)
    assert told(events)[-4:] == [
        ("end", "units_suspect"),
        ("start", "no_data"),
        ("end", "no_data"),
        ("start", "units_suspect"),
    ]
    end = [event for event in events if event.label == "units_suspect"][1]
    assert end.reason == "no_data"
    assert end.end_s == pytest.approx(9.9, abs=0.1)


@pytest.mark.parametrize("jump_s", [-50.0, 2e5])
def test_a_suspicion_outlasts_a_clock_that_was_set(jump_s):
    stream = pipeline()
    t_s = np.arange(1000, 1030, 0.02)
    events = stream.push(in_mps2(samples(t_s, sequence=0)), arrival_s=NOW_S, classify=classify)
    later = in_mps2(samples(t_s + 30 + jump_s * 2, sequence=1))
    events += stream.push(later, arrival_s=NOW_S, classify=classify)
    assert "units_suspect" in {event.label for event in events}
    assert stream.cut(in_mps2(samples(t_s + 60 + jump_s * 2, sequence=2)), arrival_s=NOW_S) == []


def test_a_count_whose_nominal_rate_is_wrong_is_dated_by_its_arrivals():
    stream = pipeline()
    for i in range(0, 3000, 25):
        batch = replace(samples(np.arange(i, i + 25) / 50), counted=True)
        # In truth the device takes 51 samples a second.
        stream.push(batch, arrival_s=NOW_S + (i + 24) / 51, classify=classify)
    assert stream.clock.utc_s(10.0) == pytest.approx(NOW_S + 10 * 50 / 51, abs=0.002)
    assert stream.clock_fit is not None
    assert stream.clock_fit.ppm == pytest.approx(-19608, abs=20)


def test_a_silenced_device_is_not_even_classified_and_starts_anew_when_it_may_speak_again():
    stream = pipeline()
    t_s = np.arange(0, 30, 0.02)
    events = play(stream, t_s[:400])
    (end,) = stream.prefer(Preferences(silent=True))
    assert (end.type, end.id, end.reason) == ("end", events[-1].id, "silenced")
    assert stream.cut(samples(t_s[400:800]), arrival_s=NOW_S) == []
    assert stream.tick(NOW_S + 1) == []
    assert stream.prefer(NO_PREFERENCES) == []
    assert told(play(stream, t_s[800:1100]))[0] == ("start", "moving")


def test_a_window_that_was_on_its_way_when_its_device_was_silenced_is_not_told_of():
    stream = pipeline()
    cuts = stream.cut(samples(np.arange(0, 9, 0.02)), arrival_s=NOW_S)
    assert stream.prefer(Preferences(silent=True)) == []
    assert stream.complete(cuts, classify=classify) == []


def test_a_device_that_lies_about_is_not_worn_and_worn_again_once_it_moves():
    stream = pipeline(not_worn={"below_g": 0.013, "for_s": 10.0})
    t_s = np.arange(0, 45, 0.02)
    still = (t_s > 10) & (t_s < 30)
    wear_g = 0.3 * np.sin(2 * np.pi * 2 * t_s)
    noise_g = np.random.default_rng(0).normal(scale=0.003, size=(len(t_s), 3))
    acc_g = noise_g + np.where(still, 0.0, wear_g)[:, np.newaxis] + np.array([0.0, 0.6, 0.8])
    batch = Samples("watch", t_s, acc_g.astype(np.float32), 50.0)
    events = stream.push(batch, arrival_s=NOW_S, classify=classify)
    starts = [(event.label, event.start_s) for event in events if event.type == "start"]
    assert [label for label, _ in starts] == ["moving", "still", "not_worn", "moving"]
    assert starts[2][1] == pytest.approx(starts[1][1], abs=2.0)
    assert starts[3][1] == pytest.approx(30.0, abs=1.5)


def succeeded(stream, **changes):
    preferences = changes.pop("preferences", NO_PREFERENCES)
    return stream.under(
        manifest(**changes), bundle_sha256="cd" * 32, no_data_after_s=10.0, preferences=preferences
    )


@given(at=st.integers(1, 999))
def test_under_another_model_of_the_same_grid_no_window_is_lost(at):
    t_s = np.arange(1000) / 50.0
    cuts = pipeline().cut(samples(t_s), arrival_s=NOW_S)
    whole = [cut.piece for cut in cuts if isinstance(cut.piece, Window)]
    before = pipeline()
    cuts = before.cut(samples(t_s[:at]), arrival_s=NOW_S)
    cuts += succeeded(before).cut(samples(t_s[at:]), arrival_s=NOW_S)
    pieces = [cut.piece for cut in cuts if isinstance(cut.piece, Window)]
    assert [piece.end_sample for piece in pieces] == [piece.end_sample for piece in whole]
    assert all((a.acc_g == b.acc_g).all() for a, b in zip(pieces, whole, strict=True))


@pytest.mark.parametrize("changes", [{"sampling_rate_hz": 25.0}, {"window_samples": 60}, {"hop_samples": 20}])
def test_under_a_model_with_other_windows_they_begin_anew_and_no_batch_is_lost(changes):
    before = pipeline()
    before.cut(samples(np.arange(0, 200) / 50.0, sequence=0), arrival_s=NOW_S)
    # It waits for the one before it, which comes when another model decides.
    before.cut(samples(np.arange(225, 275) / 50.0, sequence=2), arrival_s=NOW_S)
    after = succeeded(before, **changes)
    cuts = after.cut(samples(np.arange(200, 225) / 50.0, sequence=1), arrival_s=NOW_S)
    cuts += after.cut(samples(np.arange(275, 500) / 50.0, sequence=3), arrival_s=NOW_S)
    of = manifest(**changes)
    ends = [cut.piece.end_sample for cut in cuts]
    first = round(4.0 * of.sampling_rate_hz) + of.window_samples
    # On another grid, from the second sample on: nothing is known of what lies before the first.
    assert first <= ends[0] <= first + of.hop_samples
    assert all(b - a == of.hop_samples for a, b in pairwise(ends))
    assert not after.take_counts()


def test_what_goes_on_ends_with_its_model_and_begins_anew_under_the_next():
    before = pipeline()
    events = play(before, np.arange(0, 9, 0.02))
    after = succeeded(before)
    ended, begun = before.hand_over(after)
    events += [*ended, *begun, *play(after, np.arange(9, 19, 0.02))]
    still = [("start", "still"), ("end", "still")]
    assert told(events) == [*still, *still, ("start", "moving")]
    assert [event.reason for event in events if event.type == "end"] == ["model", "changed"]
    assert len({event.id for event in events if event.type == "start"}) == 3


def test_a_silent_device_is_silent_under_any_model():
    before = pipeline()
    play(before, np.arange(0, 9, 0.02))
    before.complete(before.tick(NOW_S + 10.0), classify=classify)
    after = succeeded(before, sampling_rate_hz=25.0)
    ended, begun = before.hand_over(after)
    assert told([*ended, *begun]) == [("end", "no_data"), ("start", "no_data")]
    assert begun[0].start_s == pytest.approx(ended[0].start_s, abs=0.04)
    assert told(play(after, np.arange(60, 69, 0.02))) == [("end", "no_data"), ("start", "still")]


def test_a_suspicion_is_told_to_the_next_model_too():
    before = pipeline()
    t_s = np.arange(0, 60, 0.02)
    heavy = replace(samples(t_s), acc_g=np.tile(np.array([0.0, 0.0, 9.81], np.float32), (len(t_s), 1)))
    assert told(before.push(heavy, arrival_s=NOW_S, classify=classify))[-1] == ("start", "units_suspect")
    after = succeeded(before)
    ended, begun = before.hand_over(after)
    assert (told(ended), begun) == ([("end", "units_suspect")], [])
    more = replace(heavy, t_s=heavy.t_s + 60)
    assert told(after.push(more, arrival_s=NOW_S, classify=classify)) == [("start", "units_suspect")]


def test_whoever_is_to_be_silent_under_the_next_model_hands_nothing_over():
    before = pipeline()
    play(before, np.arange(0, 9, 0.02))
    before.complete(before.tick(NOW_S + 10.0), classify=classify)
    assert before.hand_over(succeeded(before, preferences=Preferences(silent=True)))[1] == []
