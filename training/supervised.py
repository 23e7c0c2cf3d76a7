"""The plainest task: a network and labels."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor, nn

from training.networks import Network


class Supervised(nn.Module):
    """The task of learning from labels alone; its ``student`` is what is shipped."""

    def __init__(self, student: Network, *, label_smoothing: float) -> None:
        super().__init__()
        self.student = student
        self.label_smoothing = label_smoothing

    def forward(self, seen: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What the network reads and (b,) int64 labels to a scalar "loss" and (b, classes) "logits"."""
        logits = self.student(seen).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss": loss, "logits": logits}
