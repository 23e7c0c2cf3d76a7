from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vskd_stream import recording, sanity
from vskd_stream.decode import decode
from vskd_stream.sanity import RATE_FACTOR, SECONDS, STILL_SECONDS, Sanity

WISDM_SUBJECTS = 12


def wear(seconds, *, still=True, rate_hz=50.0, seed=0, start_s=100.0):
    """A wrist at rest, or one that shakes; times and (n, 3) acceleration in g."""
    rng = np.random.default_rng(seed)
    t_s = start_s + np.arange(int(seconds * rate_hz)) / rate_hz
    acc_g = rng.normal([0.6, 0.0, 0.8], 0.01, (len(t_s), 3))
    if not still:
        acc_g[:, 0] += 0.7 * np.sin(2 * np.pi * 2.3 * t_s)
    return t_s, acc_g


def check(stream, t_s, acc_g, *, rate_hz=50.0, cuts=()):
    verdicts = []
    for start, end in pairwise([0, *cuts, len(t_s)]):
        if end > start:
            verdicts += stream.push(
                t_s[start:end], acc_g[start:end].astype(np.float32), sampling_rate_hz=rate_hz
            )
    return verdicts


def test_a_worn_watch_is_not_suspected():
    for still in (True, False):
        assert check(Sanity(), *wear(120, still=still)) == []


@pytest.mark.parametrize(
    ("factor", "advice"),
    [
        (9.80665, "the unit is m/s2, not g"),
        (1 / 9.80665, "m/s2 is stated"),
        (0.001, "mg is stated"),
        (0.25, "wrong by 1/4"),
        (4.0, "wrong by 4"),
        (0.8, "calibrate"),
    ],
)
def test_a_wrong_unit_is_seen_when_the_device_rests(factor, advice):
    t_s, acc_g = wear(20)
    (verdict,) = check(Sanity(), t_s, acc_g * factor)
    assert verdict.at_s == 100 + STILL_SECONDS
    assert verdict.finding.check == "gravity"
    assert verdict.finding.measured == pytest.approx(factor, rel=0.02)
    assert "expected 0.9 to 1.1 g" in verdict.finding.detail
    assert advice in verdict.finding.detail


def test_gravity_that_was_left_out_is_missed():
    t_s, acc_g = wear(20)
    (verdict,) = check(Sanity(), t_s, acc_g - acc_g.mean(axis=0))
    assert "gravity was left out" in verdict.finding.detail


def test_who_never_rests_is_not_suspected_of_a_wrong_unit():
    t_s, acc_g = wear(600, still=False)
    assert check(Sanity(), t_s, acc_g * 1.4) == []


def test_a_device_that_is_off_by_a_little_is_taken_as_it_is():
    for factor in (0.92, 1.08):
        t_s, acc_g = wear(60)
        assert check(Sanity(), t_s, acc_g * factor) == []


def test_it_recovers_when_the_unit_is_right_again_and_not_before():
    t_s, acc_g = wear(60)
    acc_g[:1000] *= 9.81
    suspect, recovered = check(Sanity(), t_s, acc_g)
    assert (suspect.at_s, recovered.finding) == (105, None)
    assert 120 + STILL_SECONDS <= recovered.at_s <= 120 + 2 * STILL_SECONDS


def test_a_bias_at_the_limit_does_not_swing():
    rng = np.random.default_rng(1)
    t_s, acc_g = wear(600)
    acc_g *= np.repeat(1.1 + rng.normal(0, 0.004, 600), 50)[:, None]
    assert len(check(Sanity(), t_s, acc_g)) <= 1


@pytest.mark.parametrize("pace", [0.5, 2.0, 1000.0])
def test_a_wrong_rate_is_seen(pace):
    t_s, acc_g = wear(30, rate_hz=50.0)
    (verdict,) = check(Sanity(), t_s, acc_g, rate_hz=50.0 / pace)
    assert verdict.finding.check == "rate"
    assert verdict.finding.measured == pytest.approx(50.0, rel=0.05)
    assert verdict.at_s == 100 + SECONDS


@pytest.mark.parametrize("loss", [0.05, 0.2, 0.4])
def test_neither_loss_nor_bursts_are_a_wrong_rate(loss):
    rng = np.random.default_rng(2)
    t_s, acc_g = wear(120)
    kept = rng.random(len(t_s)) >= loss
    assert check(Sanity(), t_s[kept], acc_g[kept]) == []
    # Two samples 1 ms apart every 40 ms: stamped when they arrived.
    bursts = np.sort(np.concatenate([t_s[::2], t_s[::2] + 0.001]))
    assert check(Sanity(), bursts, acc_g[: len(bursts)]) == []


