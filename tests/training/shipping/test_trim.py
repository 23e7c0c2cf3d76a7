"""What only ever meets padding is left out, and nothing is told otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.shipping.trim import trimmed
from training.student import Stem, Student, multiply_adds


@pytest.mark.parametrize("stem", ["narrow", "wide"])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 16, 32])
@pytest.mark.parametrize("width", [1, 5, 32, 96])
def test_a_trimmed_student_answers_as_the_whole_one(stem: Stem, height: int, width: int) -> None:
    torch.manual_seed(0)
    student = Student(channels=3, classes=5, width=4, features=7, stem=stem).eval()
    images = torch.rand(3, 3, height, width) * 2.0 - 1.0
    small = trimmed(student, shape=(3, height, width))
    with torch.inference_mode():
        torch.testing.assert_close(small(images), student(images), rtol=1e-5, atol=1e-6)
    assert multiply_adds(small, shape=(3, height, width)) <= multiply_adds(student, shape=(3, height, width))


def test_a_low_band_costs_less_than_half() -> None:
    student = Student(channels=6, classes=24, width=16, features=128, stem="narrow")
    small = trimmed(student, shape=(6, 4, 96))
    assert multiply_adds(student, shape=(6, 4, 96)) == 6_492_160
    assert multiply_adds(small, shape=(6, 4, 96)) == 2_916_352
    convolutions = [module for module in small.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[-1].kernel_size == (1, 3)


def test_what_is_learned_stays_whole() -> None:
    student = Student(channels=6, classes=24, width=4, stem="narrow").train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    trimmed(student, shape=(6, 4, 96))
    assert student.training
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_a_square_image_has_nothing_to_trim_before_its_last_maps() -> None:
    student = Student(channels=3, classes=4, width=4, stem="wide")
    shape = (3, 128, 128)
    assert multiply_adds(trimmed(student, shape=shape), shape=shape) == multiply_adds(student, shape=shape)
