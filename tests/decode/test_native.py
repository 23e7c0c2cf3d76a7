from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decode.payloads import NATIVE_JSON, NATIVE_MSGPACK, check_samples, encode, refused
from vskd_stream.decode import decode, native
from vskd_stream.errors import DecodeError
from vskd_stream.samples import Samples

TICKS = {"first_tick": 850, "tick_rate_hz": 50}
ENCODERS = pytest.mark.parametrize("wire", [encode, msgspec.msgpack.encode], ids=["json", "msgpack"])


def document(**fields: Any) -> dict[str, Any]:
    """A good batch of two samples, with fields replaced; None takes a field away."""
    good: dict[str, Any] = {
        "schema": 1,
        "device": "w1",
        "sampling_rate_hz": 50,
        **({} if "times_s" in fields else TICKS),
        "unit": "g",
        "acc": [[0, 0, 1], [0.5, 0, 1]],
    }
    return {name: value for name, value in {**good, **fields}.items() if value is not None}


def test_the_golden_json_batch_decodes_to_its_numbers() -> None:
    (samples,) = decode(NATIVE_JSON)
    check_samples(samples)
    assert samples.device == "w1"
    assert samples.sequence == 17
    assert samples.epoch == "device"
    assert samples.sampling_rate_hz == 50.0
    assert samples.t_s.tolist() == [17.0, 17.02]
    assert samples.acc_g.tolist() == np.array([[0, 0, 1], [-0.5, 0.25, 0.98]], np.float32).tolist()
    assert samples.gyro_dps is not None
    assert samples.gyro_dps.tolist() == [[90, 0, -45.5], [0, 0, 1]]


def test_the_golden_messagepack_batch_decodes_to_its_numbers() -> None:
    (samples,) = decode(NATIVE_MSGPACK)
    check_samples(samples)
    assert samples.device == "w1"
    assert samples.sequence == 17
    assert samples.sampling_rate_hz == 50.0
    assert samples.t_s.tolist() == [17.0, 17.02]
    assert samples.acc_g.tolist() == np.array([[0, 0, 1], [-0.5, 0.25, 0.98]], np.float32).tolist()
    assert samples.gyro_dps is None


@ENCODERS
@pytest.mark.parametrize(
    ("unit", "one_g"), [("g", 1.0), ("mg", 1000.0), ("m/s2", 9.80665)], ids=["g", "mg", "mps2"]
)
def test_each_unit_of_acceleration_is_converted_to_g(
    wire: Callable[[Any], bytes], unit: str, one_g: float
) -> None:
    (samples,) = decode(wire(document(unit=unit, acc=[[-one_g, one_g / 2, 0.0], [0, 0, one_g]])))
    assert samples.acc_g.tolist() == [[-1, 0.5, 0], [0, 0, 1]]


@ENCODERS
def test_angular_rates_in_radians_are_converted_to_degrees(wire: Callable[[Any], bytes]) -> None:
    (samples,) = decode(wire(document(gyro=[[math.pi, -math.pi / 2, 0], [0, 0, 0.1]], gyro_unit="rad/s")))
    assert samples.gyro_dps is not None
    expected = np.array([[180, -90, 0], [0, 0, 5.7295780]])
    np.testing.assert_allclose(samples.gyro_dps, expected, rtol=1e-7)


@ENCODERS
def test_times_may_be_given_one_by_one(wire: Callable[[Any], bytes]) -> None:
    (samples,) = decode(wire(document(times_s=[3.5, 3.75])))
    assert samples.t_s.tolist() == [3.5, 3.75]
    assert samples.epoch == "device"


@ENCODERS
def test_times_may_be_utc(wire: Callable[[Any], bytes]) -> None:
    (samples,) = decode(wire(document(times_s=[1.7e9, 1.7e9 + 0.02], epoch="utc")))
    assert samples.t_s.tolist() == [1.7e9, 1.7e9 + 0.02]
    assert samples.epoch == "utc"


