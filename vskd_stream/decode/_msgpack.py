"""The numba kernel of ``native``: a batch in MessagePack, read, checked and converted in one call.

It refuses nothing: what is not as nearly all is, it leaves to the parser that can say what is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for, jit_inner

_FLOAT64, _FLOAT32, _UINT8, _UINT16, _UINT64, _INT8, _INT16 = 0xCB, 0xCA, 0xCC, 0xCD, 0xCF, 0xD0, 0xD1
_ARRAY16, _STR8 = 0xDC, 0xD9
_THREE = 0x93
"""The head of an array of three."""

_SCHEMA, _DEVICE, _SEQUENCE, _RATE, _FIRST_TICK, _TICK_RATE, _UNIT, _ACC, _DEVICE_END = range(9)
KEYS = ("schema", "device", "sequence", "sampling_rate_hz", "first_tick", "tick_rate_hz", "unit", "acc")
"""Of the fields that nearly all batches have: these, of which ``device`` and ``sequence`` may be absent."""
MOST_SAMPLES, MOST_G, LEAST_RATE, MOST_RATE, MOST_TICK_RATE, LATEST_TICK, LATEST_S, SCHEMA = range(8)
"""Where the limits are that ``batch`` is told."""


@jit_inner
def _byte(data: NDArray[np.uint8], at: int) -> int:
    # An unsigned one would make floating point of what is computed from it.
    return int(np.int64(data[at]))


@jit_inner
def _big_endian(data: NDArray[np.uint8], at: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for i in range(size):
        value = (value << np.uint64(8)) | np.uint64(data[at + i])
    return value


@jit_inner
def _four(data: NDArray[np.uint8], at: int) -> np.uint64:
    # Spelled out, as a loop over a size that is not known takes eight times as long.
    high = np.uint64(data[at]) << np.uint64(24) | np.uint64(data[at + 1]) << np.uint64(16)
    return high | np.uint64(data[at + 2]) << np.uint64(8) | np.uint64(data[at + 3])


@jit_inner
def _eight(data: NDArray[np.uint8], at: int) -> np.uint64:
    return _four(data, at) << np.uint64(32) | _four(data, at + 4)


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
        bits[0] = _eight(data, at + 1)
        return np.float64(as_float64[0])
    if head == _FLOAT32:
        bits[0] = _four(data, at + 1)
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
def _whole(data: NDArray[np.uint8], at: int) -> np.int64:
    """A number that counts; -1: another one, or none."""
    head = np.int64(data[at]) if at < len(data) else np.int64(0xFF)
    if head < 0x80:
        return head
    size = int(1 << (head - _UINT8)) if _UINT8 <= head <= _UINT64 else len(data)
    # What would be negative is more than anyone counts.
    return np.int64(_big_endian(data, at + 1, size)) if at + size < len(data) else np.int64(-1)


@jit_inner
def _behind(data: NDArray[np.uint8], at: int) -> int:
    """Where a number ends."""
    head = data[at]
    return at + 1 + (int(1 << (np.int64(head) - _UINT8)) if _UINT8 <= head <= _UINT64 else 0)


@jit_inner
def _word(data: NDArray[np.uint8], at: int, words: NDArray[np.uint8], ends: NDArray[np.int64]) -> int:
    """Which of the words, one behind the other, the string there is; -1: none."""
    if at >= len(data) or data[at] & 0xE0 != 0xA0:
        return -1
    length = np.int64(data[at] & 0x1F)
    if at + length >= len(data):
        return -1
    begin = 0
    for word in range(len(ends)):
        if ends[word] - begin == length:
            is_it = True
            for i in range(length):
                is_it &= data[at + 1 + i] == words[begin + i]
            if is_it:
                return word
        begin = ends[word]
    return -1


@jit_inner
def _plain_text(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Where an ASCII string begins and ends; -1: another one, or none."""
    if at + 1 >= len(data) or not (data[at] & 0xE0 == 0xA0 or data[at] == _STR8):
        return -1, -1
    is_short = data[at] != _STR8
    begin = at + 1 if is_short else at + 2
    end = begin + ((_byte(data, at) & 0x1F) if is_short else _byte(data, at + 1))
    is_plain = end <= len(data)
    for i in range(begin, end if is_plain else begin):
        is_plain &= data[i] < 0x80
    return (begin, end) if is_plain else (-1, -1)


