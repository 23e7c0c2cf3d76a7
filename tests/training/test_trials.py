"""Whole trials become windows by one function, and images by the one that serves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.augment import Augmentation
from training.datasets import DatasetError, Trial
from training.trials import (
    UNKNOWN,
    Pool,
    RandomTrials,
    TrialView,
    as_windows,
    blend,
    end_to_end,
    stretch,
    stretches,
    varied,
)
from vskd_stream.image import ImageSpec, encode, encode_batch

SPEC = ImageSpec(size=16, method="both", scaling="fixed", range_g=1.5)
AS_RECORDED = Augmentation(rotation_deg=0.0, scale=0.0, speed=0.0, noise_g=0.0)
LABELS = ("wave", "clap")


def trial(n: int, *, seed: int = 0, label: str = "wave") -> Trial:
    acc_g = np.random.default_rng(seed).normal(0.0, 1.0, (n, 3)).astype(np.float32)
    return Trial(key=f"trial{seed}", label=label, subject="1", repetition=1, acc_g=acc_g, rate_hz=50.0)


TRIALS = [trial(90 + 7 * i, seed=i, label=LABELS[i % 2]) for i in range(5)]


def supply(
    *,
    view: TrialView = TrialView(),  # noqa: B008
    augmentation: Augmentation = AS_RECORDED,
    image: ImageSpec | None = SPEC,
) -> RandomTrials:
    return RandomTrials(
        TRIALS, labels=LABELS, samples=32, view=view, image=image, augmentation=augmentation, seed=3
    )


def test_training_images_are_bit_equal_to_those_that_serve() -> None:
    for images, _, which, _ in supply().epoch(0, batches=2, batch_size=5):
        for image, number in zip(images, which, strict=True):
            (window,) = as_windows([TRIALS[number]], 32)
            assert np.array_equal(image, encode(window, spec=SPEC))


def test_who_reads_no_images_is_given_the_windows_of_the_same_draw() -> None:
    strong = Augmentation(rotation_deg=20.0, scale=0.1, speed=0.0, noise_g=0.05)
    shown, bare = (
        next(supply(augmentation=strong, image=image).epoch(2, batches=1, batch_size=4))
        for image in (SPEC, None)
    )
    assert np.array_equal(shown[3], bare[0])
    assert np.array_equal(shown[0], encode_batch(bare[0], spec=SPEC))


def test_blends_lie_between_their_two_windows_and_have_no_label() -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(6, 3, 8)).astype(np.float32)
    mixed, labels = blend(windows, np.arange(6), count=4, rng=rng)
    assert mixed.dtype == np.float32
    assert labels.tolist() == [UNKNOWN] * 4 + [4, 5]
    assert np.array_equal(mixed[4:], windows[4:])
    for window, own in zip(mixed[:4], windows, strict=False):
        # On the straight line from its own to one of the others.
        assert any(
            np.linalg.matrix_rank(np.stack([(window - own).ravel(), (other - own).ravel()]), tol=1e-4) < 2
            for other in windows
        )


def test_labels_and_numbers_are_those_of_the_trial_that_is_shown() -> None:
    for _, labels, which, _ in supply().epoch(0, batches=3, batch_size=4):
        assert [LABELS[label] for label in labels] == [TRIALS[number].label for number in which]


def test_every_trial_is_shown_equally_often() -> None:
    seen = np.concatenate([which for _, _, which, _ in supply().epoch(1, batches=4, batch_size=5)])
    assert np.bincount(seen).tolist() == [4] * 5


def test_an_epoch_depends_on_nothing_but_its_number() -> None:
    view = TrialView(crop=0.2, warp=0.3)
    strong = Augmentation(rotation_deg=20.0, scale=0.1, speed=0.0, noise_g=0.05)
    first, again, other = (
        [
            images.copy()
            for images, _, _, _ in supply(view=view, augmentation=strong).epoch(n, batches=2, batch_size=4)
        ]
        for n in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(n=st.integers(2, 400), samples=st.integers(2, 200))
def test_a_stretched_trial_keeps_its_ends_and_agrees_with_numpys_interpolation(n: int, samples: int) -> None:
    one = trial(n, seed=n)
    read = stretch(Pool.of([trial(5), one]), np.array([1]), end_to_end(samples))[0]
    expected = [
        np.interp(np.linspace(0, n - 1, samples), np.arange(n), one.acc_g[:, axis]) for axis in range(3)
    ]
    assert read == pytest.approx(np.transpose(expected), abs=1e-4)
    assert np.array_equal(read[0], one.acc_g[0])
    assert read[-1] == pytest.approx(one.acc_g[-1], abs=1e-6)


@given(crop=st.floats(0.0, 0.4), warp=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_varied_positions_ascend_within_the_trial(crop: float, warp: float, seed: int) -> None:
    at = varied(4, 33, TrialView(crop=crop, warp=warp), np.random.default_rng(seed))
    assert (np.diff(at, axis=1) >= 0).all()
    assert at.min() >= 0.0
    assert at.max() <= 1.0
    assert (at[:, 0] <= crop).all()
    assert (at[:, -1] >= 1.0 - crop - 1e-12).all()


def test_stretches_carry_label_and_subject() -> None:
    found = stretches(TRIALS, LABELS, 24)
    assert [(s.subject, LABELS[s.label], s.windows.shape) for s in found] == [
        ("1", one.label, (1, 3, 24)) for one in TRIALS
    ]


def test_no_trials_are_refused() -> None:
    with pytest.raises(DatasetError, match="none to learn from"):
        as_windows([], 32)
