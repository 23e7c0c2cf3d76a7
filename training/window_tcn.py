"""A temporal convolution network on the window itself: with no image it cannot ship, but it knows motion.

It reads the very acceleration that a student's image is made of, and learns as a student does; what it has
learned it can tell of any motion, as no camera's teacher can (``training.assistants``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor

from training.teachers.temporal import Temporal

_AXES = 3

Detail = Literal["standardised", "compressed", "both"]

_FLOOR_G = 0.002
"""Keeps what the quietest sensors make of a table small."""
_AROUND = 25
_KNEE_G = 0.01
_SPREAD = 3.0
"""What the logarithm makes of 100 mg: brings detail to the size of the acceleration beside it."""


def standardised(windows: Tensor) -> Tensor:
    """(b, 3, n) windows in g, each axis less its mean and in its standard deviations and 2 mg."""
    moved = windows - windows.mean(2, keepdim=True)
    return moved / (moved.std(2, keepdim=True) + _FLOOR_G)


def compressed(windows: Tensor) -> Tensor:
    """(b, 3, n) windows in g less their mean over 25 samples around; above 10 mg their logarithm."""
    side = _AROUND // 2
    around = F.avg_pool1d(F.pad(windows, (side, side), mode="replicate"), _AROUND, 1)
    return torch.asinh((windows - around) / _KNEE_G) / _SPREAD


_DETAILS: dict[Detail, tuple[Callable[[Tensor], Tensor], ...]] = {
    "standardised": (standardised,),
    "compressed": (compressed,),
    "both": (standardised, compressed),
}


class WindowTCN(Temporal):
    """(b, 3, n) acceleration in g to (b, classes) logits, with a student's parts.

    Args:
        classes: Number of labels.
        width: Channels of the first stage; the second and third double it.
        dropout: Part of what is dropped while learning, in every block and before the head.
        detail: In what form it sees small movements beside the acceleration itself, in which a still hand's
            are next to nothing.
    """

    def __init__(self, *, classes: int, width: int, dropout: float, detail: Detail | None = None) -> None:
        forms = () if detail is None else _DETAILS[detail]
        super().__init__(inputs=_AXES * (1 + len(forms)), classes=classes, width=width, dropout=dropout)
        self._forms = forms

    def maps(self, windows: Tensor) -> Tensor:
        """(b, 3, n) windows to the last stage's (b, 4 width, 1, n / 4) maps: as an image's, one row high."""
        seen = torch.cat([windows, *(form(windows) for form in self._forms)], 1)
        return super().maps(seen).unsqueeze(2)

    def embed(self, maps: Tensor) -> Tensor:
        """``maps`` to the (b, 300) tap, after its ReLU."""
        return super().embed(maps.squeeze(2))

    def forward(self, windows: Tensor) -> Tensor:
        """(b, 3, n) windows to (b, classes) logits."""
        return self.answer(self.embed(self.maps(windows)))
