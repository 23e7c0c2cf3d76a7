"""The student: shapes, size and the tap."""

from __future__ import annotations

import pytest
import torch

from training.student import Student, multiply_adds, parameters
from training.supervised import Supervised


def test_at_full_width_it_is_a_resnet18_with_a_300_d_tap() -> None:
    student = Student(channels=6, classes=18).eval()
    # torchvision's ResNet18 without its last layer has 11,176,512; three more input channels, tap and head.
    assert parameters(student) == 11_176_512 + 3 * 64 * 49 + (512 * 300 + 300) + (300 * 18 + 18)
    with torch.inference_mode():
        images = torch.rand(2, 6, 64, 64)
        tap = student.features(images)
        assert tap.shape == (2, 300)
        assert (tap >= 0).all()
        assert torch.equal(student(images), student.head(tap))
        assert student(images).shape == (2, 18)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (6, 64), (3, 100)])
def test_it_reads_images_of_any_size(channels: int, size: int) -> None:
    student = Student(channels=channels, classes=5, width=4, features=7).eval()
    with torch.inference_mode():
        assert student(torch.rand(3, channels, size, size)).shape == (3, 5)


def test_the_supervised_task_answers_with_a_loss_and_logits() -> None:
    torch.manual_seed(0)
    task = Supervised(Student(channels=3, classes=4, width=4, features=8), label_smoothing=0.0)
    result = task(torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1]))
    assert result["logits"].shape == (6, 4)
    expected = torch.nn.functional.cross_entropy(result["logits"], torch.tensor([0, 1, 2, 3, 0, 1]))
    assert torch.equal(result["loss"], expected)
    result["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_a_narrow_stem_leaves_half_of_a_small_image() -> None:
    student = Student(channels=6, classes=5, width=4, features=7, stem="narrow").eval()
    with torch.inference_mode():
        assert student.stem(torch.rand(1, 6, 32, 32)).shape == (1, 4, 16, 16)
        assert student.maps(torch.rand(1, 6, 32, 32)).shape == (1, 32, 2, 2)


def test_multiply_adds_are_those_counted_by_hand() -> None:
    # Of images of 224 pixels in 3 channels with 1000 labels torchvision's ResNet18 costs 1,814,073,344.
    whole = Student(channels=3, classes=1000, features=512)
    assert multiply_adds(whole, shape=(3, 224, 224)) == 1_814_073_344 + 512 * 512
    small = Student(channels=6, classes=18, width=16, stem="narrow").train()
    assert multiply_adds(small, shape=(6, 32, 32)) == 8_915_736
    assert small.training
