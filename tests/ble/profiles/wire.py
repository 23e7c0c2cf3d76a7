"""Builds what devices send, straight from their formats: floats and integers in, bytes out."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Vector = Sequence[float]


def microbit(*raw: int) -> bytes:
    """x, y, z in 1024ths of g, where gravity pulls."""
    return struct.pack("<3h", *raw)


def thingy52(acc: Sequence[int], gyro: Sequence[int] = (0, 0, 0), mag: Sequence[int] = (0, 0, 0)) -> bytes:
    """Counts: 1024 to the g, pointing down; 32 to the degree per second."""
    return struct.pack("<9h", *acc, *gyro, *mag)


def floats(*values: float) -> bytes:
    """Single precision."""
    return struct.pack(f"<{len(values)}f", *values)


def xsens(tick_us: int, acc_mps2: Vector, gyro_dps: Vector = (0.0, 0.0, 0.0)) -> bytes:
    """Rate quantities."""
    return struct.pack("<I", tick_us % 2**32) + floats(*acc_mps2, *gyro_dps)


def witmotion(
    acc: Sequence[int], gyro: Sequence[int] = (0, 0, 0), angle: Sequence[int] = (0, 0, 16384)
) -> bytes:
    """One frame; counts of 16 g, 2000 deg/s and 180 degrees over 32768."""
    return b"\x55\x61" + struct.pack("<9h", *acc, *gyro, *angle)


def movesense(
    tick_ms: int, acc: Sequence[Vector], gyro: Sequence[Vector] = (), *, reference: int = 1, kind: int = 2
) -> bytes:
    """A measurement in one part, its head included."""
    head = bytes([kind, reference]) + struct.pack("<I", tick_ms % 2**32)
    return head + b"".join(floats(*vector) for vector in (*acc, *gyro))


def movesense_parts(notification: bytes, length: int) -> tuple[bytes, bytes]:
    """Cut a measurement into the two notifications that a small MTU makes of it."""
    return notification[:length], bytes([3, notification[1]]) + notification[length:]


def bangle(number: int, tick_ms: int, raw: Sequence[Sequence[int]]) -> bytes:
    """A frame; counts of 4096 to the g, on the axes of the screen."""
    body = b"".join(struct.pack("<3h", *vector) for vector in raw)
    head = struct.pack("<2sBBHHI", b"\xb5\x56", len(raw), 1, number % 2**16, 0, tick_ms % 2**32)
    total = sum(head) + sum(body)
    return head[:6] + struct.pack("<H", total) + head[8:] + body


def bangle_greeting(*, rate_hz: float = 50.0, range_g: int = 8) -> bytes:
    """What the program says first."""
    return bangle(range_g, round(rate_hz * 1000), [])
