"""What the model says of one window."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class Scores(msgspec.Struct, frozen=True, eq=False):
    """Calibrated class probabilities of one window of one device."""

    device: str
    end_sample: int
    """The window covers the grid samples [end_sample - window_samples, end_sample)."""
    probabilities: NDArray[np.float32]
    """(labels,) in the manifest's order; what they miss to 1 is the probability of none of them."""
