"""What a student is asked to take over from a teacher: pure functions; gradients reach the student alone.

Terms are those of Park et al., "Relational Knowledge Distillation" (2019), and of VSKD's "Distance and
Angle-wised Semantic Knowledge" (arXiv 2112.01849). The order of arguments is always student, teacher, and
the teacher is detached here, so that no caller can swap or forget it unpunished.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor

_TINY = 1e-12


def soft_target(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, weights: Tensor | None = None
) -> Tensor:
    """KL divergence of softened answers times T^2 (Hinton et al. 2015); a scalar.

    Args:
        student_logits: (b, classes).
        teacher_logits: (b, classes).
        temperature: Divides both.
        weights: (b,) how much each trial counts; the sum is divided by b all the same.
    """
    told = F.log_softmax(student_logits / temperature, dim=1)
    wanted = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    divergence = F.kl_div(told, wanted, reduction="none", log_target=True).sum(1)
    if weights is not None:
        divergence = divergence * weights.detach()
    return divergence.mean() * temperature**2


def pairwise_distances(embedded: Tensor) -> Tensor:
    """(b, d) to (b, b) Euclidean distances; zero, with a zero gradient, where two rows are equal."""
    squares = embedded.pow(2).sum(1)
    squared = squares[:, None] + squares[None, :] - 2.0 * (embedded @ embedded.T)
    # The root's slope is infinite at 0, and the diagonal is there up to rounding.
    apart = (squared > _TINY) & ~torch.eye(len(embedded), dtype=torch.bool, device=embedded.device)
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss (delta 1) between all distances of a batch, each side's divided by its positive mean.

    Args:
        student: (b, d) tap.
        teacher: (b, e) tap of the same trials; d and e may differ.
    """
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher.detach()))


def _relative_distances(embedded: Tensor) -> Tensor:
    distances = pairwise_distances(embedded)
    positive = distances[distances > 0.0]
    # A batch that collapsed to one point has no scale.
    return distances / positive.mean() if len(positive) else distances


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss (delta 1) between the cosines of all angles that three trials of a batch make.

    Args:
        student: (b, d) tap.
        teacher: (b, e) tap of the same trials.
    """
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher.detach()))


def _cosines(embedded: Tensor) -> Tensor:
    """(b, d) to (b, b, b): entry [j, i, k] is the cosine of the angle at j between i and k."""
    edges = F.normalize(embedded.unsqueeze(0) - embedded.unsqueeze(1), p=2.0, dim=2)
    return torch.bmm(edges, edges.transpose(1, 2))


def semantic(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the (b, d) taps, trial by trial: DASK's semantic knowledge."""
    return F.mse_loss(student, teacher.detach())


@dataclass(frozen=True, slots=True)
class Weights:
    """How DASK's terms are weighed; what stands here is what the released code's options hold."""

    soft_target: float = 0.01
    distance: float = 1.0
    angle: float = 1.0
    semantic: float = 1.0


def dask(
    *,
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    temperature: float = 4.0,
    weights: Weights | None = None,
) -> dict[str, Tensor]:
    """DASK's weighted terms by name; their sum is added to the cross-entropy.

    Args:
        student: (b, classes) logits and (b, d) tap.
        teacher: (b, classes) logits and (b, d) tap of the same trials.
        temperature: Of the soft targets.
        weights: The paper's, if absent.
    """
    weights = weights or Weights()
    logits, tap = student
    teacher_logits, teacher_tap = teacher
    return {
        "soft_target": weights.soft_target * soft_target(logits, teacher_logits, temperature),
        "distance": weights.distance * relational_distance(tap, teacher_tap),
        "angle": weights.angle * relational_angle(tap, teacher_tap),
        "semantic": weights.semantic * semantic(tap, teacher_tap),
    }
