"""What is familiar is measured: a covariance that all labels share, and how far from it the known may be."""

from __future__ import annotations

import numpy as np

from training.shipping.strangers import familiarity, gaussian


def test_whitened_differences_from_the_means_have_nearly_the_unit_covariance() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    labels = rng.integers(0, 3, 4000)
    taps = (rng.normal(size=(4000, 6)) @ mixing + 10.0 * labels[:, np.newaxis]).astype(np.float32)
    whitening, means = gaussian(taps, labels)
    white = taps.astype(np.float64) @ whitening.astype(np.float64)
    np.testing.assert_allclose(
        means, np.stack([white[labels == label].mean(0) for label in range(3)]), rtol=1e-4, atol=1e-3
    )
    covariance = np.cov((white - means[labels]).T)
    # A little less than 1 where the shrinkage counts: in the directions of the least variance.
    assert np.linalg.eigvalsh(covariance).max() < 1.01
    assert np.linalg.eigvalsh(covariance).min() > 0.3


def test_most_of_who_validates_is_known_and_a_stranger_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 3000)
    centres = rng.normal(size=(4, 20)) * 5.0
    learned = (centres[labels] + rng.normal(size=(3000, 20))).astype(np.float32)
    validation = (centres[rng.integers(0, 4, 1000)] + 1.2 * rng.normal(size=(1000, 20))).astype(np.float32)
    found = familiarity(learned, labels, validation=validation)
    known = found.known(validation)
    assert np.median(known) > 0.99
    assert 0.97 <= np.mean(known > 0.5) <= 0.99
    strangers = (rng.normal(size=(500, 20)) * 8.0).astype(np.float32)
    assert found.known(strangers).max() < 0.5


def test_features_that_never_fired_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    taps = np.zeros((300, 8), np.float32)
    taps[:, :3] = rng.random((300, 3))
    found = familiarity(taps, rng.integers(0, 2, 300), validation=taps[:50])
    assert np.isfinite(found.whitening).all()
    assert found.half > 0.0


def test_validation_windows_that_are_all_alike_leave_a_spread() -> None:
    taps = np.random.default_rng(0).random((300, 4)).astype(np.float32)
    found = familiarity(taps, np.zeros(300, np.int64), validation=np.repeat(taps[:1], 9, axis=0))
    assert found.spread > 0.0
