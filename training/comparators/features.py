"""Losses between what two networks see in the same trial: taps and maps in, a scalar out."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNet (Romero et al. 2015): mean squared difference; ``student`` (b, d) comes through a regressor."""
    return F.mse_loss(student, teacher.detach())


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """AT (Zagoruyko and Komodakis 2017): mean squared difference of the normalised spatial energy.

    On maps: of a vector the energy is one number, which normalised is always 1.

    Args:
        student: (b, c, h, w) maps; the finer of the two is averaged down to the coarser.
        teacher: (b, e, i, j) maps.
    """
    teacher = teacher.detach()
    if student.ndim != 4 or teacher.ndim != 4:
        raise ValueError(f"attention is of (b, c, h, w) maps, not of {student.ndim} and {teacher.ndim} axes")
    shape = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return F.mse_loss(_energy(student, shape), _energy(teacher, shape))


def _energy(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.normalize(F.adaptive_avg_pool2d(maps, shape).pow(2).mean(1).flatten(1), dim=1)


def softmaxed(student: Tensor, teacher: Tensor, *, temperature: float = 4.5) -> Tensor:
    """Feature KD: KL divergence of (b, d) taps as if they were logits, times T^2."""
    told = F.log_softmax(student / temperature, dim=1)
    wanted = F.log_softmax(teacher.detach() / temperature, dim=1)
    return F.kl_div(told, wanted, reduction="batchmean", log_target=True) * temperature**2
