"""A cheap model for tests: a real ONNX graph of five nodes that tells how much a wearer moves, as a bundle.

The logits come from the variance of each image, so the labels stand for ever stronger movement,
whichever way up the watch is worn: a flat image is the first label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.manifests import manifest
from training.shipping.bundling import write_bundle
from vskd_stream.familiarity import Familiarity

# A graph that today's onnx package writes and every supported onnxruntime reads.
_IR_VERSION, _OPSET = 8, 17

_FIRST_STEP, _LAST_STEP = 0.01, 0.13
"""Variances of the image from which on the second and the last label lead. With "fixed" scaling,
``acceleration`` gives less than 0.0001 at rest, 0.02 to 0.12 walking, more than 0.16 running."""
_STEEPNESS = 400.0


def tiny_bundle(
    path: Path,
    *,
    golden_windows: NDArray[np.float32] | None = None,
    familiarity: Familiarity | None = None,
    **manifest_changes: Any,
) -> Path:
    """Write the tiny model with ``tests.manifests.manifest(**manifest_changes)``; returns ``path``.

    With a ``familiarity``, of one feature, the image's variance is the tap.
    """
    fields = manifest(**manifest_changes)
    if golden_windows is None:
        rate = fields.sampling_rate_hz
        both = [acceleration(s, samples=fields.window_samples, sampling_rate_hz=rate) for s in (0.0, 1.5)]
        golden_windows = np.stack([acc_g.T.copy() for acc_g in both])
    write_bundle(
        path,
        tiny_graph(
            labels=len(fields.labels),
            channels=fields.image.channels,
            size=fields.image.size,
            tap=familiarity is not None,
        ),
        familiarity=familiarity,
        manifest=fields.model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"}),
        golden_windows=golden_windows,
    )
    return path


def tiny_graph(
    *, labels: int, channels: int, size: int, batch: str | int = "batch", tap: bool = False
) -> onnx.ModelProto:
    """(batch, channels, size, size) images to (batch, labels) logits, and perhaps the (batch, 1) variance."""
    steps = np.geomspace(_FIRST_STEP, _LAST_STEP, labels - 1)
    # Lines of ever steeper slope: label k lies above all others between step k - 1 and step k.
    slopes = _STEEPNESS * np.arange(labels)
    offsets = -_STEEPNESS * np.concatenate([[0.0], np.cumsum(steps)])
    return graph_of(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Sub", ["image", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "centred"], ["squared"]),
            helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Unsqueeze", ["variance", "last"], ["column"]),
            helper.make_node("Gemm", ["column", "slopes", "offsets"], ["logits"]),
        ],
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, size, size])],
        outputs=[
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, labels]),
            *([helper.make_tensor_value_info("column", TensorProto.FLOAT, [batch, 1])] if tap else []),
        ],
        initializers={
            "last": np.array([1]),
            "slopes": slopes[np.newaxis].astype(np.float32),
            "offsets": offsets.astype(np.float32),
        },
    )


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    """A model of these nodes."""
    tensors = [numpy_helper.from_array(values, name) for name, values in initializers.items()]
    return helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, tensors),
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )


def acceleration(
    strength: float, *, samples: int, sampling_rate_hz: float, first_sample: int = 0, seed: int = 0
) -> NDArray[np.float32]:
    """(samples, 3) acceleration in g of a wearer who rests (0), walks (0.5) or runs (1.5), noise included.

    The swing is a function of the absolute sample number, so pieces with the right ``first_sample``
    continue each other; the noise is not.
    """
    random = np.random.default_rng((seed, first_sample))
    t_s = (first_sample + np.arange(samples)) / sampling_rate_hz
    swing = np.sin(2 * np.pi * 1.5 * t_s[:, np.newaxis] + np.array([0.0, 1.0, 2.5]))
    gravity = np.array([0.6, 0.0, 0.8])
    noise = random.normal(scale=0.01, size=(samples, 3))
    acc_g: NDArray[np.float32] = (gravity + strength * swing + noise).astype(np.float32)
    return acc_g
