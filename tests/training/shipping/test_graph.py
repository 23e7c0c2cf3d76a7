"""The ONNX graphs say what the student says, at any batch size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from training.shipping.graph import float32_graph, int8_graph
from training.student import Student
from vskd_stream import _ort
from vskd_stream.image import ImageSpec

SPEC = ImageSpec(size=32, method="both", scaling="fixed", range_g=1.5)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    made = Student(channels=6, classes=5, width=8, features=20).train()
    # In the layout that it has after learning, and with batch statistics worth folding.
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        for _ in range(5):
            made(torch.rand(32, 6, 32, 32) * 2 - 1)
    return made.eval()


@pytest.fixture(scope="module")
def float32(student: Student) -> bytes:
    return float32_graph(student, SPEC)


@pytest.fixture(scope="module")
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(-1, 1, (48, 6, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 7])
def test_the_float32_graph_computes_the_students_logits(
    student: Student, float32: bytes, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]], batch: int
) -> None:
    (logits,) = _ort.open_session(float32, threads=1).run(["logits"], {"image": images[:batch]})
    with torch.inference_mode():
        expected = student(torch.from_numpy(images[:batch])).numpy()
    assert logits == pytest.approx(expected, abs=1e-4)


def test_batch_normalisations_are_folded(float32: bytes) -> None:
    operators = {node.op_type for node in onnx.load_model_from_string(float32).graph.node}
    assert "BatchNormalization" not in operators
    assert "Identity" not in operators


@pytest.mark.parametrize("averaged", [False, True])
def test_the_int8_graph_is_close_to_float32_and_its_weights_have_seven_bits(
    float32: bytes, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, averaged: bool
) -> None:
    int8 = int8_graph(float32, images, averaged=averaged)
    assert len(int8) < 0.5 * len(float32)
    (logits,) = _ort.open_session(int8, threads=1).run(["logits"], {"image": images})
    (expected,) = _ort.open_session(float32, threads=1).run(["logits"], {"image": images})
    assert np.abs(logits - expected).max() < 0.1 * np.ptp(expected)
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_model_from_string(int8).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert weights
    assert max(np.abs(weight.astype(np.int16)).max() for weight in weights) <= 64


def test_ranges_that_are_averaged_make_another_graph(
    float32: bytes, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    louder = np.concatenate([images, 0.1 * images, 0.1 * images])
    assert int8_graph(float32, louder) != int8_graph(float32, louder, averaged=True)


def test_the_tap_is_a_second_output() -> None:
    torch.manual_seed(0)
    student = Student(channels=SPEC.channels, classes=3, width=8, features=5)
    seen = np.random.default_rng(0).uniform(-1, 1, (4, *SPEC.shape)).astype(np.float32)
    logits, tap = _ort.open_session(float32_graph(student, SPEC, tap=True), threads=1).run(
        ["logits", "tap"], {"image": seen}
    )
    with torch.inference_mode():
        expected = student.features(torch.from_numpy(seen))
        np.testing.assert_allclose(tap, expected.numpy(), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(logits, student.answer(expected).numpy(), rtol=1e-3, atol=1e-4)
