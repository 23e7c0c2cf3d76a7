"""The outermost layer of an ONNX file, read without the onnx package: the model, then its metadata.

Top-level fields are stepped over; what is inside the graph is onnxruntime's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_METADATA_BYTES = 16 * 1024 * 1024
"""Of one entry."""
MAX_FIELDS = 10_000
"""Of the model; real ones have about ten, and each costs a step in Python."""

_MAX_VARINT_BYTES = 10

# Field numbers of ModelProto and StringStringEntryProto in onnx.proto.
_GRAPH, _METADATA, _KEY, _VALUE = 7, 14, 1, 2
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One of ``metadata_props``."""

    key: str
    value: bytes
    start: int
    """Its first byte in the file."""


@dataclass(frozen=True, slots=True)
class ModelProto:
    """What a file consists of."""

    model_bytes: int
    """Where the last field ends that is no metadata."""
    metadata: tuple[Entry, ...]


def read(data: bytes) -> ModelProto:
    """Take a file apart; ValueError if it is no ONNX model, or is cut off."""
    view = memoryview(data)
    graphs = 0
    model_bytes = 0
    metadata = []
    for number, start, body, end in _fields(view):
        if number == _METADATA:
            metadata.append(_entry(view[body:end], start))
        else:
            graphs += number == _GRAPH
            model_bytes = end
    if graphs != 1:
        raise ValueError(f"{graphs} graphs in it")
    return ModelProto(model_bytes=model_bytes, metadata=tuple(metadata))


def _entry(data: memoryview, start: int) -> Entry:
    parts = {number: bytes(data[body:end]) for number, _, body, end in _fields(data)}
    value = parts.get(_VALUE, b"")
    if len(value) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata of {len(value)} bytes at byte {start}")
    return Entry(key=parts.get(_KEY, b"").decode(), value=value, start=start)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the body, and end of each field of a message."""
    position = 0
    for _ in range(MAX_FIELDS):
        if position == len(data):
            return
        start = position
        tag, body = _varint(data, start)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            _, end = _varint(data, body)
        elif wire_type == _DELIMITED:
            length, body = _varint(data, body)
            end = body + length
        elif wire_type in (_FIXED32, _FIXED64):
            end = body + (4 if wire_type == _FIXED32 else 8)
        else:
            raise ValueError(f"no field at byte {start}")
        if number == 0 or end > len(data):
            raise ValueError(f"no whole field at byte {start}")
        yield number, start, body, end
        position = end
    raise ValueError(f"more than {MAX_FIELDS} fields")


def _varint(data: memoryview, start: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift, byte in enumerate(data[start : start + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, start + shift + 1
    raise ValueError(f"no number at byte {start}")
