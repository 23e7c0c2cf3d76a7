"""Every loss agrees with loops over plain numbers, has the gradient it should, and none for the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.reference import losses as oracle
from training import losses
from training.comparators import contrast, features, logits, relations

BATCH, CLASSES, STUDENT, TEACHER = 6, 5, 7, 4
LABELS = torch.tensor([0, 3, 1, 4, 2, 3])


def made(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Case(NamedTuple):
    loss: Callable[[Tensor, Tensor], Tensor]
    slow: Callable[[Any, Any], float]
    student: tuple[int, ...]
    teacher: tuple[int, ...]


LOGITS, TAPS, OTHER_TAPS = (BATCH, CLASSES), (BATCH, STUDENT), (BATCH, TEACHER)
MAPS, OTHER_MAPS = (BATCH, 3, 4, 2), (BATCH, 5, 4, 2)
QUEUE = made(9, STUDENT, seed=3)
NEGATIVES = made(BATCH, 3, STUDENT, seed=4)

CASES = {
    "soft target": Case(
        lambda s, t: losses.soft_target(s, t, 4.0), lambda s, t: oracle.soft_target(s, t, 4.0), LOGITS, LOGITS
    ),
    "distance": Case(losses.relational_distance, oracle.relational_distance, TAPS, OTHER_TAPS),
    "angle": Case(losses.relational_angle, oracle.relational_angle, TAPS, OTHER_TAPS),
    "semantic": Case(losses.semantic, oracle.semantic, TAPS, TAPS),
    "DKD": Case(
        lambda s, t: logits.decoupled(s, t, LABELS, temperature=3.0, target=1.5, others=8.0),
        lambda s, t: oracle.decoupled(s, t, LABELS.tolist(), 3.0, 1.5, 8.0),
        LOGITS,
        LOGITS,
    ),
    "DIST": Case(
        lambda s, t: logits.stronger(s, t, between=2.0, within=3.0),
        lambda s, t: oracle.stronger(s, t, 2.0, 3.0),
        LOGITS,
        LOGITS,
    ),
    "logit standardisation": Case(
        lambda s, t: logits.standardised(s, t, temperature=2.0),
        lambda s, t: oracle.standardised(s, t, 2.0),
        LOGITS,
        LOGITS,
    ),
    "FitNet": Case(features.hint, oracle.mean_square, TAPS, TAPS),
    "AT": Case(features.attention, oracle.attention, MAPS, OTHER_MAPS),
    "feature KL": Case(
        lambda s, t: features.softmaxed(s, t, temperature=4.5),
        lambda s, t: oracle.softmaxed(s, t, 4.5),
        TAPS,
        TAPS,
    ),
    "SP": Case(relations.similarity_preserving, oracle.similarity_preserving, TAPS, OTHER_TAPS),
    "CC": Case(
        lambda s, t: relations.correlation_congruence(s, t, gamma=0.4),
        lambda s, t: oracle.correlation_congruence(s, t, 0.4),
        TAPS,
        OTHER_TAPS,
    ),
    "PKT": Case(relations.probabilistic, oracle.probabilistic, TAPS, OTHER_TAPS),
    "queue": Case(
        lambda s, t: contrast.queued(s, t, QUEUE.to(s)),
        lambda s, t: oracle.queued(s, t, QUEUE.tolist(), 0.05, 0.1),
        TAPS,
        TAPS,
    ),
    "CRD": Case(
        lambda s, t: contrast.contrastive(s, t.detach(), NEGATIVES.to(s), population=40, temperature=0.5),
        lambda s, t: oracle.contrastive(s, t, NEGATIVES.tolist(), 40, 0.5),
        TAPS,
        TAPS,
    ),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_it_agrees_with_plain_loops(case: Case, seed: int) -> None:
    student, teacher = made(*case.student, seed=seed + 1), made(*case.teacher, seed=seed + 2)
    expected = case.slow(student.tolist(), teacher.tolist())
    assert case.loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert case.loss(student.float(), teacher.float()).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_its_gradient_is_that_of_small_differences(case: Case) -> None:
    student, teacher = made(*case.student, seed=1).requires_grad_(), made(*case.teacher, seed=2)
    assert torch.autograd.gradcheck(lambda s: case.loss(s, teacher), (student,))


def test_the_gradient_reaches_the_student_and_nothing_of_it_the_teacher(case: Case) -> None:
    student = made(*case.student, seed=1).requires_grad_()
    teacher = made(*case.teacher, seed=2).requires_grad_()
    case.loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c.student == c.teacher and n not in {"queue", "CRD"}]
)
def test_a_student_that_equals_its_teacher_has_nothing_to_lose(name: str) -> None:
    same = made(*CASES[name].student, seed=1)
    assert CASES[name].loss(same, same).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("loss", [losses.relational_distance, losses.relational_angle])
def test_relations_are_blind_to_turning_scaling_and_moving_the_whole_batch(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    student = made(*TAPS, seed=1)
    turn, _ = torch.linalg.qr(made(STUDENT, STUDENT, seed=5))
    assert loss(3.0 * student @ turn + 1.0, student).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("loss", [losses.relational_distance, losses.relational_angle])
def test_equal_taps_in_a_batch_leave_the_gradient_finite(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    student = made(*TAPS, seed=1)
    student[1] = student[0]
    for taps in (student, torch.zeros_like(student)):
        taps = taps.clone().requires_grad_()  # noqa: PLW2901
        loss(taps, made(*OTHER_TAPS, seed=2)).backward()
        assert taps.grad is not None
        assert torch.isfinite(taps.grad).all()


def test_attention_of_vectors_is_refused_for_it_would_be_nothing() -> None:
    with pytest.raises(ValueError, match=r"attention is of \(b, c, h, w\) maps"):
        features.attention(made(*TAPS, seed=1), made(*TAPS, seed=2))


def test_finer_maps_are_averaged_down_to_the_coarser() -> None:
    coarse = made(*MAPS, seed=1)
    fine = coarse.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
    assert features.attention(fine, coarse).item() == pytest.approx(0.0, abs=1e-9)
    assert features.attention(coarse, fine).item() == pytest.approx(0.0, abs=1e-9)


def test_a_wrong_teacher_counts_as_much_as_told() -> None:
    teacher = torch.eye(CLASSES)[[0, 3, 2, 4, 2, 1]]
    weights = logits.correctness(teacher, LABELS, wrong=0.25)
    assert weights.tolist() == [1.0, 1.0, 0.25, 1.0, 1.0, 0.25]
    student = made(*LOGITS, seed=1).float()
    whole = losses.soft_target(student, teacher, 2.0, weights=torch.ones(BATCH))
    assert whole.item() == pytest.approx(losses.soft_target(student, teacher, 2.0).item())
    assert losses.soft_target(student, teacher, 2.0, weights=torch.zeros(BATCH)).item() == 0.0


def test_dask_is_its_four_terms_weighed_as_released() -> None:
    student, teacher = (
        (made(*LOGITS, seed=1), made(*TAPS, seed=2)),
        (made(*LOGITS, seed=3), made(*TAPS, seed=4)),
    )
    terms = losses.dask(student=student, teacher=teacher)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {
            "soft_target": 0.01 * oracle.soft_target(student[0].tolist(), teacher[0].tolist(), 4.0),
            "distance": oracle.relational_distance(student[1].tolist(), teacher[1].tolist()),
            "angle": oracle.relational_angle(student[1].tolist(), teacher[1].tolist()),
            "semantic": oracle.semantic(student[1].tolist(), teacher[1].tolist()),
        }
    )
