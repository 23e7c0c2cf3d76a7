"""The numba kernel of ``native``: vectors in MessagePack, read, checked and converted in one pass.

It refuses nothing: what is not as nearly all is, it leaves to the parser that can say what is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for, jit_inner

_FLOAT64, _FLOAT32, _UINT8, _UINT16, _INT8, _INT16 = 0xCB, 0xCA, 0xCC, 0xCD, 0xD0, 0xD1
_ARRAY16 = 0xDC
_THREE = 0x93
"""The head of an array of three."""


@jit_inner
def _big_endian(data: NDArray[np.uint8], at: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | np.uint64(data[at + i])
    return value


@jit_inner
def _size(head: int) -> int:
    """Bytes of a number behind its head; -1: no number, or one that is rare."""
    if head < 0x80 or head >= 0xE0:
        return 0
    if head == _FLOAT64:
        return 8
    if head == _FLOAT32:
        return 4
    if head in (_UINT16, _INT16):
        return 2
    return 1 if head in (_UINT8, _INT8) else -1


@jit_inner
def _number(
    data: NDArray[np.uint8],
    at: int,
    bits: NDArray[np.uint64],
    as_float64: NDArray[np.float64],
    as_float32: NDArray[np.float32],
) -> np.float64:
    head = data[at]
    if head == _FLOAT64:
        bits[0] = _big_endian(data, at + 1, 8)
        return np.float64(as_float64[0])
    if head == _FLOAT32:
        bits[0] = _big_endian(data, at + 1, 4)
        return np.float64(as_float32[0])
    value = np.int64(head)
    if head in (_UINT8, _INT8):
        value = np.int64(data[at + 1])
    elif head in (_UINT16, _INT16):
        value = np.int64(_big_endian(data, at + 1, 2))
    # What is negative is stored as its two's complement.
    if head >= 0xE0 or (head == _INT8 and value >= 2**7):
        value -= 2**8
    elif head == _INT16 and value >= 2**15:
        value -= 2**16
    return np.float64(value)


@jit_inner
def _count(data: NDArray[np.uint8]) -> np.int64:
    """Vectors that the array says it has; 0: another head than those of arrays."""
    found = np.int64(0)
    if len(data) > 0 and data[0] & 0xF0 == 0x90:
        found = np.int64(data[0]) & 0x0F
    elif len(data) > 2 and data[0] == _ARRAY16:
        found = np.int64(data[1]) << 8 | np.int64(data[2])
    return found


@jit_inner
def _vectors(
    data: NDArray[np.uint8], units: float, limit: float, limit_converted: float, out: NDArray[np.float32]
) -> bool:
    at = 1 if data[0] != _ARRAY16 else 3
    bits = np.zeros(1, np.uint64)
    as_float64, as_float32 = bits.view(np.float64), bits.view(np.float32)
    for row in range(len(out)):
        if at >= len(data) or data[at] != _THREE:
            return False
        at += 1
        for axis in range(3):
            size = _size(data[at]) if at < len(data) else -1
            if size < 0 or at + size >= len(data):
                return False
            value = _number(data, at, bits, as_float64, as_float32)
            at += 1 + size
            # Told by a NaN as well, of which every comparison is false.
            if not abs(value) <= limit:
                return False
            value /= units
            if not abs(value) <= limit_converted:
                return False
            out[row, axis] = value
    return at == len(data)


@jit_inner
def _times(
    first_tick: int, ticks_per_sample: float, tick_rate_hz: float, latest_s: float, out: NDArray[np.float64]
) -> bool:
    first = float(first_tick)
    is_increasing = True
    for i in range(len(out)):
        out[i] = (first + i * ticks_per_sample) / tick_rate_hz
        is_increasing &= i == 0 or out[i - 1] < out[i]
    return is_increasing and out[0] >= 0.0 and out[-1] <= latest_s


@jit_for(
    "Tuple((float32[:, ::1], float64[::1]))(Array(uint8, 1, 'C', readonly=True), int64, float64, float64,"
    " float64, int64, float64, float64, float64)",
    nogil=False,
)
def samples(
    data: NDArray[np.uint8],
    most: int,
    units: float,
    limit: float,
    limit_converted: float,
    first_tick: int,
    ticks_per_sample: float,
    tick_rate_hz: float,
    latest_s: float,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read 1 to ``most`` vectors, divided by ``units``, and make the stream times of their ticks.

    Every number must lie within ``limit``, and once it is divided within ``limit_converted``; the times must
    increase strictly, from 0 on to ``latest_s``.

    Returns:
        (count, 3) and (count,); (0, 3) and (0,): let the parser say why not.
    """
    count = _count(data)
    if 0 < count <= most:
        acc, t_s = np.empty((count, 3), np.float32), np.empty(count)
        if _vectors(data, units, limit, limit_converted, acc) and _times(
            first_tick, ticks_per_sample, tick_rate_hz, latest_s, t_s
        ):
            return acc, t_s
    return np.empty((0, 3), np.float32), np.empty(0)
