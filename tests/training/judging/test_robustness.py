"""Other watches record what they would have recorded."""

from __future__ import annotations

import numpy as np
import pytest

from tests.manifests import manifest
from tests.walks import HANGING, N, walk
from training.datasets import Recording
from training.judging.robustness import at_rate, changes, settled, tilted
from training.windows import Stretch

T_S = np.arange(0, 20, 0.05)


def recording() -> Recording:
    acc_g = np.stack([np.sin(T_S), 3 * np.cos(T_S), np.ones(len(T_S))], 1).astype(np.float32)
    return Recording("1", 0, T_S, acc_g, 20.0)


def test_every_change_keeps_the_label_and_its_name_says_what_it_does() -> None:
    made = {name: change(recording()) for name, change in changes(1).items()}
    assert {each.label for each in made.values()} == {0}
    assert np.array_equal(made["as recorded"].acc_g, recording().acc_g)
    assert np.array_equal(made["other wrist"].acc_g, recording().acc_g * [-1, 1, 1])
    assert np.array_equal(made["strapped on the other way round"].acc_g, recording().acc_g * [-1, -1, 1])
    assert np.abs(made["railed at 2 g"].acc_g).max() == 2.0
    assert len(made["5% of the samples lost"].t_s) == pytest.approx(380, abs=20)
    lengths = np.linalg.norm(recording().acc_g, axis=1)
    turned = made["turned by -30 degrees about y"].acc_g
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), lengths, rtol=1e-5)


def test_a_turn_is_right_handed() -> None:
    np.testing.assert_allclose(tilted(2, 90.0) @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)


def test_a_wearer_who_walked_has_all_windows_turned_back_and_nobody_else_has() -> None:
    askew = tilted(1, 30.0).astype(np.float32)
    walks = np.stack([askew @ walk(seed=seed) for seed in range(80)])
    rests = np.zeros((3, 3, N), np.float32) + askew[:, 2:]
    rested = Stretch("1", 0, np.ascontiguousarray(rests))
    model = manifest(window_samples=N, hop_samples=20, hanging=HANGING)
    made = settled([rested, Stretch("1", 1, walks), Stretch("2", 0, rested.windows)], model)
    assert [(each.subject, each.label) for each in made] == [("1", 0), ("1", 1), ("2", 0)]
    assert made[0].windows[:, :, 0] == pytest.approx(np.tile([0.0, 0.0, 1.0], (3, 1)), abs=0.15)
    assert np.array_equal(made[2].windows, rested.windows)


def test_another_rate_samples_the_same_movement_and_keeps_its_pauses() -> None:
    made = at_rate(recording(), 50.0)
    assert made.sampling_rate_hz == 50.0
    np.testing.assert_allclose(made.acc_g[:, 0], np.sin(made.t_s), atol=1e-3)
    kept = (T_S < 5) | (T_S > 9)
    holed = Recording("1", 0, T_S[kept], recording().acc_g[kept], 20.0)
    assert not ((at_rate(holed, 50.0).t_s > 5.1) & (at_rate(holed, 50.0).t_s < 8.9)).any()
