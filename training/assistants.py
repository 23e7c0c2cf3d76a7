"""Networks on the wrist's own signal that a camera's teacher has taught, and that teach the student in turn.

A camera's teacher has answers to recorded trials alone, and of those that it learned from it is all too
sure. An assistant reads acceleration: it is asked about the very motion that the student sees, turned,
warped and scaled as it is there. Cf. Mirzadeh et al., "Improved Knowledge Distillation via Teacher
Assistant" (AAAI 2020), and Beyer et al., "Knowledge distillation: A good teacher is patient and consistent"
(CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.networks import Network
from training.window_tcn import WindowTCN


class Assistants:
    """Finished networks; their mean answer is what they say together."""

    def __init__(self, members: Sequence[Network]) -> None:
        """``members`` are frozen here, and are nobody's parameters."""
        self._members = [member.eval().requires_grad_(requires_grad=False) for member in members]

    @torch.no_grad()
    def ask(self, images: Tensor, windows: Tensor, *, temperature: float) -> Tensor:
        """Logits whose softmax at ``temperature`` is the mean of the members' softmax at ``temperature``.

        Args:
            images: (b, channels, h, w) as the student sees them.
            windows: (b, 3, n) in g that they were made of.
            temperature: By which each answer is softened before the mean.

        Returns:
            (b, classes) float32.
        """
        softened = [
            (member(windows if isinstance(member, WindowTCN) else images).float() / temperature).softmax(1)
            for member in self._members
        ]
        return temperature * torch.stack(softened).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()
