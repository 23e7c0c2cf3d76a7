"""Whoever was learned from says what is familiar; who validates, how far from that the known may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream.familiarity import Familiarity

_SHRINKAGE = 0.01
"""Towards a ball: features that hardly ever fired on what was learned have no variance of their own."""
_KNOWN = 0.98
"""This part of the validation windows, whose activities are known, is nearer than ``half``."""
_STEPS = 6.0
"""Their median is nearer by so many spreads: known with 99.8 %."""


def gaussian(
    taps: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a ``Familiarity`` is made of.

    Args:
        taps: (t, f) of learned windows.
        labels: (t,) of theirs.

    Returns:
        The (f, f) whitening by the covariance that all labels share, and their (m, f) whitened means.
    """
    values = taps.astype(np.float64)
    classes, which = np.unique(labels, return_inverse=True)
    means = np.stack([values[which == i].mean(0) for i in range(len(classes))])
    off = values - means[which]
    covariance = off.T @ off / len(off)
    covariance += _SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    # inverse = L L': a row times L has, squared and summed, the Mahalanobis distance.
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    return (
        np.ascontiguousarray(whitening, np.float32),
        np.ascontiguousarray(means @ whitening, np.float32),
    )


def familiarity(
    taps: NDArray[np.float32], labels: NDArray[np.int64], *, validation: NDArray[np.float32]
) -> Familiarity:
    """From (t, f) taps of learned windows with their (t,) labels, and (v, f) of those that validate."""
    whitening, means = gaussian(taps, labels)
    distances = Familiarity(whitening, means, half=1.0, spread=1.0).distances(validation)
    median, half = np.quantile(distances, [0.5, _KNOWN])
    # At least a rounding: all distances may be one.
    return Familiarity(whitening, means, half=float(half), spread=max(1e-6, float(half - median) / _STEPS))
