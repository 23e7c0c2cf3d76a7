"""How a watch sits is learned from walks alone, and what is askew is turned back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walks import HANGING, RATE_HZ, N, about, walk
from vskd_stream import recording
from vskd_stream.decode import decode
from vskd_stream.mounting import Mounting, shortest_turn, walks
from vskd_stream.resample import Resampler
from vskd_stream.window import Window, WindowCutter

OTHER_WRIST = (-HANGING[0], *HANGING[1:])


def walked(gravities, mounting=None):
    mounting = mounting or Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    for seed, gravity in enumerate(gravities):
        mounting.learn(walk(gravity, seed=seed))
    return mounting


def pointing(acc_g):
    gravity = acc_g.mean(axis=1, dtype=np.float64)
    return gravity / np.linalg.norm(gravity)


@given(
    steps_hz=st.floats(1.45, 2.45),
    strength_g=st.floats(0.15, 0.6),
    axis=st.integers(0, 2),
    degrees=st.floats(-180.0, 180.0),
)
def test_a_walk_is_known_at_any_pace_and_however_the_watch_sits(steps_hz, strength_g, axis, degrees):
    turned = about(axis, degrees) @ HANGING
    assert walks(walk(turned, steps_hz=steps_hz, strength_g=strength_g), sampling_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "acc_g",
    [
        walk(strength_g=0.0),  # stands
        walk(strength_g=0.05),  # shifts from one foot to the other
        walk(strength_g=1.2, steps_hz=2.2),  # runs
        np.random.default_rng(0).normal(0.5, 0.3, (3, N)).astype(np.float32),  # works
        np.zeros((3, N), np.float32),
    ],
)
def test_what_is_no_walk_is_none(acc_g):
    assert not walks(acc_g, sampling_rate_hz=RATE_HZ)
    mounting = Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    for _ in range(20):
        mounting.learn(acc_g)
    assert mounting.turned_deg is None


def test_nothing_is_turned_before_a_minute_of_walking():
    mounting = walked([about(1, 30.0) @ HANGING] * 5)
    window = Window(200, walk())
    assert mounting.turned_deg is None
    assert mounting.turned(window.acc_g) is window.acc_g
    assert walked([about(1, 30.0) @ HANGING] * 6).turned_deg is not None


OTHER_WAY_ROUND = (-HANGING[0], -HANGING[1], HANGING[2])


@pytest.mark.parametrize(
    ("worn", "axis", "degrees"),
    [
        *[
            (worn, 1, degrees)
            for worn in (HANGING, OTHER_WRIST, OTHER_WAY_ROUND)
            for degrees in (-30.0, 30.0)
        ],
        (HANGING, 2, -30.0),
        (OTHER_WRIST, 2, 30.0),
        (OTHER_WAY_ROUND, 2, -30.0),
    ],
)
def test_a_watch_that_sits_askew_is_turned_back_on_either_wrist_and_either_way_round(worn, axis, degrees):
    askew = about(axis, degrees) @ worn
    mounting = walked([askew] * 10)
    away_deg = np.rad2deg(np.arccos(askew @ worn))
    assert mounting.turned_deg == pytest.approx(away_deg, abs=1.0)
    turned = mounting.turned(walk(askew, seed=99))
    assert turned.dtype == np.float32
    assert turned.flags.c_contiguous
    assert pointing(turned) == pytest.approx(worn, abs=0.02)
    # Turned, not bent: lengths are what they were.
    lengths = np.linalg.norm(walk(askew, seed=99), axis=0)
    assert np.linalg.norm(turned, axis=0) == pytest.approx(lengths, rel=1e-5)


def test_a_watch_that_is_strapped_on_the_other_way_round_is_left_so():
    mounting = walked([OTHER_WAY_ROUND] * 10)
    assert mounting.turned_deg == 0.0
    # About the axis through the face, a turn towards the other way round cannot be told from it.
    assert walked([about(2, 30.0) @ HANGING] * 10).turned_deg == 0.0


def test_people_who_differ_a_little_are_left_as_they_are():
    mounting = walked([about(1, 15.0) @ HANGING] * 10)
    assert mounting.turned_deg == 0.0
    window = walk(about(1, 15.0) @ HANGING, seed=99)
    assert mounting.turned(window) is window


def test_an_arm_that_is_held_tells_nothing():
    assert walked([about(1, 70.0) @ HANGING] * 20).turned_deg is None


def test_a_few_walks_with_a_hand_in_a_pocket_do_not_count():
    askew = about(1, 30.0) @ HANGING
    pocket = about(2, 50.0) @ askew
    mounting = walked([askew, askew, pocket] * 8)
    assert pointing(mounting.turned(walk(askew, seed=99))) == pytest.approx(HANGING, abs=0.02)


def test_what_was_agreed_on_holds_until_most_agree_on_something_else():
    askew = about(1, 30.0) @ HANGING
    mounting = walked([askew] * 30)
    before = mounting.turned(walk(askew, seed=99))
    walked([OTHER_WRIST] * 11, mounting)
    assert mounting.turned(walk(askew, seed=99)) == pytest.approx(before, abs=0.02)
    walked([OTHER_WRIST] * 9, mounting)
    assert mounting.turned_deg == 0.0


def test_windows_that_overlap_are_one_walk():
    mounting = Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    askew = about(1, 30.0) @ HANGING
    for end in range(N, N + 990, 20):
        mounting.push(Window(end, walk(askew, seed=end)))
    assert mounting.turned_deg is None
    last = Window(N + 1000, walk(askew, seed=0))
    turned = mounting.push(last)
    assert turned.end_sample == last.end_sample
    assert pointing(turned.acc_g) == pytest.approx(HANGING, abs=0.02)


def test_a_clock_that_was_set_back_does_not_end_learning():
    mounting = Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    for end in (10**9, *range(N, 6 * N, N)):
        mounting.push(Window(end, walk(seed=end % 97)))
    assert mounting.turned_deg is not None


def test_acceleration_without_gravity_tells_nothing():
    oscillation = walk(seed=0) - walk(seed=0).mean(axis=1, keepdims=True)
    assert walks(walk(), sampling_rate_hz=RATE_HZ)
    mounting = Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    for _ in range(20):
        mounting.learn(oscillation)
    assert mounting.turned_deg is None


unit = st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(unit, unit)
def test_the_shortest_turn_is_a_rotation_that_takes_one_to_the_other(start, end):
    start, end = (np.array(v) / np.linalg.norm(v) for v in (start, end))
    if start @ end < -0.9:
        end = -end
    turn = shortest_turn(start, end)
    np.testing.assert_allclose(turn @ start, end, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    # Shortest: by the angle between the two and no more.
    assert (np.trace(turn) - 1.0) / 2.0 == pytest.approx(start @ end, abs=1e-12)


def test_the_shipped_recording_turned_by_thirty_degrees_is_turned_back():
    straight, askew = (worn(about(axis, degrees)) for axis, degrees in ((1, 0.0), (1, 30.0)))
    assert straight.turned_deg == 0.0
    # The wearer's own arm hangs 11 degrees from the middle, to the other side.
    assert askew.turned_deg == pytest.approx(30.0, abs=11.0)


def worn(turn):
    """The demo three times: its wearer walks for half a minute."""
    mounting = Mounting(HANGING, sampling_rate_hz=RATE_HZ)
    for _ in range(3):
        resampler = Resampler(rate_hz=RATE_HZ, max_gap_s=0.5)
        cutter = WindowCutter(window_samples=N, hop_samples=20)
        for message in recording.read(recording.resolve("demo")):
            for batch in decode(message.payload, device="watch"):
                acc_g = (batch.acc_g @ turn.T).astype(np.float32)
                for block in resampler.push(batch.t_s, acc_g, sampling_rate_hz=batch.sampling_rate_hz):
                    for window in cutter.push(block):
                        mounting.push(window)
    return mounting
