"""Teachers: what sees more than the wrist, and says what it saw as logits and a 300-d tap."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

FEATURES = 300
"""Size of a teacher's tap, as the student's; 300 because VSKD's family compares it with GloVe vectors."""


class Seen(NamedTuple):
    """What a teacher makes of clips."""

    logits: Tensor
    """(b, classes)."""
    features: Tensor
    """(b, 300) tap."""
    maps: Tensor | None = None
    """(b, 1, h, w) ``energy`` of a teacher that looks at pictures."""


def energy(maps: Tensor, frames: int) -> Tensor:
    """Where frames hold something: all of maps that attention transfer asks for.

    Args:
        maps: (b * frames, c, h, w), a clip's frames in a row.
        frames: Of a clip.

    Returns:
        (b, 1, h, w): the root of the mean square over frames and channels.
    """
    squares = maps.float().pow(2).mean(1).view(-1, frames, *maps.shape[2:])
    return squares.mean(1, keepdim=True).sqrt()
