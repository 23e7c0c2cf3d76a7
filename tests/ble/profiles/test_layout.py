from __future__ import annotations

import struct

import pytest

from vskd_stream.errors import DecodeError
from vskd_stream.sources.ble.profiles._layout import Block, Constant, Layout, Number, Part, ValueType

XYZ = Block(("x", "y", "z"), "i16", 1)


def layout(*parts: Part, byte_order: str = "little") -> Layout:
    return Layout(parts, byte_order="big" if byte_order == "big" else "little")


def test_numbers_constants_and_samples_are_read_in_their_order() -> None:
    packet = layout(
        Constant(bytes.fromhex("a55a")),
        Number("sequence", "u16"),
        Constant(b"", 1),
        Number("tick", "u32"),
        Block(("x", "y", "z"), "i16", 2),
    ).parse(bytes.fromhex("a55a 0102 ff 01020304") + struct.pack("<6h", 1, -2, 3, 4, 5, -6))
    assert (packet.sequence, packet.tick) == (0x0201, 0x04030201)
    assert packet.acc.tolist() == [[1, -2, 3], [4, 5, -6]]
    assert packet.gyro is None


def test_big_endian_is_the_other_way_round() -> None:
    packet = layout(Number("sequence", "u16"), XYZ, byte_order="big").parse(
        bytes.fromhex("0102") + struct.pack(">3h", 1, -2, 3)
    )
    assert packet.sequence == 0x0102
    assert packet.acc.tolist() == [[1, -2, 3]]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("i8", "b"),
        ("u8", "B"),
        ("i16", "h"),
        ("u16", "H"),
        ("i32", "i"),
        ("u32", "I"),
        ("f32", "f"),
        ("f64", "d"),
    ],
)
def test_every_type_of_value_is_read(kind: ValueType, code: str) -> None:
    values = (1, 2, 120) if kind.startswith("u") else (1, -2, 120)
    packet = layout(Block(("x", "y", "z"), kind, 1)).parse(struct.pack(f"<3{code}", *values))
    assert packet.acc.tolist() == [list(values)]


def test_axes_stand_in_any_order_turned_or_unused() -> None:
    packet = layout(Block(("-y", "_", "z", "x"), "i8", None)).parse(bytes([1, 99, 3, 4, 5, 99, 7, 8]))
    assert packet.acc.tolist() == [[4, -1, 3], [8, -5, 7]]


def test_angular_rates_may_stand_beside_or_behind_accelerations() -> None:
    beside = layout(Block(("x", "y", "z", "gx", "gy", "-gz"), "i8", None)).parse(bytes(range(1, 13)))
    assert beside.gyro is not None
    assert beside.gyro.tolist() == [[4, 5, -6], [10, 11, -12]]
    behind = layout(Block(("x", "y", "z"), "i8", 2), Block(("gx", "gy", "gz"), "i8", 2)).parse(
        bytes(range(12))
    )
    assert behind.acc.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert behind.gyro is not None
    assert behind.gyro.tolist() == [[6, 7, 8], [9, 10, 11]]


def test_what_follows_a_filling_block_is_found_at_the_end() -> None:
    packet = layout(Block(("x", "y", "z"), "i8", None), Number("sequence", "u8")).parse(
        bytes([1, 2, 3, 4, 5, 6, 9])
    )
    assert packet.sequence == 9
    assert packet.acc.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("data", [b"", bytes(5), bytes(7), bytes(12)])
def test_a_packet_of_another_length_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="malformed"):
        layout(XYZ).parse(data)


@pytest.mark.parametrize("data", [b"", b"\0", bytes(2), bytes(7), bytes(13)])
def test_a_packet_without_whole_samples_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="malformed"):
        layout(Number("sequence", "u16"), Block(("x", "y", "z"), "i16", None)).parse(data)


def test_a_packet_with_another_constant_is_refused() -> None:
    with pytest.raises(DecodeError, match="00ff at byte 0, where a55a must stand"):
        layout(Constant(bytes.fromhex("a55a")), XYZ).parse(bytes.fromhex("00ff") + bytes(6))


def test_a_packet_of_more_samples_than_a_payload_may_have_is_refused() -> None:
    with pytest.raises(DecodeError, match="too_many_samples"):
        layout(Block(("x", "y", "z"), "i8", None)).parse(bytes(3 * 8193))


def test_blocks_that_give_different_numbers_of_samples_are_refused() -> None:
    mixed = layout(Block(("x", "y", "z"), "i8", 2), Block(("gx", "gy", "gz"), "i8", None))
    with pytest.raises(DecodeError, match="2 accelerations and 1 angular rates"):
        mixed.parse(bytes(9))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((Number("tick", "u32"),), "no x, y, z"),
        ((Block(("x", "y"), "i16", 1),), "no z"),
        ((Block(("x", "y", "z", "x"), "i16", 1),), "x stands more than once"),
        ((Block(("x", "y", "z", "gx"), "i16", 1),), "some of gx, gy and gz"),
        ((XYZ, Number("tick", "u8"), Number("tick", "u8")), "more than one tick"),
        ((Block(("x", "y", "z"), "i8", None), Block(("_",), "i8", None)), "more than one samples block"),
        ((Block(("x", "y", "z"), "i8", 2), Block(("gx", "gy", "gz"), "i8", 3)), "differ in count"),
    ],
)
def test_a_layout_without_whole_samples_is_none(parts: tuple[Part, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout(*parts)
