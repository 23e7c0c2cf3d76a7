"""The teacher above: what is varied is place, size, height and pace, never left and right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.datasets import DatasetError, Trial
from training.teachers import energy
from training.teachers.overhead import OverheadClips, OverheadNet, OverheadView

STILL = OverheadView(shift_px=0.0, scale=0.0, depth=0.0, warp=0.0, crop=0.0, noise=0.0)
LIVELY = OverheadView(shift_px=0.5, scale=0.1, depth=0.05, warp=0.3, crop=0.1, noise=0.01)


def trial(frames: int = 20) -> Trial:
    """A bright spot at the right that grows brighter."""
    seen = np.full((frames, 12, 16), 50, np.uint8)
    seen[:, 5:7, 11:14] = np.linspace(100, 250, frames).astype(np.uint8)[:, np.newaxis, np.newaxis]
    acc_g = np.zeros((40, 3), np.float32)
    return Trial("s01_e01_1_w00", "bridging", "01", 1, acc_g, 100.0, frames=seen)


def test_a_still_view_is_the_plain_clip_from_the_first_frame_to_the_last() -> None:
    clips = OverheadClips([trial()], frames=32, view=STILL)
    (plain,) = clips.plain(0)
    (drawn,) = clips.drawn(0, np.random.default_rng(0))
    assert plain.shape == (1, 32, 12, 16)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(drawn, plain, atol=1e-6)
    np.testing.assert_allclose(plain[0, [0, -1], 5, 12] * 255, [100, 250], atol=1e-4)


def test_left_is_never_made_right_and_time_never_runs_back() -> None:
    clips = OverheadClips([trial()], frames=32, view=LIVELY)
    for seed in range(20):
        (clip,) = clips.drawn(0, np.random.default_rng(seed))
        spot = clip[0, -1] > 0.6
        assert np.argwhere(spot)[:, 1].min() >= 8
        assert clip[0, -1].max() > clip[0, 0].max()


def test_the_same_seed_draws_the_same_clip() -> None:
    clips = OverheadClips([trial()], frames=16, view=LIVELY)
    (first,), (again,), (other,) = (clips.drawn(0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_trial_without_frames_is_refused_by_name() -> None:
    blind = Trial("s01_e01_1_w00", "bridging", "01", 1, np.zeros((40, 3), np.float32), 100.0)
    for one in (blind, trial(frames=1)):
        with pytest.raises(DatasetError, match="s01_e01_1_w00: has no two depth frames"):
            OverheadClips([one], frames=16, view=STILL)


def test_the_network_answers_with_tap_and_maps() -> None:
    torch.manual_seed(1)
    network = OverheadNet(shape=(12, 16), channels=4, classes=7, width=8, dropout=0.0).eval()
    with torch.inference_mode():
        seen = network(torch.rand(3, 16, 12, 16))
        turned = network(torch.rand(3, 16, 12, 16).flip(1))
    assert seen.logits.shape == (3, 7)
    assert seen.features.shape == (3, 300)
    assert seen.maps is not None
    assert seen.maps.shape == (3, 1, 3, 4)
    assert not torch.equal(seen.logits, turned.logits)


def test_energy_is_the_root_mean_square_over_frames_and_channels() -> None:
    maps = torch.randn(2 * 5, 3, 4, 6)
    expected = maps.view(2, 5, 3, 4, 6).pow(2).mean((1, 2)).sqrt()
    torch.testing.assert_close(energy(maps, 5), expected[:, None])