def test_of_equal_times_the_first_is_kept_and_times_are_sorted() -> None:
    times = [2.0, 1.0, 2.0, 1.5]
    gyro = [[i, 0, 0] for i in range(4)]
    payload = document(times_s=times, acc=[[i / 8, 0, 1] for i in range(4)], gyro=gyro, gyro_unit="deg/s")
    (samples,) = decode(encode(payload))
    assert samples.t_s.tolist() == [1.0, 1.5, 2.0]
    assert samples.acc_g[:, 0].tolist() == [1 / 8, 3 / 8, 0]
    assert samples.gyro_dps is not None
    assert samples.gyro_dps[:, 0].tolist() == [1, 3, 0]


@given(
    first=st.integers(0, 2**53 - 10_000),
    tick_rate_hz=st.sampled_from([50, 100, 1000, 32_000, 1_000_000]),
    cut=st.integers(1, 39),
)
def test_a_tick_has_the_same_time_wherever_batches_are_cut(first: int, tick_rate_hz: int, cut: int) -> None:
    def times(first_tick: int, count: int) -> list[float]:
        payload = document(first_tick=first_tick, tick_rate_hz=tick_rate_hz, acc=[[0, 0, 1]] * count)
        return list(decode(encode(payload))[0].t_s)

    first = min(first, 9_000_000_000 * tick_rate_hz)
    whole = times(first, 40)
    assert whole == times(first, cut) + times(first + cut * tick_rate_hz // 50, 40 - cut)


def test_a_sample_may_take_a_fraction_of_ticks() -> None:
    (samples,) = decode(encode(document(first_tick=32768, tick_rate_hz=32768, acc=[[0, 0, 1]] * 3)))
    np.testing.assert_allclose(samples.t_s, [1.0, 1.02, 1.04], rtol=0, atol=1e-12)


@given(
    acc=st.lists(st.tuples(*[st.floats(-16, 16, width=32)] * 3), min_size=1, max_size=30),
    first=st.integers(0, 10**9),
)
def test_json_and_messagepack_give_the_same_bits(acc: list[Any], first: int) -> None:
    batch = document(first_tick=first, acc=acc)
    (a,), (b,) = decode(encode(batch)), decode(msgspec.msgpack.encode(batch))
    assert a.t_s.tobytes() == b.t_s.tobytes()
    assert a.acc_g.tobytes() == b.acc_g.tobytes() == np.array(acc, np.float32).tobytes()


@ENCODERS
def test_null_stands_for_a_field_that_is_absent(wire: Callable[[Any], bytes]) -> None:
    absent = dict.fromkeys(("sequence", "times_s", "epoch", "gyro", "gyro_unit"))
    (samples,) = decode(wire(document() | absent))
    assert samples.sequence is None
    assert samples.gyro_dps is None


def test_the_rate_of_the_batch_goes_before_the_configured_one() -> None:
    (samples,) = decode(NATIVE_JSON, sampling_rate_hz=100.0)
    assert samples.sampling_rate_hz == 50.0


REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a later schema": ({"schema": 2}, "unsupported_schema", "schema is 2"),
    "a later schema with new fields": ({"schema": 2, "pose": 1}, "unsupported_schema", "schema is 2"),
    "an absurd schema": ({"schema": -(2**63)}, "unsupported_schema", "huge"),
    "an unknown field": ({"heart_rate": 60}, "malformed", "heart_rate"),
    "no rate": ({"sampling_rate_hz": None}, "malformed", "sampling_rate_hz"),
    "no unit": ({"unit": None}, "malformed", "unit"),
    "no acceleration": ({"acc": None}, "malformed", "acc"),
    "no schema": ({"schema": None}, "malformed", "schema"),
    "text for a number": ({"sampling_rate_hz": "50"}, "malformed", "sampling_rate_hz"),
    "a fraction for a tick": ({"first_tick": 1.5}, "malformed", "first_tick"),
    "a negative sequence": ({"sequence": -1}, "malformed", "sequence"),
    "an unknown unit": ({"unit": "furlong"}, "unknown_unit", "furlong"),
    "an unknown gyro unit": ({"gyro": [[0, 0, 0]] * 2, "gyro_unit": "rpm"}, "unknown_unit", "rpm"),
    "no gyro unit": ({"gyro": [[0, 0, 0]] * 2}, "unknown_unit", "gyro_unit"),
    "a gyro of another length": ({"gyro": [[0, 0, 0]], "gyro_unit": "deg/s"}, "malformed", "gyro has 1"),
    "an axis too few": ({"acc": [[0, 0, 1], [0, 0]]}, "malformed", "$[1]"),
    "an axis too many": ({"acc": [[0, 0, 1, 0]]}, "malformed", "$[0]"),
    "a null in a sample": ({"acc": [[0, 0, None]]}, "malformed", "$[0][2]"),
    "numbers for samples": ({"acc": [0, 0, 1]}, "malformed", "$[0]"),
    "no samples": ({"acc": []}, "empty", "no samples"),
    "too many samples": ({"acc": [[0, 0, 1]] * 10_000}, "too_many_samples", "10000"),
    "one sample too many": ({"acc": [[0, 0, 1]] * 8193}, "too_many_samples", "8193"),
    "too many times": ({"times_s": list(range(10_000))}, "too_many_samples", "times_s"),
    "too many gyro samples": ({"gyro": [[0, 0, 1]] * 10_000}, "too_many_samples", "gyro"),
    "more than 64 g": ({"acc": [[0, 0, 1], [0, -64.1, 1]]}, "out_of_range", "acc[1].y is -64.1 g"),
    "milli-g taken for g": ({"acc": [[0, 0, 980]]}, "out_of_range", "check the unit"),
    "a gyro out of range": (
        {"gyro": [[0, 0, 0], [0, 0, 2e4]], "gyro_unit": "deg/s"},
        "out_of_range",
        "gyro[1].z",
    ),
    "a rate of zero": ({"sampling_rate_hz": 0}, "bad_rate", "0 Hz"),
    "a negative rate": ({"sampling_rate_hz": -50}, "bad_rate", "-50"),
    "a rate too high": ({"sampling_rate_hz": 2001}, "bad_rate", "2001"),
    "an absurd rate": ({"sampling_rate_hz": 1e300}, "bad_rate", "1e+300"),
    "a tick rate of zero": ({"tick_rate_hz": 0}, "bad_rate", "tick_rate_hz"),
    "an absurd tick rate": ({"tick_rate_hz": 1e18}, "bad_rate", "tick_rate_hz"),
    "a negative tick": ({"first_tick": -1}, "bad_time", "first_tick"),
    "a tick beyond 2^53": ({"first_tick": 2**53 + 1}, "bad_time", "first_tick"),
    "more than 317 years of ticks": ({"first_tick": 2**53, "tick_rate_hz": 50}, "bad_time", "device times"),
    "no times": ({"first_tick": None, "tick_rate_hz": None}, "malformed", "no times"),
    "ticks without their rate": ({"tick_rate_hz": None}, "malformed", "tick_rate_hz"),
    "a tick rate alone": ({"first_tick": None}, "malformed", "first_tick"),
    "both kinds of time": ({"times_s": [0, 1], **TICKS}, "malformed", "both"),
    "a time too few": ({"times_s": [0]}, "malformed", "times_s has 1"),
    "a time before the start": ({"times_s": [-0.02, 0]}, "bad_time", "-0.02"),
    "device times in milliseconds": ({"times_s": [1e11, 1e11 + 20]}, "bad_time", "unit"),
    "utc in milliseconds": ({"times_s": [1.7e12, 1.7e12 + 20], "epoch": "utc"}, "bad_time", "utc"),
    "utc of an unset clock": ({"times_s": [0, 0.02], "epoch": "utc"}, "bad_time", "clock"),
    "an absurd time": ({"times_s": [0, 1e308]}, "bad_time", "device times"),
    "an unknown epoch": ({"times_s": [0, 1], "epoch": "gps"}, "malformed", "gps"),
    "utc ticks": ({"epoch": "utc"}, "malformed", "epoch"),
    "no device": ({"device": None}, "no_device", "topic"),
    "a device with a slash": ({"device": "a/b"}, "bad_device", '"a/b"'),
    "a device that is a wildcard": ({"device": "+"}, "bad_device", '"+"'),
    "a device in another script": ({"device": "hölz"}, "bad_device", r"h\xf6lz"),
    "a device with a newline": ({"device": "w1\n"}, "bad_device", r"w1\n"),
    "a device name too long": ({"device": "w" * 65}, "bad_device", "www..."),
}


