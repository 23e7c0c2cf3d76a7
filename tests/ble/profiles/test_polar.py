from __future__ import annotations

import contextlib
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ble.links import FakeLink
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles import polar
from vskd_stream.sources.ble.profiles.polar import (
    CONTROL,
    DATA,
    PROFILE,
    PolarSession,
    parse_deltas,
    parse_frame,
    parse_raw,
    parse_settings,
)

H10_SETTINGS = bytes.fromhex("00 04 1900 3200 6400 C800 01 01 1000 02 03 0200 0400 0800")
VERITY_SETTINGS = bytes.fromhex("00 01 3400 01 01 1000 02 01 0800 04 01 03")
SECOND_NS = 1_000_000_000


def session(**options: object) -> PolarSession:
    return PROFILE.session("chest", options)


def frame(last_s: float, body: bytes, *, kind: int = 1) -> bytes:
    return struct.pack("<BQB", 0x02, round(last_s * SECOND_NS), kind) + body


def packed(deltas: list[int], width: int) -> bytes:
    """The slow way to pack deltas: one long number."""
    whole = 0
    for place, delta in enumerate(deltas):
        whole |= (delta & ((1 << width) - 1)) << (place * width)
    return whole.to_bytes((len(deltas) * width + 7) // 8, "little")


class Device:
    """The control point of a simulated device."""

    def __init__(self, offered: bytes = H10_SETTINGS, *, factor: float | None = 1.0) -> None:
        self.offered = offered
        self.factor = factor
        self.streaming = False
        self.status = 0
        self.parts = 1

    def answer(self, uuid: str, command: bytes) -> list[bytes]:
        assert uuid == CONTROL
        operation = command[0]
        status, parameters = self.status, b""
        if operation == 1:
            parameters = self.offered
        elif operation == 2 and command[1] == 2:
            status = 6 if self.streaming else self.status
            self.streaming = True
            parameters = b"" if self.factor is None else bytes([5, 1]) + struct.pack("<f", self.factor)
        elif operation == 3:
            self.streaming = False
        head = bytes([0xF0, operation, command[1], status])
        if status:
            return [head]
        cut = -(-len(parameters) // self.parts)
        pieces = [parameters[i : i + cut] for i in range(0, len(parameters), cut)] if cut else [b""]
        return [head + bytes([number < len(pieces) - 1]) + piece for number, piece in enumerate(pieces)]


def linked(tested: PolarSession, device: Device, *, features: bytes = b"\x0f\x05\x00") -> FakeLink:
    return FakeLink(
        values={CONTROL: features},
        answer=device.answer,
        notified=lambda uuid, data: tested.decode(uuid, data, arrival_s=0.0),
    )


async def started(device: Device, **options: object) -> tuple[PolarSession, FakeLink]:
    tested = session(**options)
    link = linked(tested, device)
    await tested.start(link)
    return tested, link


# --- frames


def test_the_vendors_delta_vector_comes_out() -> None:
    assert parse_deltas(bytes.fromhex("F1FF 1400 F003 06 01 7B0F08")).tolist() == [
        [-15.0, 20.0, 1008.0],
        [-20.0, 17.0, 1008.0],
    ]


@pytest.mark.parametrize(
    ("kind", "body", "acc_mg"),
    [
        (0, "01 FF 80", [1, -1, -128]),
        (1, "0100 FFFF 0080", [1, -1, -32768]),
        (2, "010000 FFFFFF 000080", [1, -1, -8388608]),
    ],
)
def test_raw_frames_hold_integers_of_one_to_three_bytes(kind: int, body: str, acc_mg: list[int]) -> None:
    read = parse_frame(frame(1.0, bytes.fromhex(body), kind=kind))
    assert read is not None
    assert read.last_ns == SECOND_NS
    assert read.acc_mg.tolist() == [acc_mg]


@pytest.mark.parametrize(("kind", "scale"), [(0x80, 0.00024399999 * 1000), (0x81, 0.00024399999)])
def test_compressed_frames_are_scaled_by_the_factor_of_the_start(kind: int, scale: float) -> None:
    read = parse_frame(frame(1.0, struct.pack("<3h", 4096, -4096, 0), kind=kind), factor=0.00024399999)
    assert read is not None
    assert read.acc_mg == pytest.approx(np.array([[4096, -4096, 0]]) * scale)


@given(
    st.lists(st.tuples(st.integers(1, 24), st.integers(0, 30), st.integers(0, 2**32)), min_size=0, max_size=5)
)
def test_deltas_come_out_as_the_slow_way_packed_them(blocks: list[tuple[int, int, int]]) -> None:
    reference = [100, -200, 1000]
    body = struct.pack("<3h", *reference)
    expected = [reference]
    for width, steps, seed in blocks:
        chance = random.Random(seed)
        deltas = [chance.randint(-(1 << width - 1), (1 << width - 1) - 1) for _ in range(3 * steps)]
        body += bytes([width, steps]) + packed(deltas, width)
        for place in range(0, len(deltas), 3):
            expected.append([a + b for a, b in zip(expected[-1], deltas[place : place + 3], strict=True)])
    assert parse_deltas(body).tolist() == expected


def test_deltas_of_no_bits_repeat_the_sample() -> None:
    assert parse_deltas(struct.pack("<3h", 1, 2, 3) + bytes([0, 4])).tolist() == [[1, 2, 3]] * 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (frame(1.0, b"")[:9], "malformed"),
        (frame(1.0, b""), "malformed"),
        (frame(1.0, b"\0" * 7), "malformed"),
        (frame(1.0, b"\0" * 6, kind=3), "unsupported_schema"),
        (frame(1.0, b"\0" * 6, kind=0x82), "unsupported_schema"),
        (frame(1.0, b"\0" * 5, kind=0x81), "malformed"),
        (frame(1.0, b"\0" * 6 + b"\x06", kind=0x81), "malformed"),
        (frame(1.0, b"\0" * 6 + b"\x06\x02\0", kind=0x81), "malformed"),
        (frame(1.0, b"\0" * 6 + b"\x21\x01" + b"\0" * 20, kind=0x81), "malformed"),
        (frame(1.0, b"\0" * 6 + b"\x00\xff" * 40, kind=0x81), "too_many_samples"),
        (frame(1.0, struct.pack("<3h", 32767, 0, 0), kind=0x80), "out_of_range"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        session().decode(DATA, data, arrival_s=0.0)
    assert refused.value.reason == reason


def test_frames_of_other_measurements_are_left_alone() -> None:
    assert session().decode(DATA, struct.pack("<BQB", 0, 1, 0) + b"\0" * 30, arrival_s=0.0) == []


@given(st.binary(max_size=300))
def test_random_frames_raise_nothing_but_decode_errors(data: bytes) -> None:
    tested = session()
    for payload in (data, b"\x02" + data, frame(1.0, data, kind=0x80), frame(1.0, data, kind=0x81)):
        with contextlib.suppress(DecodeError):
            tested.decode(DATA, payload, arrival_s=0.0)
    tested.decode(CONTROL, data, arrival_s=0.0)


def test_raw_integers_of_three_bytes_keep_their_sign() -> None:
    assert parse_raw(bytes.fromhex("FEFFFF 020000 00FFFF"), width=3).tolist() == [[-2, 2, -256]]


def test_samples_carry_the_devices_own_times() -> None:
    tested = session(sampling_rate_hz=50)
    body = np.tile([0, 0, 1000], (10, 1)).astype("<i2").tobytes()
    first = tested.decode(DATA, frame(100.0, body), arrival_s=1e9)[0]
    second = tested.decode(DATA, frame(100.2, body), arrival_s=1e9)[0]
    assert np.allclose(np.concatenate([first.t_s, second.t_s]), 99.82 + np.arange(20) * 0.02)
    assert first.device == "chest"
    assert first.sampling_rate_hz == 50.0
    assert first.acc_g.tolist() == [[0.0, 0.0, 1.0]] * 10


# --- settings


def test_settings_are_read() -> None:
    assert parse_settings(H10_SETTINGS) == {0: (25, 50, 100, 200), 1: (16,), 2: (2, 4, 8)}
    assert parse_settings(VERITY_SETTINGS) == {0: (52,), 1: (16,), 2: (8,), 4: (3,)}


@given(st.binary(max_size=60))
def test_settings_that_cannot_be_read_are_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_settings(data)


async def test_an_h10_starts_at_50_hz_and_8_g() -> None:
    tested, link = await started(Device())
    assert [data for _, data in link.written] == [
        bytes.fromhex("01 02"),
        bytes.fromhex("02 02 02 01 0800 00 01 3200 01 01 1000"),
    ]
    assert (tested.traits.sampling_rate_hz, tested.traits.range_g) == (50.0, 8.0)


async def test_the_vendors_start_command_comes_out() -> None:
    _, link = await started(Device(), sampling_rate_hz=200)
    assert link.written[-1][1] == bytes.fromhex("02 02 02 01 08 00 00 01 C8 00 01 01 10 00")


async def test_a_verity_sense_is_told_every_setting_it_lists() -> None:
    _, link = await started(Device(VERITY_SETTINGS, factor=0.000244))
    assert link.written[-1][1] == bytes.fromhex("02 02 02 01 0800 00 01 3400 01 01 1000 04 01 03")


async def test_answers_in_parts_are_put_together() -> None:
    device = Device()
    device.parts = 5
    tested, _ = await started(device)
    assert tested.traits.sampling_rate_hz == 50.0


async def test_a_device_that_streams_already_is_stopped_and_started_anew() -> None:
    device = Device()
    device.streaming = True
    _, link = await started(device)
    assert [data[:2] for _, data in link.written] == [b"\1\2", b"\2\2", b"\3\2", b"\2\2"]


async def test_a_verity_sense_enters_its_sdk_mode_on_request() -> None:
    tested, link = await started(Device(VERITY_SETTINGS), sdk_mode=True)
    assert link.written[0][1] == b"\x02\x09"
    await tested.stop(link)
    assert [data for _, data in link.written[-2:]] == [b"\x03\x02", b"\x03\x09"]


async def test_a_rate_that_the_device_does_not_offer_is_refused_with_those_it_does() -> None:
    with pytest.raises(LinkError, match=r"rate of 52 Hz, but 25, 50, 100, 200"):
        await started(Device(), sampling_rate_hz=52)
    with pytest.raises(LinkError, match=r"range of 16 g, but 2, 4, 8"):
        await started(Device(), range_g=16)


async def test_a_device_without_acceleration_is_refused() -> None:
    tested = session()
    with pytest.raises(LinkError, match="no acceleration"):
        await tested.start(linked(tested, Device(), features=b"\x0f\x01\x00"))


async def test_a_refusal_is_told_in_words() -> None:
    device = Device()
    device.status = 13
    with pytest.raises(LinkError, match="charging"):
        await started(device)


async def test_a_device_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polar, "_ANSWER_S", 0.01)
    tested = session()
    with pytest.raises(LinkError, match="no answer to 0102"):
        await tested.start(FakeLink(values={CONTROL: b"\x0f\x05\x00"}))


async def test_an_answer_without_end_is_given_up() -> None:
    tested = session()
    link = FakeLink(
        values={CONTROL: b"\x0f\x05\x00"},
        answer=lambda _, command: [bytes([0xF0, command[0], command[1], 0, 1])] * 100,
        notified=lambda uuid, data: tested.decode(uuid, data, arrival_s=0.0),
    )
    with pytest.raises(LinkError, match="no end"):
        await tested.start(link)


async def test_a_factor_that_nothing_measures_is_refused() -> None:
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(LinkError, match="scales"):
            await started(Device(factor=factor))


async def test_the_factor_scales_what_follows() -> None:
    tested, _ = await started(Device(VERITY_SETTINGS, factor=0.5))
    samples = tested.decode(DATA, frame(1.0, struct.pack("<3h", 2000, 0, 0), kind=0x81), arrival_s=0.0)
    assert samples[0].acc_g.tolist() == [[1.0, 0.0, 0.0]]


async def test_a_device_without_a_factor_has_one_of_1() -> None:
    tested, _ = await started(Device(factor=None))
    samples = tested.decode(DATA, frame(1.0, struct.pack("<3h", 1000, 0, 0), kind=0x81), arrival_s=0.0)
    assert samples[0].acc_g.tolist() == [[1.0, 0.0, 0.0]]


# --- the profile


@pytest.mark.parametrize(
    "options", [{"sampling_rate_hz": 5}, {"range_g": 3}, {"sdk_mode": "yes"}, {"rate": 50}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        session(**options)


def test_polars_devices_are_recognised_by_name() -> None:
    assert PROFILE.matches(Advertisement("A", "Polar H10 A1B2C3D4", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("A", "Polaroid", frozenset({polar.HEART_RATE}), -50))
