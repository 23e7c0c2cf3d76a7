"""Virtual sensors feel what a sensor on a known body would have felt."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.datasets import DatasetError, Trial, utd_mhad
from training.virtual import Virtual, blends, force, mounting

RATE_HZ, N = 50.0, 200
TURN = np.array(((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
"""How the sensor sits on the limb."""


def body(*, radius_m: float = 0.25, cycles: float = 2.0, swing_rad: float = 0.8) -> NDArray[np.float64]:
    """A forearm that swings about a resting elbow in the frontal plane; everything else stands still."""
    t = np.linspace(0.0, 1.0, N)
    angle = swing_rad * np.sin(2 * np.pi * cycles * t)
    joints = np.zeros((N, len(utd_mhad.JOINTS), 3))
    at = {name: i for i, name in enumerate(utd_mhad.JOINTS)}
    joints[:, at["right_shoulder"]] = (0.0, 0.3, 0.0)
    joints[:, at["right_wrist"], 0] = radius_m * np.cos(angle)
    joints[:, at["right_wrist"], 1] = radius_m * np.sin(angle)
    return joints


def trial(*, subject: str = "1", label: str = "wave", seed: int = 0, **motion: float) -> Trial:
    skeleton = body(**motion)
    felt = force(skeleton, "right_wrist", samples=N, rate_hz=RATE_HZ) @ TURN.T
    noise = 0.01 * np.random.default_rng(seed).standard_normal(felt.shape)
    return Trial(
        key=f"{label}-{subject}-{seed}",
        label=label,
        subject=subject,
        repetition=1,
        acc_g=(felt + noise).astype(np.float32),
        rate_hz=RATE_HZ,
        skeleton_m=skeleton.astype(np.float32),
    )


def test_at_rest_only_gravity_is_felt() -> None:
    felt = force(body(swing_rad=0.0), "right_wrist", samples=N, rate_hz=RATE_HZ)
    assert np.linalg.norm(felt, axis=1) == pytest.approx(1.0, abs=1e-9)
    # The forearm lies flat, and up is where the shoulder is.
    assert felt == pytest.approx(np.tile((0.0, 1.0, 0.0), (N, 1)), abs=1e-9)


def test_a_slow_swing_is_felt_as_mechanics_has_it() -> None:
    radius, cycles, swing = 0.25, 1.0, 0.6
    felt = force(
        body(radius_m=radius, cycles=cycles, swing_rad=swing), "right_wrist", samples=N, rate_hz=RATE_HZ
    )
    seconds = (N - 1) / RATE_HZ
    w = 2 * np.pi * cycles / seconds
    t = np.linspace(0.0, seconds, N)
    angle, rate = swing * np.sin(w * t), swing * w * np.cos(w * t)
    along = -radius * rate**2 / 9.80665 + np.sin(angle)
    middle = slice(20, -20)  # what is smoothed over the ends is not known
    assert felt[middle, 0] == pytest.approx(along[middle], abs=0.02)


def test_how_the_sensor_sits_is_found_from_what_it_measured() -> None:
    found = mounting([trial(seed=s, cycles=c) for s, c in ((1, 1.0), (2, 2.0), (3, 3.0))])
    # The swing is in one plane: the third axis follows from the other two.
    assert found == pytest.approx(TURN, abs=0.02)


def test_a_blend_with_ones_like_is_what_was_measured() -> None:
    trials = [trial(subject="1", seed=1), trial(subject="2", seed=2)]
    for made, real in zip(blends(trials, Virtual(blends=1), seed=0), trials, strict=True):
        assert made.key == real.key
        assert made.acc_g == pytest.approx(real.acc_g, abs=1e-5)


def test_a_blend_lies_between_two_peoples_motions() -> None:
    small, large = trial(subject="1", swing_rad=0.3), trial(subject="2", swing_rad=1.0)
    (made, *_) = blends([small, large], Virtual(blends=1, reach=1.0), seed=3)
    assert small.acc_g[:, 1].std() < made.acc_g[:, 1].std() < large.acc_g[:, 1].std()
    assert np.isfinite(made.acc_g).all()


def test_blends_depend_on_the_seed_alone_and_stay_within_label_and_other_people() -> None:
    trials = [
        trial(subject=s, label=label, seed=i)
        for i, (s, label) in enumerate([("1", "wave"), ("2", "wave"), ("3", "clap"), ("3", "clap")])
    ]
    made = blends(trials, Virtual(blends=3), seed=5)
    assert [one.key for one in made] == [trials[0].key] * 3 + [trials[1].key] * 3
    again = blends(trials, Virtual(blends=3), seed=5)
    assert all(np.array_equal(a.acc_g, b.acc_g) for a, b in zip(made, again, strict=True))


def test_what_has_no_skeleton_or_no_such_limb_is_refused() -> None:
    bare = trial()
    object.__setattr__(bare, "skeleton_m", None)
    with pytest.raises(DatasetError, match="has no skeleton"):
        mounting([bare])
    with pytest.raises(DatasetError, match="left_ear is none of right_wrist, right_thigh"):
        force(body(), "left_ear", samples=N, rate_hz=RATE_HZ)