@ENCODERS
@pytest.mark.parametrize(("fields", "reason", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_bad_batch_is_refused_with_its_reason_in_words(
    wire: Callable[[Any], bytes], fields: Any, reason: str, words: str
) -> None:
    error = refused(wire(document(**fields)))
    assert (error.reason, words in error.detail) == (reason, True), error


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (lambda value: {"acc": [[0, 0, 1], [0, value, 1]]}, "not_finite"),
        (lambda value: {"gyro": [[0, 0, 1], [0, value, 1]], "gyro_unit": "deg/s"}, "not_finite"),
        (lambda value: {"times_s": [0, value]}, "not_finite"),
        (lambda value: {"sampling_rate_hz": value}, "bad_rate"),
        (lambda value: {"tick_rate_hz": value}, "bad_rate"),
    ],
    ids=["acc", "gyro", "times_s", "sampling_rate_hz", "tick_rate_hz"],
)
def test_messagepack_numbers_that_are_not_finite_are_refused(fields: Any, reason: str, value: float) -> None:
    assert refused(msgspec.msgpack.encode(document(**fields(value)))).reason == reason


@pytest.mark.parametrize(
    "fields",
    [{"acc": [[0, 0, 1.25]]}, {"times_s": [0, 1.25]}, {"gyro": [[0, 0, 1.25]] * 2, "gyro_unit": "rad/s"}],
    ids=["acc", "times_s", "gyro"],
)
def test_a_signalling_nan_is_refused_like_any_other(fields: Any) -> None:
    payload = msgspec.msgpack.encode(document(unit="mg", **fields))
    signalling = bytes.fromhex("7ff4000000000000")
    error = refused(payload.replace(bytes.fromhex("3ff4000000000000"), signalling))
    assert error.reason == "not_finite"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"1" * 5000, b"+1", b".5", b"0x1"])
