"""Augmentation changes what it says, and nothing at zero strength."""

from __future__ import annotations

import numpy as np
import pytest

from training.augment import Augmentation, augment, reach_samples

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
