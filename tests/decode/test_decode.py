from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.decode.payloads import (
    GOLDEN,
    NATIVE_JSON,
    NATIVE_MSGPACK,
    SENML,
    SENSOR_LOGGER,
    WRIST_MOTION,
    check_outcome,
    check_samples,
    refused,
)
from vskd_stream.decode import FORMATS, MAX_PAYLOAD_BYTES, REASONS, decode, recognise
from vskd_stream.decode.limits import quote, quote_name
from vskd_stream.errors import DecodeError

EACH_GOLDEN = pytest.mark.parametrize(("name", "payload"), GOLDEN.items(), ids=GOLDEN.keys())
hostile = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (NATIVE_JSON, "native-json"),
        (b"\r\n\t " + NATIVE_JSON, "native-json"),
        (b'{"device": "payload", "acc" : [[0,0,1]]}', "native-json"),
        (NATIVE_MSGPACK, "native-msgpack"),
        (b"\xde\x00\x10", "native-msgpack"),
        (b"\xdf\x00\x00\x00\x10", "native-msgpack"),
        (SENML, "senml"),
        (b" [", "senml"),
        (SENSOR_LOGGER, "sensor-logger"),
        (WRIST_MOTION, "sensor-logger"),
        (b'{"payload":[{"values":{"acc":1,"schema":1}}],"messageId":0}', "sensor-logger"),
    ],
)
def test_a_format_is_recognised_by_its_content(payload: bytes, name: str) -> None:
    assert recognise(payload) == name


@pytest.mark.parametrize(
    "payload",
    [b"", b" ", b"{}", b"null", b"online", b"\xef\xbb\xbf{}", b"\x00" * 40, b"\xff", b'"schema":1', b"\xc1"],
)
def test_what_is_of_no_format_is_not_recognised(payload: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        recognise(payload)
    assert caught.value.reason == "unrecognised"


@EACH_GOLDEN
def test_recognised_and_named_formats_give_the_same(name: str, payload: bytes) -> None:
    named, recognised = decode(payload, format=name), decode(payload)
    assert [samples.acc_g.tobytes() for samples in named] == [
        samples.acc_g.tobytes() for samples in recognised
    ]


@EACH_GOLDEN
def test_a_topics_device_goes_before_the_payloads(name: str, payload: bytes) -> None:
    (samples,) = decode(payload, format=name, device="from-topic")
    assert samples.device.startswith("from-topic")


@EACH_GOLDEN
def test_a_topics_device_must_be_an_identifier(name: str, payload: bytes) -> None:
    assert refused(payload, format=name, device="a.b").reason == "bad_device"


@EACH_GOLDEN
def test_decoding_twice_gives_the_same(name: str, payload: bytes) -> None:
    (a,), (b,) = decode(payload, format=name), decode(payload, format=name)
    assert a.t_s.tobytes() == b.t_s.tobytes()
    assert a.acc_g.tobytes() == b.acc_g.tobytes()
    assert (a.device, a.sequence, a.sampling_rate_hz) == (b.device, b.sequence, b.sampling_rate_hz)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 0.5, 2001.0, float("nan"), float("inf")])
@pytest.mark.parametrize("payload", [SENML, SENSOR_LOGGER, WRIST_MOTION])
def test_a_given_rate_has_its_limits_too(payload: bytes, rate_hz: float) -> None:
    assert refused(payload, sampling_rate_hz=rate_hz).reason == "bad_rate"


def test_a_payload_without_bytes_is_empty() -> None:
    assert refused(b"").reason == "empty"


def test_a_payload_beyond_the_hard_limit_is_refused_unread() -> None:
    assert refused(b"{" * (MAX_PAYLOAD_BYTES + 1)).reason == "too_large"


def test_reasons_are_tokens_that_name_counters() -> None:
    assert all(reason.isidentifier() and reason.islower() for reason in REASONS)


@EACH_GOLDEN
def test_a_payload_cut_off_at_any_byte_is_refused_or_valid(name: str, payload: bytes) -> None:
    for length in range(len(payload)):
        assert check_outcome(payload[:length], format=name) is None
        check_outcome(payload[:length])


@EACH_GOLDEN
def test_a_payload_with_any_byte_replaced_is_refused_or_valid(name: str, payload: bytes) -> None:
    for at in range(len(payload)):
        for byte in (0x00, 0x22, 0x2D, 0x5D, 0x39, 0xC0, 0xDD, 0xFF):
            check_outcome(payload[:at] + bytes([byte]) + payload[at + 1 :], format=name)


@given(payload=st.binary(max_size=200), name=st.sampled_from(["auto", *FORMATS]))
@hostile
def test_any_bytes_are_refused_or_valid(payload: bytes, name: str) -> None:
    check_outcome(payload, format=name)


@given(
    name=st.sampled_from(list(GOLDEN)),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4
    ),
)
@hostile
def test_a_payload_with_pieces_replaced_is_refused_or_valid(name: str, edits: list[Any]) -> None:
    payload = GOLDEN[name]
    for place, removed, inserted in edits:
        at = round(place * len(payload))
        payload = payload[:at] + inserted + payload[at + removed :]
    check_outcome(payload, format=name)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "g", "utc", "x", "acc_x", "m/s2", "accelerometer", "wrist motion", 1.7e9, 2.0**53, 1e308]
    )
)
values = scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.text(max_size=5), scalars, max_size=3)


