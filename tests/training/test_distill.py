"""The task of distillation: the same trial on both sides, a student that learns, a teacher that cannot."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from training.assistants import Assistants
from training.distill import Distillation
from training.methods import METHODS, Method
from training.student import Student
from training.teaching import Lessons, TeacherError
from training.window_tcn import WindowTCN

TRIALS, CLASSES, TAP = 12, 4, 10
RNG = np.random.default_rng(0)
LESSONS = Lessons(
    logits=RNG.normal(size=(TRIALS, CLASSES)).astype(np.float32),
    features=RNG.random((TRIALS, TAP), np.float32),
    maps=RNG.normal(size=(TRIALS, 3, 2, 2)).astype(np.float32),
)
IMAGES = torch.from_numpy(RNG.normal(size=(6, 3, 64, 64)).astype(np.float32))
WINDOWS = torch.from_numpy(RNG.normal(size=(6, 3, 64)).astype(np.float32))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
WHICH = torch.tensor([7, 0, 3, 11, 5, 2])


def task(method: Method, lessons: Lessons | None = LESSONS) -> Distillation:
    torch.manual_seed(1)
    student = Student(channels=3, classes=CLASSES, width=4, features=TAP)
    assistants = Assistants([WindowTCN(classes=CLASSES, width=4, dropout=0.5), copy.deepcopy(student)])
    return Distillation(student, lessons, assistants=assistants, method=method, label_smoothing=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_teaches_the_student_and_nobody_else(name: str) -> None:
    made = task(METHODS[name])
    result = made(IMAGES, LABELS, WHICH, WINDOWS)
    result["loss"].backward()
    assert torch.isfinite(result["loss"])
    assert set(METHODS[name].terms) <= set(result)
    for parameter in made.student.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    before = {key: value.clone() for key, value in made.named_buffers() if key.startswith("teacher_")}
    torch.optim.SGD(made.parameters(), lr=0.1).step()
    assert all(torch.equal(value, made.get_buffer(key)) for key, value in before.items())
    assert not any(
        key.startswith(("teacher_logits", "teacher_features")) for key, _ in made.named_parameters()
    )


@pytest.mark.parametrize("term", sorted({term for method in METHODS.values() for term in method.terms}))
def test_every_term_by_itself_moves_what_the_student_sees(term: str) -> None:
    made = task(Method({term: 1.0}, cross_entropy=0.0))  # type: ignore[dict-item]
    made(IMAGES, LABELS, WHICH, WINDOWS)["loss"].backward()
    gradient = next(made.student.parameters()).grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_the_teacher_is_asked_about_the_very_trial_that_the_student_sees() -> None:
    made = task(METHODS["kd"])
    result = made(IMAGES, LABELS, WHICH, WINDOWS)
    told = torch.log_softmax(result["logits"] / 2.0, 1)
    wanted = torch.softmax(torch.from_numpy(LESSONS.logits[WHICH.numpy()]) / 2.0, 1)
    expected = 4.0 * (wanted * (wanted.log() - told)).sum(1).mean()
    assert result["soft_target"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_negative_control_asks_about_any_trial_but_that_one() -> None:
    made = task(METHODS["kd-unpaired"])
    torch.manual_seed(0)
    for _ in range(50):
        asked = made._asked(WHICH)
        assert (asked != WHICH).all()
        assert asked.min() >= 0
        assert asked.max() < TRIALS


def test_the_queue_fills_while_learning_and_not_while_judging() -> None:
    made = task(METHODS["comodo"])
    made.eval()
    made(IMAGES, LABELS, WHICH, WINDOWS)
    assert int(made.queue_at) == 0
    made.train()
    made(IMAGES, LABELS, WHICH, WINDOWS)
    assert torch.equal(made.queue[:6], torch.from_numpy(LESSONS.features)[WHICH])
    made(IMAGES, LABELS, WHICH, WINDOWS)
    made(IMAGES, LABELS, WHICH, WINDOWS)
    assert int(made.queue_at) == 18
    assert {"queue", "queue_at"} <= made.state_dict().keys()


def test_what_a_teacher_lacks_is_told_before_anything_is_learned() -> None:
    bare = Lessons(LESSONS.logits, LESSONS.features[:, :3])
    with pytest.raises(TeacherError, match="this teacher left none"):
        task(METHODS["at"], bare)
    with pytest.raises(TeacherError, match="it has 3 features, the student 10"):
        task(METHODS["dask"], bare)
    with pytest.raises(TeacherError, match="need one"):
        task(METHODS["kd"], None)
    task(METHODS["rkd"], bare)
    task(METHODS["alone"], None)