def test_what_is_no_json_number_is_malformed(number: bytes) -> None:
    payload = encode(document()).replace(b"[0.5, 0, 1]", b"[0.5, " + number + b", 1]")
    assert refused(payload).reason == "malformed"


@pytest.mark.parametrize(
    "field",
    [
        bytes.fromhex("01 01"),  # an integer for a key
        bytes.fromhex("90 01"),  # an array for a key
        bytes.fromhex("d4 01 00 01"),  # an extension for a key
        bytes.fromhex("c4 01 61 01"),  # a byte string for a key
        bytes.fromhex("a6 736368656d61 d6 ff 00000000"),  # schema: a timestamp
        bytes.fromhex("a3 616363 d4 01 00"),  # acc: an extension
        bytes.fromhex("a3 616363 c4 01 00"),  # acc: a byte string
        bytes.fromhex("a3 616363 93 93 00 00 c0"),  # acc with a nil
        bytes.fromhex("a2 fffe 01"),  # a key that is no UTF-8
        bytes.fromhex("a3 616363 dd ffffffff"),  # acc: four thousand million elements to come
        bytes.fromhex("df ffffffff"),
        bytes.fromhex("c1"),  # the byte that MessagePack never uses
    ],
)
def test_messagepack_of_other_types_is_malformed(field: bytes) -> None:
    whole = msgspec.msgpack.encode(document())
    assert refused(bytes([whole[0] + 1]) + whole[1:] + field).reason == "malformed"


