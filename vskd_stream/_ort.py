"""onnxruntime, imported here and nowhere else: sends nothing home, says nothing, costs nothing when idle."""

from __future__ import annotations

import os
from typing import Literal

# Since 1.29 the official wheels keep a device id and a database in the user's cache and report to
# Microsoft, from the import on; `disable_telemetry_events()` comes too late. 0 in the environment allows it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

VERSION: str = onnxruntime.__version__
_FATAL = 4

Arithmetic = Literal["integer", "float"]
"""How a quantised graph is computed. "integer": products of 8 bits, sums of 32: the same bits on every
processor. "float": the same weights, and values rounded to the same 256 steps after every layer, but products
and sums in floating point: a value on the edge between two steps may fall to the other side."""


def open_session(
    graph: bytes, *, threads: int, arithmetic: Arithmetic = "integer"
) -> onnxruntime.InferenceSession:
    """Open a serialised ONNX graph on the CPU; whatever onnxruntime raises passes through.

    A graph without quantised layers is computed in floating point, whatever ``arithmetic`` says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its complaints arrive as exceptions; on stderr they would come a second time.
    options.log_severity_level = _FATAL
    # Two spinning threads cost ten times the CPU of the same calls without, for a quarter of a millisecond.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # int8 without VNNI adds products in saturating 16 bits. Weights of 7 bits never overflow and stay as they
    # are; full-range weights become slower and right, so a bundle gives the same scores on every processor.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if arithmetic == "float":
        # Weights are turned into floating point once, here. The steps between the layers have to stay: where
        # a step ends at 0 it is the layer's ReLU as well.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Its fallback tries the same provider again, and prints.
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], enable_fallback=False
    )
