"""Augmentation changes what it says, and nothing at zero strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.augment import Augmentation, augment, bridged, mirrored, reach_samples

NONE = Augmentation(rotation_deg=0.0, scale=0.0, speed=0.0, noise_g=0.0)
N = 50


def segments(m: int, *, batch: int = 8) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((batch, m, 3)).astype(np.float32)


def test_at_zero_strength_a_window_is_the_segment_bit_for_bit() -> None:
    assert reach_samples(NONE, N) == N
    made = augment(segments(N), N, NONE, np.random.default_rng(1))
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert np.array_equal(made, segments(N).transpose(0, 2, 1))


def test_a_rotation_keeps_the_length_of_every_sample() -> None:
    made = augment(segments(N), N, NONE.model_copy(update={"rotation_deg": 40.0}), np.random.default_rng(1))
    before = np.linalg.norm(segments(N), axis=2)
    assert np.linalg.norm(made, axis=1) == pytest.approx(before, rel=1e-5)
    assert not np.allclose(made, segments(N).transpose(0, 2, 1), atol=0.1)


def test_a_scale_keeps_the_direction_of_every_sample() -> None:
    made = augment(segments(N), N, NONE.model_copy(update={"scale": 0.3}), np.random.default_rng(1))
    ratio = made / segments(N).transpose(0, 2, 1)
    assert ratio == pytest.approx(np.broadcast_to(ratio[:, :1, :1], ratio.shape), rel=1e-4)
    assert ratio.std() > 0.05


def test_vigour_makes_a_movement_stronger_and_leaves_gravity_alone() -> None:
    made = augment(segments(N), N, NONE.model_copy(update={"vigour": 0.3}), np.random.default_rng(1))
    as_is = segments(N).transpose(0, 2, 1)
    assert made.mean(2) == pytest.approx(as_is.mean(2), abs=1e-5)
    ratio = made.std(2) / as_is.std(2)
    assert ratio == pytest.approx(np.broadcast_to(ratio[:, :1], ratio.shape), rel=1e-4)
    assert np.log(ratio[:, 0]).std() == pytest.approx(0.3, rel=0.6)


def test_a_wavering_movement_is_stronger_at_times_and_gravity_stays() -> None:
    ramp = np.resize([1.0, -1.0], N).astype(np.float32)[:, np.newaxis]
    still = np.array([0.6, 0.0, 0.8], np.float32)
    there = np.broadcast_to(ramp * [1.0, 0.5, 0.0] + still, (200, N, 3)).astype(np.float32)
    made = augment(there, N, NONE.model_copy(update={"waver": 0.3}), np.random.default_rng(1))
    strength = np.abs(made - still[:, np.newaxis])
    assert made[:, 2] == pytest.approx(np.full((200, N), 0.8), abs=1e-6)
    assert strength[:, 0] == pytest.approx(2.0 * strength[:, 1], rel=1e-4)
    logs = np.log(strength[:, 0])
    assert logs[:, [0, -1]].std(axis=0) == pytest.approx([0.3, 0.3], rel=0.2)
    assert np.abs(np.diff(logs, axis=1)).max() < 0.3
    assert np.corrcoef(logs[:, 0], logs[:, -1])[0, 1] == pytest.approx(0.0, abs=0.2)


def test_timbre_makes_octaves_stronger_or_weaker_for_all_axes_alike_and_leaves_gravity_alone() -> None:
    n = 256
    waves = np.stack([np.sin(2.0 * np.pi * np.arange(n) * cycles / n) for cycles in (2, 32, 64)])
    there = waves.sum(0)[:, np.newaxis] * [1.0, -0.5, 0.0] + [0.0, 0.0, 1.0]
    made = augment(
        np.broadcast_to(there, (2000, n, 3)).astype(np.float32),
        n,
        NONE.model_copy(update={"timbre": 0.3}),
        np.random.default_rng(1),
    )
    assert made[:, 2] == pytest.approx(np.ones((2000, n)), abs=1e-6)
    assert made[:, 1] == pytest.approx(-0.5 * made[:, 0], abs=1e-5)
    logs = np.log(np.abs(np.fft.rfft(made[:, 0], axis=1)[:, [2, 32, 64]]) / (n / 2))
    # 2 of 256 are below the lowest octave, 32 and 64 two and one below half the rate.
    assert logs.std(axis=0) == pytest.approx([0.3, 0.3, 0.3], rel=0.1)
    assert np.abs(np.corrcoef(logs.T) - np.eye(3)).max() < 0.1


def test_a_movement_halts_for_a_while_and_gravity_stays() -> None:
    n = 200
    swing = np.resize([1.0, -1.0], n).astype(np.float32)[:, np.newaxis]
    there = np.broadcast_to(swing * [1.0, 0.5, 0.0] + [0.0, 0.0, 1.0], (1000, n, 3)).astype(np.float32)
    made = augment(there, n, NONE.model_copy(update={"halt": 0.4}), np.random.default_rng(1))
    strength = np.abs(made)
    assert made[:, 2] == pytest.approx(np.ones((1000, n)), abs=1e-6)
    assert strength[:, 1] == pytest.approx(0.5 * strength[:, 0], abs=1e-6)
    halted = strength[:, 0] < 0.31
    share = halted.mean(axis=1)
    # Three in ten of those that halt do so for less than can be seen, or beyond the window's ends.
    assert 0.25 < (share > 0.0).mean() < 0.4
    assert share.max() < 0.4
    assert (np.abs(np.diff(halted.astype(int), axis=1)).sum(axis=1) <= 2).all()
    assert strength.max() <= 1.0 + 1e-6
    assert augment(there, n, NONE, np.random.default_rng(1)).std() == pytest.approx(there.std(), rel=1e-6)


def test_noise_has_the_given_strength() -> None:
    made = augment(
        segments(N, batch=200), N, NONE.model_copy(update={"noise_g": 0.2}), np.random.default_rng(1)
    )
    assert (made - segments(N, batch=200).transpose(0, 2, 1)).std() == pytest.approx(0.2, rel=0.05)


def test_a_warp_stays_inside_its_segment_and_runs_forward_at_the_given_speeds() -> None:
    warp = NONE.model_copy(update={"speed": 0.2})
    m = reach_samples(warp, N)
    ramp = np.broadcast_to(np.arange(m, dtype=np.float32)[:, np.newaxis], (500, m, 3))
    made = augment(ramp, N, warp, np.random.default_rng(1))
    assert made.min() >= 0.0
    assert made.max() <= m - 1
    steps = np.diff(made[:, 0], axis=1)
    assert steps.min() > np.exp(-0.8) - 1e-3
    assert steps.max() < np.exp(0.8) + 1e-3
    assert steps.mean(1).std() > 0.1


def test_the_same_generator_makes_the_same_windows() -> None:
    strong = Augmentation(rotation_deg=20.0, scale=0.1, speed=0.1, noise_g=0.1)
    m = reach_samples(strong, N)
    first, second = (augment(segments(m), N, strong, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_other_wrist_changes_the_sign_of_the_axis_along_the_arm_and_of_no_other() -> None:
    made = augment(segments(N), N, NONE.model_copy(update={"mirror": 1.0}), np.random.default_rng(1))
    as_is = segments(N).transpose(0, 2, 1)
    assert np.array_equal(made[:, 0], -as_is[:, 0])
    assert np.array_equal(made[:, 1:], as_is[:, 1:])
    assert np.array_equal(mirrored(mirrored(as_is)), as_is)


def test_a_watch_strapped_on_upside_down_keeps_the_axis_through_its_face() -> None:
    made = augment(segments(N), N, NONE.model_copy(update={"upside_down": 1.0}), np.random.default_rng(1))
    as_is = segments(N).transpose(0, 2, 1)
    assert np.array_equal(made[:, 2], as_is[:, 2])
    assert np.array_equal(made[:, :2], -as_is[:, :2])


def test_ranges_and_steps_are_those_given() -> None:
    how = NONE.model_copy(update={"ranges_g": (1.0,), "steps_g": (0.25,)})
    made = augment(segments(N), N, how, np.random.default_rng(1))
    assert np.abs(made).max() == 1.0
    assert np.array_equal(made, np.round(made * 4) / 4)


def test_a_straight_line_survives_lost_samples_and_slower_sensors() -> None:
    ramp = np.broadcast_to(np.arange(N, dtype=np.float32)[:, np.newaxis], (40, N, 3))
    for changes in ({"lossy": 1.0, "loss": 0.4}, {"slower": 1.0, "slowest_samples": 2.0}):
        made = augment(ramp, N, NONE.model_copy(update=changes), np.random.default_rng(1))
        inner = made[:, :, 3:-3]
        assert inner == pytest.approx(np.broadcast_to(np.arange(3, N - 3), inner.shape), abs=1e-4)
    lost = augment(segments(N), N, NONE.model_copy(update={"lossy": 1.0}), np.random.default_rng(1))
    assert not np.array_equal(lost, segments(N).transpose(0, 2, 1))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_lost_samples_lie_on_the_line_between_those_that_came(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    windows, kept = rng.standard_normal((3, 3, 20)), rng.random((3, 20)) >= rate
    made = bridged(windows, kept)
    kept[:, [0, -1]] = True
    for window, mask, result in zip(windows, kept, made, strict=True):
        at = np.flatnonzero(mask)
        wanted = np.stack([np.interp(np.arange(20), at, axis[at]) for axis in window])
        np.testing.assert_allclose(result, wanted, atol=1e-12)


def test_a_short_recording_is_played_no_faster_than_it_lasts() -> None:
    warp = NONE.model_copy(update={"speed": 0.3})
    m = reach_samples(warp, N)
    ramp = np.minimum(np.arange(m, dtype=np.float32), N + 1)[:, np.newaxis]
    padded = np.broadcast_to(ramp, (300, m, 3))
    available = np.full(300, N + 2, np.int64)
    made = augment(padded, N, warp, np.random.default_rng(1), available=available)
    assert made.max() <= N + 1
    assert (np.diff(made, axis=2) > 0.0).all()
