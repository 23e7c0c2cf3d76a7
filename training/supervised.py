"""The plainest task, a network and labels; and the same where somebody else's answers stand beside them."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor, nn

from training.losses import soft_target
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


class Advised(Supervised):
    """Labels, and ``weight`` of the loss for the divergence from others' answers at a temperature.

    Hinton, Vinyals and Dean (2015). Who they are and how they are asked, subclasses know.
    """

    def __init__(
        self, student: Network, *, label_smoothing: float, weight: float, temperature: float
    ) -> None:
        super().__init__(student, label_smoothing=label_smoothing)
        self.weight = weight
        self.temperature = temperature

    def advised(self, result: dict[str, Tensor], told: Tensor) -> dict[str, Tensor]:
        """What ``forward`` came to, and (b, classes) logits of others, to the same with the loss weighed."""
        divergence = soft_target(result["logits"], told, self.temperature)
        return result | {"loss": (1.0 - self.weight) * result["loss"] + self.weight * divergence}
