"""A temporal convolution network on the window itself: with no image it cannot ship, but it knows motion.

It reads the very acceleration that a student's image is made of, and learns as a student does; what it has
learned it can tell of any motion, as no camera's teacher can (``training.assistants``).
"""

from __future__ import annotations

from torch import Tensor

from training.teachers.temporal import Temporal

_AXES = 3


class WindowTCN(Temporal):
    """(b, 3, n) acceleration in g to (b, classes) logits, with a student's parts.

    Args:
        classes: Number of labels.
        width: Channels of the first stage; the second and third double it.
        dropout: Part of what is dropped while learning, in every block and before the head.
    """

    def __init__(self, *, classes: int, width: int, dropout: float) -> None:
        super().__init__(inputs=_AXES, classes=classes, width=width, dropout=dropout)

    def maps(self, windows: Tensor) -> Tensor:
        """(b, 3, n) windows to the last stage's (b, 4 width, 1, n / 4) maps: as an image's, one row high."""
        return super().maps(windows).unsqueeze(2)

    def embed(self, maps: Tensor) -> Tensor:
        """``maps`` to the (b, 300) tap, after its ReLU."""
        return super().embed(maps.squeeze(2))

    def forward(self, windows: Tensor) -> Tensor:
        """(b, 3, n) windows to (b, classes) logits."""
        return self.answer(self.embed(self.maps(windows)))
