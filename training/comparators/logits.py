"""Losses between answers: logits in, a scalar out; classes in columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.losses import soft_target

_TINY = 1e-7


def decoupled(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    target: float = 1.0,
    others: float = 8.0,
) -> Tensor:
    """DKD (Zhao et al. 2022): the divergence of the true label, and apart from it that among all others.

    Args:
        student: (b, classes) logits.
        teacher: (b, classes) logits.
        labels: (b,) int64 true labels.
        temperature: Divides both.
        target: Weight of true label against rest (TCKD).
        others: Weight of the distribution among the other labels (NCKD).
    """
    told, wanted = student / temperature, teacher.detach() / temperature
    true = F.one_hot(labels, student.shape[1]).bool()
    divergence = target * _divergence(_two(told, true), _two(wanted, true))
    rest = others * _divergence(_without(told, true), _without(wanted, true))
    return (divergence + rest) * temperature**2


def _two(logits: Tensor, true: Tensor) -> Tensor:
    """(b, 2) log-probabilities of the true label and of all others together."""
    others = logits.masked_fill(true, -torch.inf).logsumexp(1)
    return F.log_softmax(torch.stack((logits[true], others), dim=1), dim=1)


def _without(logits: Tensor, true: Tensor) -> Tensor:
    """(b, classes - 1) log-probabilities given that it is not the true label."""
    return F.log_softmax(logits[~true].view(len(logits), -1), dim=1)


def _divergence(told: Tensor, wanted: Tensor) -> Tensor:
    return F.kl_div(told, wanted, reduction="batchmean", log_target=True)


def stronger(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, between: float = 1.0, within: float = 1.0
) -> Tensor:
    """DIST (Huang et al. 2022): one minus the correlation of answers, over labels and over trials.

    Args:
        student: (b, classes) logits.
        teacher: (b, classes) logits.
        temperature: Divides both.
        between: Weight of the rows: how a trial's labels relate.
        within: Weight of the columns: how a label's trials relate.
    """
    told = F.softmax(student / temperature, dim=1)
    wanted = F.softmax(teacher.detach() / temperature, dim=1)
    rows = (1.0 - _correlation(told, wanted)).mean()
    columns = (1.0 - _correlation(told.T, wanted.T)).mean()
    return (between * rows + within * columns) * temperature**2


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, row by row."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=_TINY)


def standardised(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """KD on z-scores of the logits (Sun et al. 2024): the student need not match the teacher's scale.

    Args:
        student: (b, classes) logits.
        teacher: (b, classes) logits.
        temperature: Divides both z-scores.
    """
    return soft_target(_z_score(student), _z_score(teacher), temperature)


def _z_score(logits: Tensor) -> Tensor:
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (logits.std(1, keepdim=True, correction=0) + _TINY)


def correctness(teacher: Tensor, labels: Tensor, *, wrong: float = 0.5) -> Tensor:
    """(b,) weights: 1 where the teacher's (b, classes) logits name the true label, else ``wrong``."""
    right = teacher.detach().argmax(1) == labels
    return wrong + (1.0 - wrong) * right.to(teacher.dtype)
