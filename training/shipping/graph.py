"""Student → ONNX graph, in float32 and in int8 that computes the same everywhere.

int8 is static, QDQ, per channel: unsigned activations and signed weights of seven bits. With eight
bits, processors without VNNI add two products in a saturating 16-bit register and give other answers.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.student import Student
from vskd_stream import _ort  # noqa: F401  first: it opts out of onnxruntime's telemetry
from vskd_stream.image import ImageSpec

# isort: split
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

INPUT, OUTPUT, TAP = "image", "logits", "tap"
_OPSET = 17
_BATCH = 16


class _WithTap(nn.Module):
    """Answers with the tap as well."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tap = self.student.features(images)
        return self.student.answer(tap), tap


def float32_graph(student: Student, image: ImageSpec, *, tap: bool = False) -> bytes:
    """The student as an ONNX graph: (batch, channels, h, w) float32 "image" to (batch, labels) "logits".

    With ``tap`` it has a second output, the (batch, features) "tap".
    """
    student.eval()
    outputs = [OUTPUT, TAP] if tap else [OUTPUT]
    example = torch.zeros(2, *image.shape)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        exported, folded = Path(folder) / "exported.onnx", Path(folder) / "folded.onnx"
        # Not torch's newer exporter: it takes half a minute for the same nodes.
        torch.onnx.export(
            _WithTap(student).eval() if tap else student,
            (example,),
            str(exported),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *outputs)},
        )
        # Folds the batch normalisations into the convolutions, which int8 needs and float32 likes.
        quant_pre_process(str(exported), str(folded))
        return folded.read_bytes()


def int8_graph(float32: bytes, images: NDArray[np.float32], *, averaged: bool = False) -> bytes:
    """Quantise a graph; ``images`` (b, channels, h, w), of training windows, give the activations' ranges.

    ``averaged``: as the means over batches of their extremes, instead of the extremes of all.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, quantised = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(float32)
        quantize_static(
            str(source),
            str(quantised),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "WeightSymmetric": True,
                "ActivationSymmetric": False,
                "CalibMovingAverage": averaged,
            },
        )
        return quantised.read_bytes()


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Feeds calibration images in batches."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._batches = iter([images[i : i + _BATCH] for i in range(0, len(images), _BATCH)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice on versions of tools that are pinned here."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
