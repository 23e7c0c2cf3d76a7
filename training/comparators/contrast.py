"""Losses against many other trials than the batch's own: a queue, or a memory of negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def queued(
    student: Tensor,
    teacher: Tensor,
    queue: Tensor,
    *,
    student_temperature: float = 0.05,
    teacher_temperature: float = 0.1,
) -> Tensor:
    """COMODO (2025): cross-entropy of each trial's distribution of similarity over a queue.

    Args:
        student: (b, d) tap, projected to the teacher's size.
        teacher: (b, d) tap of the same trials.
        queue: (q, d) teacher taps of earlier trials.
        student_temperature: Divides the student's cosines.
        teacher_temperature: Divides the teacher's.
    """
    kept = F.normalize(queue.detach(), dim=1)
    told = F.log_softmax(F.normalize(student, dim=1) @ kept.T / student_temperature, dim=1)
    wanted = F.softmax(F.normalize(teacher.detach(), dim=1) @ kept.T / teacher_temperature, dim=1)
    return -(wanted * told).sum(1).mean()


def contrastive(
    student: Tensor, teacher: Tensor, negatives: Tensor, *, population: int, temperature: float = 0.07
) -> Tensor:
    """CRD (Tian et al. 2020): tell the same trial's teacher from those of other trials; noise contrastive.

    Args:
        student: (b, d) projected tap.
        teacher: (b, d) projected tap of the same trials. Its projection is learned too, so the gradient
            passes; what it projects must not require one.
        negatives: (b, k, d) teacher taps of other trials, projected.
        population: How many trials negatives are drawn from.
        temperature: Divides the cosines.
    """
    student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    same = (student * teacher).sum(1, keepdim=True) / temperature
    other = torch.einsum("bd,bkd->bk", student, F.normalize(negatives, dim=2)) / temperature
    chance = torch.tensor(negatives.shape[1] / population, dtype=student.dtype, device=student.device).log()
    # log h and log (1 - h) of h = e^s / (e^s + k / population)
    right = F.logsigmoid(same - chance).sum(1)
    wrong = F.logsigmoid(chance - other).sum(1)
    return -(right + wrong).mean()