def test_messagepack_that_promises_too_many_samples_is_refused_unread() -> None:
    whole = msgspec.msgpack.encode(document(acc=None))
    bomb = bytes([whole[0] + 1]) + whole[1:] + b"\xa3acc\xdd\x00\x10\x00\x00" + b"\x93\x00\x00\x00" * 2**20
    error = refused(bomb)
    assert error.reason == "too_many_samples"
    assert "1048576" in error.detail


@ENCODERS
def test_the_largest_batch_is_taken(wire: Callable[[Any], bytes]) -> None:
    acc = [[0.1, -0.2, 0.97]] * 8192
    (samples,) = decode(wire(document(times_s=list(range(8192)), acc=acc, gyro=acc, gyro_unit="rad/s")))
    assert len(samples) == 8192


@ENCODERS
def test_the_limits_themselves_are_within_the_limits(wire: Callable[[Any], bytes]) -> None:
    fields = document(sampling_rate_hz=2000, acc=[[64, -64, 0], [0, 0, 0]], times_s=[0, 1e10])
    check_samples(decode(wire(fields))[0])
    fields = document(sampling_rate_hz=1, first_tick=2**53, tick_rate_hz=1e9, sequence=2**63 - 1)
    check_samples(decode(wire(fields))[0])


_numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.floats(width=32),
    st.just(50),
    st.just(None),
    st.booleans(),
)
_changes = st.dictionaries(
    st.sampled_from([*document(), "sequence", "epoch", "gyro", "times_s", "colour"]),
    st.one_of(
        _numbers, st.sampled_from(["g", "mg", "m/s2", "w2", "é", "x" * 65, "device", b"g", [], [[0, 0, 1]]])
    ),
    max_size=2,
)


@given(_changes, st.lists(st.tuples(*[st.floats(-3, 3, width=32)] * 3), max_size=20), st.data())
def test_the_short_way_tells_what_the_long_one_does_or_leaves_it_to_that(
    changes: dict[str, Any], acc: list[Any], data: st.DataObject
) -> None:
    fields = document(acc=acc, device=data.draw(st.sampled_from(["w1", None]))) | changes
    order = data.draw(st.permutations(list(fields)))
    payload = msgspec.msgpack.encode({name: fields[name] for name in order})
    payload = payload[
        : data.draw(st.sampled_from([len(payload)] * 4 + [len(payload) // 2, len(payload) - 1]))
    ]
    device = data.draw(st.sampled_from([None, "w9", "no name"]))

    def told(read: Callable[[], list[Samples]]) -> Any:
        try:
            (one,) = read()
        except DecodeError as error:
            return error.reason, error.detail
        assert one.acc_g.dtype == np.float32
        return one.device, one.sequence, one.sampling_rate_hz, one.epoch, one.t_s.tolist(), one.acc_g.tolist()

    long_way = told(lambda: [native._decode(payload, codec=native._MSGPACK, device=device)])
    assert told(lambda: native.decode_msgpack(payload, device=device, sampling_rate_hz=None)) == long_way


def test_a_plain_batch_takes_the_short_way_whatever_its_numbers_are_written_as() -> None:
    for acc in ([[0.0, 0.5, 1.0]], [[0, 1, -1]] * 20, [[300, -300, -40]], [[0.25, 0, -33_000.0 / 2**16]]):
        unit = "mg" if max(map(max, acc)) > 64 else "g"
        payload = msgspec.msgpack.encode(document(acc=acc, unit=unit, sequence=2**40, first_tick=70_000))
        (samples,) = native._plain(payload, None)
        assert (samples.device, samples.sequence, samples.t_s[0]) == ("w1", 2**40, 1400.0)
        assert native._plain(payload, "w9")[0].device == "w9"
