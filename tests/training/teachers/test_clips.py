"""Clips: what is varied is the person and the time, never left and right."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training import utd_toys
from training.datasets import DatasetError, Trial
from training.teachers.depth import EXTENT_M, DepthClips, DepthView
from training.teachers.skeleton import SkeletonClips, SkeletonView

STEP_M = 0.016
STILL = DepthView(turn_deg=0.0, tilt_deg=0.0, scale=0.0, shift_m=0.0, crop=0.0)
UPRIGHT = SkeletonView(turn_deg=0.0, scale=0.0, warp=0.0, crop=0.0, noise_m=0.0)
LIVELY = DepthView(turn_deg=15.0, tilt_deg=5.0, scale=0.1, shift_m=0.05, crop=0.1)


def trial(action: int = 1, *, noise_m: float = 0.005) -> Trial:
    body = utd_toys.skeleton(action, noise_m=noise_m)
    steps = (utd_toys.depth_mm(body)[::2, ::2] // 16).astype(np.uint8)
    return Trial(
        key=f"a{action}_s1_t1",
        label="wave",
        subject="1",
        repetition=1,
        acc_g=np.zeros((60, 3), np.float32),
        rate_hz=50.0,
        skeleton_m=body.transpose(2, 0, 1).astype(np.float32),
        frames=np.ascontiguousarray(steps.transpose(2, 0, 1)),
    )


def clips(one: Trial, view: DepthView = STILL) -> DepthClips:
    return DepthClips([one], segments=8, size=64, reach=2, step_m=STEP_M, view=view)


def skeletons(one: Trial, view: SkeletonView = UPRIGHT) -> SkeletonClips:
    return SkeletonClips([one], frames=16, view=view)


def test_a_plain_clip_has_the_depth_and_what_changes_before_and_after() -> None:
    (clip,) = clips(trial()).plain(0)
    assert clip.shape == (8, 3, 64, 64)
    assert clip.dtype == np.float32
    now, since, until = clip[:, 0], clip[:, 1], clip[:, 2]
    assert now.min() == 0.0
    assert 0.25 <= now[now > 0].min() <= now.max() <= 1.0
    assert np.abs(since).max() > 0.0
    assert np.abs(until).max() > 0.0


@pytest.mark.parametrize("view", [STILL, LIVELY])
def test_the_joints_fall_on_the_person_however_it_is_turned(view: DepthView) -> None:
    frames, poses = clips(trial(), view).drawn(0, np.random.default_rng(7))
    joints = poses.reshape(8, 20, 3)
    hits = 0
    for frame, body in zip(frames, joints, strict=True):
        for column, row in np.floor((body[:, :2] / EXTENT_M + 0.5) * 64).astype(int):
            hits += frame[0, row, column] > 0
    assert hits >= 0.95 * 160


def test_left_is_never_made_right() -> None:
    right, left = (clips(trial(action, noise_m=0.0), LIVELY) for action in (1, 3))
    rng = np.random.default_rng(1)
    for _ in range(20):
        # The moving hand alone changes: it stays on its side of the picture.
        for one, side in ((right, 1.0), (left, -1.0)):
            frames, _ = one.drawn(0, rng)
            moved = np.argwhere(np.abs(frames[:, 1]) > 0.3)[:, 2]
            middle = np.median(np.argwhere(frames[:, 0] > 0)[:, 2])
            assert (np.median(moved) - middle) * side > 0


def test_the_same_seed_draws_the_same_clip() -> None:
    one = clips(trial(), LIVELY)
    first, _ = one.drawn(0, np.random.default_rng(5))
    again, _ = one.drawn(0, np.random.default_rng(5))
    other, _ = one.drawn(0, np.random.default_rng(6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_clips_without_depth_or_with_nobody_in_them_are_refused() -> None:
    one = trial()
    blank = Trial("a1_s1_t1", "wave", "1", 1, one.acc_g, 50.0)
    with pytest.raises(DatasetError, match="a1_s1_t1: has no depth frames"):
        clips(blank)
    with pytest.raises(DatasetError, match="a1_s1_t1: has no skeleton"):
        skeletons(blank)
    assert one.frames is not None
    empty = Trial("k", "wave", "1", 1, one.acc_g, 50.0, frames=np.zeros_like(one.frames))
    with pytest.raises(DatasetError, match="its depth frames are empty"):
        clips(empty)
    short = Trial("k", "wave", "1", 1, one.acc_g, 50.0, frames=one.frames[:-1], skeleton_m=one.skeleton_m)
    with pytest.raises(DatasetError, match="23 depth frames but 24 of the skeleton"):
        clips(short)


def test_a_skeletons_place_in_the_room_does_not_count() -> None:
    here = trial()
    assert here.skeleton_m is not None
    there = Trial("k", "wave", "1", 1, here.acc_g, 50.0, skeleton_m=here.skeleton_m + np.float32(0.5))
    (one,), (other,) = (skeletons(t).plain(0) for t in (here, there))
    assert one.shape == (1, 9, 16, 20)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_still_view_of_a_skeleton_is_the_plain_clip() -> None:
    one = skeletons(trial())
    np.testing.assert_allclose(one.drawn(0, np.random.default_rng(0)), one.plain(0), atol=1e-6)


def test_turning_a_skeleton_keeps_heights_and_lengths() -> None:
    one = skeletons(trial(), UPRIGHT.model_copy(update={"turn_deg": 90.0}))
    (plain,), (drawn,) = one.plain(0)[0], one.drawn(0, np.random.default_rng(0))[0]
    np.testing.assert_allclose(drawn[1], plain[1], atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(drawn[:3], axis=0), np.linalg.norm(plain[:3], axis=0), atol=1e-5
    )