def nodes(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a document but the document itself."""
    children = document.items() if isinstance(document, dict) else enumerate(document)
    paths = []
    for key, child in children:
        paths.append((*path, key))
        if isinstance(child, dict | list):
            paths += nodes(child, (*path, key))
    return paths


@given(data=st.data(), name=st.sampled_from(list(GOLDEN)), count=st.integers(1, 3))
@hostile
def test_a_document_with_values_replaced_is_refused_or_valid(
    data: st.DataObject, name: str, count: int
) -> None:
    packed = name == "native-msgpack"
    document: Any = (msgspec.msgpack if packed else msgspec.json).decode(GOLDEN[name])
    for _ in range(count):
        *parents, last = data.draw(st.sampled_from(nodes(document)))
        node: Any = document
        for key in parents:
            node = node[key]
        if data.draw(st.booleans()):
            node[last] = data.draw(values)
        else:
            del node[last]
        if not document:
            break
    payload = msgspec.msgpack.encode(_within_64_bits(document)) if packed else json.dumps(document).encode()
    check_outcome(payload, format=name, sampling_rate_hz=data.draw(st.sampled_from([None, 50.0])))


def _within_64_bits(document: Any) -> Any:
    """MessagePack has no larger integers."""
    if isinstance(document, dict):
        return {key: _within_64_bits(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_within_64_bits(value) for value in document]
    if isinstance(document, int) and not -(2**63) <= document < 2**64:
        return 0
    return document


def filled(head: bytes, unit: bytes, tail: bytes, *, size: int) -> bytes:
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


BATCH = b'{"schema":1,"device":"a","sampling_rate_hz":50,"first_tick":0,"tick_rate_hz":50,"unit":"g",'
BOMBS = {
    "samples": (BATCH + b'"acc":[', b"[0,0,1],", b"[0,0,1]]}"),
    "an endless sample": (BATCH + b'"acc":[[0', b",0", b"]]}"),
    "brackets": (BATCH + b'"acc":', b"[", b""),
    "empty samples": (BATCH + b'"acc":[', b"[],", b"[]]}"),
    "times": (BATCH + b'"acc":[[0,0,1]],"times_s":[', b"0,", b"0]}"),
    "an unknown name": (BATCH + b'"', b"\xc3\xa4", b'":1}'),
    "a huge integer": (BATCH + b'"sequence":', b"9", b"}"),
    "a huge device": (BATCH + b'"acc":[[0,0,1]],"device":"', b"a", b'"}'),
    "nested ignored values": (b'{"deviceId":"a","payload":[{"q":', b"[", b""),
    "readings": (b'{"deviceId":"a","payload":[', b"{},", b"{}]}"),
    "one endless reading": (
        b'{"deviceId":"a","payload":[{"name":"gyroscope","time":1,"values":[',
        b"1,",
        b"1]}]}",
    ),
    "records": (b"[", b"{},", b"{}]"),
    "records of numbers": (b"[", b"1,", b"1]"),
    "nested records": (b"", b"[", b""),
    "a nested record": (b"", b'[{"a_":', b""),
    "keys to be understood": (b'[{"a_":1', b',"b":1', b"}]"),
    "a huge name": (b'[{"n":"', b"x", b'","v":1,"u":"g","t":1}]'),
    "whitespace": (b"", b" ", b"{"),
    "quotes": (b"{", b'"', b""),
    "keys without colons": (b"{", b'"acc" ', b""),
    "MessagePack arrays": (b"\x81\xa3acc", b"\x91", b"\x01"),
    "MessagePack maps": (b"", b"\x81", b""),
    "MessagePack keys": (b"\xdf\x00\x9f\xff\xff", b"\xa0", b""),
}


@pytest.mark.parametrize(("head", "unit", "tail"), BOMBS.values(), ids=BOMBS.keys())
def test_ten_megabytes_of_anything_are_refused_without_memory_to_match(
    head: bytes, unit: bytes, tail: bytes
) -> None:
    payload = filled(head, unit, tail, size=10 * 10**6)
    tracemalloc.start()
    try:
        refused(payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(payload)


def test_whatever_is_quoted_is_short_and_printable() -> None:
    for text in ("a" * 10**6, "\n" * 500, "\U0001f600" * 300, "\ud800", "a\x00\x1b[31m", "ä"):
        for quoted in (quote(text), quote_name(text)):
            assert quoted.isascii()
            assert quoted.isprintable()
            assert len(quoted) <= 100


def test_all_golden_payloads_are_valid() -> None:
    for name, payload in GOLDEN.items():
        for samples in decode(payload, format=name):
            check_samples(samples)


def test_what_a_payload_could_not_use_is_counted():
    batch = {
        "schema": 1,
        "device": "watch",
        "sampling_rate_hz": 50,
        "times_s": [1.0, 1.02, 1.02, 1.04],
        "unit": "g",
        "acc": [[0, 0, 1]] * 4,
    }
    (samples,) = decode(json.dumps(batch).encode())
    assert (len(samples), samples.discarded) == (3, 1)