@jit_inner
def _count(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Elements of an array, 0 if there is none, and where they begin."""
    if at < len(data) and data[at] & 0xF0 == 0x90:
        return (_byte(data, at) & 0x0F), at + 1
    if at + 2 < len(data) and data[at] == _ARRAY16:
        return _byte(data, at + 1) << 8 | _byte(data, at + 2), at + 3
    return 0, at


@jit_inner
def _vectors(data: NDArray[np.uint8], at: int, out: NDArray[np.float64], bits: NDArray[np.uint64]) -> int:
    """Read vectors into ``out`` (count, 3); where they end, or -1."""
    as_float64, as_float32 = bits.view(np.float64), bits.view(np.float32)
    out_bits = out.view(np.uint64)
    for row in range(len(out)):
        if at >= len(data) or data[at] != _THREE:
            return -1
        at += 1
        for axis in range(3):
            if at + 8 < len(data) and data[at] == _FLOAT64:
                out_bits[row, axis] = _eight(data, at + 1)
                at += 9
                continue
            size = _size(data[at]) if at < len(data) else -1
            if size < 0 or at + size >= len(data):
                return -1
            out[row, axis] = _number(data, at, bits, as_float64, as_float32)
            at += 1 + size
    return at


@jit_inner
def _read(  # noqa: PLR0911, PLR0912 (each is something that the parser alone can name)
    data: NDArray[np.uint8],
    keys: NDArray[np.uint8],
    key_ends: NDArray[np.int64],
    units: NDArray[np.uint8],
    unit_ends: NDArray[np.int64],
    most: int,
    whole: NDArray[np.int64],
    rates: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The vectors of a map that has nothing but ``KEYS``, each once; none: of any other."""
    bits = np.zeros(1, np.uint64)
    as_float64, as_float32 = bits.view(np.float64), bits.view(np.float32)
    acc, nothing = np.empty((0, 3)), np.empty((0, 3))
    whole[:] = -1
    if len(data) == 0 or data[0] & 0xF0 != 0x80:
        return nothing
    at = 1
    for _ in range(data[0] & 0x0F):
        key = _word(data, at, keys, key_ends)
        if key < 0 or whole[key] >= 0:
            return nothing
        at += 1 + (_byte(data, at) & 0x1F)
        if key == _ACC:
            count, at = _count(data, at)
            if not 0 < count <= most:
                return nothing
            acc = np.empty((count, 3))
            at = _vectors(data, at, acc, bits)
            if at < 0:
                return nothing
            whole[key] = count
        elif key == _UNIT:
            whole[key] = _word(data, at, units, unit_ends)
            if whole[key] < 0:
                return nothing
            at += 1 + (_byte(data, at) & 0x1F)
        elif key == _DEVICE:
            whole[key], at = _plain_text(data, at)
            whole[_DEVICE_END] = at
            if at < 0:
                return nothing
        elif key in (_RATE, _TICK_RATE):
            size = _size(data[at]) if at < len(data) else -1
            if size < 0 or at + size >= len(data):
                return nothing
            rates[key] = _number(data, at, bits, as_float64, as_float32)
            whole[key] = 0
            at += 1 + size
        else:
            whole[key] = _whole(data, at)
            if whole[key] < 0:
                return nothing
            at = _behind(data, at)
    return acc if at == len(data) else nothing


@jit_for(
    "Tuple((float32[:, ::1], float64[::1], float64, int64, int64, int64))("
    "Array(uint8, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64[::1],"
    " Array(uint8, 1, 'C', readonly=True), int64[::1], float64[::1], float64[::1])",
    nogil=False,
)
def batch(
    data: NDArray[np.uint8],
    keys: NDArray[np.uint8],
    key_ends: NDArray[np.int64],
    units: NDArray[np.uint8],
    unit_ends: NDArray[np.int64],
    units_per_g: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float64], float, int, int, int]:
    """Read a batch that has what it must of ``KEYS``, and nothing else.

    Every number must lie within the ``limits``, and the times of the ticks increase strictly.

    Returns:
        (n, 3) acceleration in g, (n,) stream times, the nominal rate, the sequence number or -1, and where
        the device's name begins and ends, or -1. n is 0 where something is otherwise: let the parser tell.
    """
    whole, rates = np.empty(len(key_ends) + 1, np.int64), np.zeros(len(key_ends))
    raw = _read(data, keys, key_ends, units, unit_ends, int(limits[MOST_SAMPLES]), whole, rates)
    count = len(raw)
    rate_hz, tick_rate_hz, first = rates[_RATE], rates[_TICK_RATE], float(whole[_FIRST_TICK])
    is_good = (
        count > 0
        and whole[_SCHEMA] == limits[SCHEMA]
        and whole[_UNIT] >= 0
        and limits[LEAST_RATE] <= rate_hz <= limits[MOST_RATE]
        and limits[LEAST_RATE] <= tick_rate_hz <= limits[MOST_TICK_RATE]
        and 0.0 <= first <= limits[LATEST_TICK]
    )
    if not is_good:
        return np.empty((0, 3), np.float32), np.empty(0), 0.0, -1, -1, -1
    acc_g, t_s = np.empty((count, 3), np.float32), np.empty(count)
    one_g, most_g = units_per_g[whole[_UNIT]], limits[MOST_G]
    ticks_per_sample = tick_rate_hz / rate_hz
    for i in range(count):
        t_s[i] = (first + i * ticks_per_sample) / tick_rate_hz
        is_good &= i == 0 or t_s[i - 1] < t_s[i]
        for axis in range(3):
            # A NaN, of which every comparison is false, comes into no arithmetic: one that signals warns.
            if abs(raw[i, axis]) <= most_g * one_g:
                value = raw[i, axis] / one_g
                is_good &= abs(value) <= most_g
                acc_g[i, axis] = value
            else:
                is_good = False
    if not is_good or t_s[-1] > limits[LATEST_S]:
        return np.empty((0, 3), np.float32), np.empty(0), 0.0, -1, -1, -1
    return acc_g, t_s, rate_hz, whole[_SEQUENCE], whole[_DEVICE], whole[_DEVICE_END]
