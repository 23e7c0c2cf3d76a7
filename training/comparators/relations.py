"""Losses between how the trials of a batch relate to each other: (b, d) and (b, e) taps in, a scalar out."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_TINY = 1e-7


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """SP (Tung and Mori 2019): mean squared difference of the row-normalised Gram matrices."""
    return F.mse_loss(_similarity(student), _similarity(teacher.detach()))


def _similarity(embedded: Tensor) -> Tensor:
    rows = embedded.flatten(1)
    return F.normalize(rows @ rows.T, dim=1)


def correlation_congruence(student: Tensor, teacher: Tensor, *, gamma: float = 0.4) -> Tensor:
    """CC (Peng et al. 2019): mean squared difference of Gaussian kernels of the unit-length taps.

    The kernel itself, where the paper takes its Taylor series to the second order.
    """
    return F.mse_loss(_kernel(student, gamma), _kernel(teacher.detach(), gamma))


def _kernel(embedded: Tensor, gamma: float) -> Tensor:
    unit = F.normalize(embedded, dim=1)
    # Of unit vectors: |a - b|^2 = 2 - 2 a.b.
    return torch.exp(-gamma * (2.0 - 2.0 * unit @ unit.T))


def probabilistic(student: Tensor, teacher: Tensor) -> Tensor:
    """PKT (Passalis and Tefas 2018): KL divergence of each trial's distribution over its neighbours.

    Cosine similarities, shifted to [0, 1]; the mean over all b^2 pairs, as its authors' code.
    """
    told, wanted = _neighbours(student), _neighbours(teacher.detach())
    return (wanted * ((wanted + _TINY) / (told + _TINY)).log()).mean()


def _neighbours(embedded: Tensor) -> Tensor:
    unit = F.normalize(embedded, dim=1)
    similarity = (unit @ unit.T + 1.0) / 2.0
    return similarity / similarity.sum(1, keepdim=True)
