from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models import tiny_graph
from vskd_stream import _modelproto

GRAPH = tiny_graph(labels=2, channels=3, size=16).SerializeToString()


def metadata(**entries: str) -> bytes:
    model = onnx.ModelProto()
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_metadata_is_read_as_the_onnx_package_wrote_it(entries: dict[str, str]) -> None:
    data = GRAPH + metadata(**entries)

    model = _modelproto.read(data)

    assert model.model_bytes == len(GRAPH)
    assert {entry.key: entry.value.decode() for entry in model.metadata} == entries
    starts = [entry.start for entry in model.metadata]
    assert starts == sorted(starts)
    assert starts[:1] == [len(GRAPH)][: len(entries)]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "0 graphs"),
        (metadata(a="b"), "0 graphs"),
        (GRAPH + GRAPH, "2 graphs"),
        (b"\x00\x00", "no whole field at byte 0"),
        (b"\x08", "no number at byte 1"),
        (b"\xff" * 20, "no number at byte 0"),
        (b"\x0b", "no field at byte 0"),
        (b"\x0d\x01\x02", "no whole field at byte 0"),
        (b"\x09" + b"\x01" * 7, "no whole field at byte 0"),
        (b"\x0d\x01\x02\x03\x04" + b"\x09" + b"\x01" * 8, "0 graphs"),
        (b"\x72\x03\x0a\x01\xff", "codec can't decode"),
        (b"\x08\x01" * (_modelproto.MAX_FIELDS + 1), "more than 10000 fields"),
    ],
)
def test_what_is_no_onnx_model_is_refused_with_the_place(data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        _modelproto.read(data)


def test_an_entry_has_a_largest_size() -> None:
    with pytest.raises(ValueError, match="metadata of 16777217 bytes"):
        _modelproto.read(GRAPH + metadata(a="x" * (_modelproto.MAX_METADATA_BYTES + 1)))
