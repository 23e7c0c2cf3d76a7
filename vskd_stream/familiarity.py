"""How like what was learned a window is: the distance of its tap to the nearest label's, for the covariance.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples" (NeurIPS 2018): a
Gaussian for each label, one covariance for all, the Mahalanobis distance to the nearest mean. A model is
sure of much that it has never seen; of all scores that were tried this one knew strangers best
(``training.judging.unknown``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _familiarity

MAX_FEATURES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """Part of a bundle; ``ValueError`` where its parts do not fit together."""

    whitening: NDArray[np.float32]
    """(f, f): times this, what a learned tap differs from its label's mean by has the unit covariance."""
    means: NDArray[np.float32]
    """(m, f) means of the labels' taps, whitened."""
    half: float
    """The distance at which a window is as likely a stranger's as not."""
    spread: float
    """How gradually: at ``half`` minus this it is known with 73 %."""

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        features = self.whitening.shape[-1]
        if self.whitening.shape != (features, features) or not 1 <= features <= MAX_FEATURES:
            raise ValueError(f"a whitening of the shape {self.whitening.shape}")
        if self.means.ndim != 2 or self.means.shape[1] != features or not len(self.means):
            raise ValueError(f"means of the shape {self.means.shape} for {features} features")
        if not (0.0 < self.half < np.inf and 0.0 < self.spread < np.inf):
            raise ValueError(f"half {self.half} and spread {self.spread} must be positive")

    def distances(self, taps: NDArray[np.float32]) -> NDArray[np.float64]:
        """(b, f) float32 taps to their (b,) Mahalanobis distances from the nearest mean.

        One after another and in float64: a window's is the same in any batch, bit for bit.
        """
        found = np.empty(len(taps), np.float64)
        _familiarity.nearest(np.ascontiguousarray(taps, np.float32), self.whitening, self.means, found)
        return found

    def known(self, taps: NDArray[np.float32]) -> NDArray[np.float64]:
        """(b, f) float32 taps to the (b,) probabilities that their windows are of what was learned."""
        exponents = (self.distances(taps) - self.half) / self.spread
        # Beyond this the exponential overflows, and the probability is 0 to the last digit anyway.
        known: NDArray[np.float64] = 1.0 / (1.0 + np.exp(np.minimum(exponents, 700.0)))
        return known