def test_an_axis_on_its_rail_is_seen_and_a_shorter_visit_is_not():
    t_s, acc_g = wear(60, still=False)
    (verdict,) = check(Sanity(), t_s, np.clip(acc_g * [9, 1, 1], -2, 2))
    assert verdict.finding.check == "saturation"
    assert "choose a larger range" in verdict.finding.detail
    jogging = np.clip(acc_g + np.array([1.2, 0, 0]), -2, 2)
    assert (jogging[:, 0] == 2).mean() > 0.25
    assert check(Sanity(), t_s, jogging) == []


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_chunking_gives_the_same_verdicts(data):
    parts = [wear(15, seed=i, still=i % 3 != 1, start_s=100.0 + 15 * i) for i in range(5)]
    factors = data.draw(st.lists(st.sampled_from([1.0, 1.05, 9.81, 0.25]), min_size=5, max_size=5))
    t_s = np.concatenate([t for t, _ in parts])
    acc_g = np.concatenate([a * f for (_, a), f in zip(parts, factors, strict=True)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(t_s)), max_size=40)))
    assert check(Sanity(), t_s, acc_g, cuts=cuts) == check(Sanity(), t_s, acc_g)


def test_one_sample_at_a_time_gives_the_same_verdicts():
    t_s, acc_g = wear(30)
    acc_g[:700] *= 9.81
    verdicts = check(Sanity(), t_s, acc_g)
    assert len(verdicts) == 2
    assert check(Sanity(), t_s, acc_g, cuts=range(1, len(t_s))) == verdicts


def test_a_break_forgets_the_seconds_but_not_the_suspicion():
    stream = Sanity()
    t_s, acc_g = wear(20)
    assert len(check(stream, t_s, acc_g * 9.81)) == 1
    stream.reset()
    assert stream.finding is not None
    assert check(stream, *wear(STILL_SECONDS - 1, start_s=5.0)) == []
    assert [verdict.finding for verdict in check(stream, *wear(20, start_s=20.0))] == [None]


@given(
    st.lists(
        st.tuples(st.floats(1e-9, 100), st.integers(1, 300), st.floats(-64, 64)), min_size=1, max_size=30
    ),
    st.floats(1, 2000),
)
@settings(deadline=None)
def test_suspicions_and_recoveries_alternate_whatever_comes(batches, rate_hz):
    stream, t, verdicts = Sanity(), 0.0, []
    for step_s, count, value in batches:
        t_s = t + step_s * np.arange(1, count + 1)
        t = float(t_s[-1])
        verdicts += stream.push(t_s, np.full((count, 3), value, np.float32), sampling_rate_hz=rate_hz)
        assert all(verdict.at_s <= t for verdict in verdicts)
    assert all((verdict.finding is None) == (i % 2 == 1) for i, verdict in enumerate(verdicts))
    assert [verdict.at_s for verdict in verdicts] == sorted({verdict.at_s for verdict in verdicts})


def test_memory_is_bounded_when_a_second_never_ends():
    stream = Sanity()
    for i in range(100):
        t_s = 100 + 1e-7 * np.arange(1000.0 * i, 1000.0 * (i + 1))
        stream.push(t_s, np.zeros((1000, 3), np.float32), sampling_rate_hz=100.0)
    assert len(stream._second_s) <= sanity._MOST_SAMPLES


def test_a_2_g_watch_is_suspected_only_where_it_did_not_keep_its_rate(shared_data):
    path = shared_data / "wisdm-watch-accel.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    with np.load(path) as recordings:
        scale = float(recordings["scale"][0]) / 9.80665
        subjects = sorted({name.split("_")[0] for name in recordings.files if name != "scale"})
        for subject in subjects[:: len(subjects) // WISDM_SUBJECTS]:
            t_s, acc_g = recordings[f"{subject}_t_ns"] / 1e9, recordings[f"{subject}_xyz"] * scale
            # The watch's clock was set anew for each activity.
            for start, end in pairwise([0, *(np.flatnonzero(np.diff(t_s) <= 0) + 1), len(t_s)]):
                for verdict in check(Sanity(), t_s[start:end], acc_g[start:end], rate_hz=20.0):
                    since = t_s[start:end][t_s[start:end] < verdict.at_s] - (verdict.at_s - SECONDS)
                    rates_hz = np.bincount(since[since >= 0].astype(int), minlength=SECONDS)
                    if verdict.finding is not None:
                        assert verdict.finding.check == "rate"
                        # A few stretches of the data set come at 100 Hz, for whatever reason.
                        assert np.median(rates_hz[rates_hz > 0]) > 20 * RATE_FACTOR


def test_nobody_who_wore_a_smartwatch_of_geotec_is_suspected(shared_data):
    from training.datasets import geotec

    path = shared_data / "geotec-watch.tar.xz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    for execution in geotec.executions(path, only=["s03", "s11", "s20"]):
        t_s = geotec.spread_ms(execution.t_ms) / 1e3
        assert check(Sanity(), t_s, execution.acc_g, rate_hz=geotec.SAMPLING_RATE_HZ) == []


def test_the_shipped_recording_is_not_suspected():
    stream, count = Sanity(), 0
    for message in recording.read(recording.resolve("demo")):
        for samples in decode(message.payload, device="watch"):
            rate_hz = samples.sampling_rate_hz
            assert stream.push(samples.t_s, samples.acc_g, sampling_rate_hz=rate_hz) == []
            count += 1
    assert count > 100
