"""The native batch, schema version 1: one struct, read from JSON or from MessagePack.

The schema has a version, so a field that it does not know is refused, not ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode import _msgpack, limits
from vskd_stream.decode.limits import refusal
from vskd_stream.errors import DecodeError
from vskd_stream.samples import Epoch, Samples

SCHEMA_VERSION: Final = 1
MAX_TICK: Final = 2**53
"""Up to here every tick is a double, so that equal ticks have equal times whatever the batch."""
MAX_TICK_RATE_HZ: Final = 1e9
"""Ticks of a nanosecond are the finest in use."""

_INDICES = np.arange(limits.MAX_SAMPLES, dtype=np.float64)
_ABSENT = msgspec.Raw()
_Vector = tuple[float, float, float]


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The wire format; arrays stay raw until they have been counted, so that a bomb is never built."""

    schema: int
    device: str | None = None
    sequence: Annotated[int, limits.SEQUENCE_RANGE] | None = None
    sampling_rate_hz: float
    first_tick: int | None = None
    tick_rate_hz: float | None = None
    times_s: msgspec.Raw = _ABSENT
    epoch: Epoch | None = None
    unit: str
    acc: msgspec.Raw
    gyro: msgspec.Raw = _ABSENT
    gyro_unit: str | None = None


class _Version(msgspec.Struct, frozen=True):
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class _Codec:
    what: str
    batch: limits.Parser[_Batch]
    version: limits.Parser[_Version]
    vectors: limits.Parser[list[_Vector] | None]
    times: limits.Parser[list[float] | None]
    count_vectors: Callable[[bytes], int]
    count_times: Callable[[bytes], int]


def _count_json_arrays(array: bytes) -> int:
    return array.count(b"[") - 1


def _count_json_numbers(array: bytes) -> int:
    return array.count(b",") + 1


def _count_msgpack(array: bytes) -> int:
    head = array[0]
    if head == 0xDC:
        return int.from_bytes(array[1:3], "big")
    # Any other head is an array of at most 15 elements, or none: the parser will tell.
    return int.from_bytes(array[1:5], "big") if head == 0xDD else 0


_JSON = _Codec(
    what="native batch (JSON)",
    batch=msgspec.json.Decoder(_Batch),
    version=msgspec.json.Decoder(_Version),
    vectors=msgspec.json.Decoder(list[_Vector] | None),
    times=msgspec.json.Decoder(list[float] | None),
    count_vectors=_count_json_arrays,
    count_times=_count_json_numbers,
)
_MSGPACK = _Codec(
    what="native batch (MessagePack)",
    batch=msgspec.msgpack.Decoder(_Batch),
    version=msgspec.msgpack.Decoder(_Version),
    vectors=msgspec.msgpack.Decoder(list[_Vector] | None),
    times=msgspec.msgpack.Decoder(list[float] | None),
    count_vectors=_count_msgpack,
    count_times=_count_msgpack,
)


def _joined(words: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Words as kernels take them: one behind the other, and where each ends."""
    encoded = [word.encode() for word in words]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(each) for each in encoded])


_PLAIN_KEYS = _joined(_msgpack.KEYS)
_PLAIN_UNITS = _joined(limits.ACC_UNITS_PER_G)
_UNITS_PER_G = np.array(list(limits.ACC_UNITS_PER_G.values()))
_PLAIN_LIMITS = np.zeros(8)
_PLAIN_LIMITS[_msgpack.MOST_SAMPLES] = limits.MAX_SAMPLES
_PLAIN_LIMITS[_msgpack.MOST_G] = limits.MAX_ACC_G
_PLAIN_LIMITS[_msgpack.LEAST_RATE] = limits.MIN_RATE_HZ
_PLAIN_LIMITS[_msgpack.MOST_RATE] = limits.MAX_RATE_HZ
_PLAIN_LIMITS[_msgpack.MOST_TICK_RATE] = MAX_TICK_RATE_HZ
_PLAIN_LIMITS[_msgpack.LATEST_TICK] = MAX_TICK
_PLAIN_LIMITS[_msgpack.LATEST_S] = limits.MAX_DEVICE_TIME_S
_PLAIN_LIMITS[_msgpack.SCHEMA] = SCHEMA_VERSION


def decode_json(payload: bytes, *, device: str | None, sampling_rate_hz: float | None) -> list[Samples]:
    """Decode a JSON object; the batch tells its rate, ``sampling_rate_hz`` is not used."""
    del sampling_rate_hz
    return [_decode(payload, codec=_JSON, device=device)]


def decode_msgpack(payload: bytes, *, device: str | None, sampling_rate_hz: float | None) -> list[Samples]:
    """Decode a MessagePack map; the batch tells its rate, ``sampling_rate_hz`` is not used."""
    del sampling_rate_hz
    return _plain(payload, device) or [_decode(payload, codec=_MSGPACK, device=device)]


def _decode(payload: bytes, *, codec: _Codec, device: str | None) -> Samples:
    batch = _batch(payload, codec)
    device = limits.device_id(device, batch.device)
    acc = _vectors(codec, batch.acc, what="acc")
    if acc is None:
        raise refusal("malformed", "acc is null; send [[x, y, z], ...]")
    units_per_g = _units(batch.unit, limits.ACC_UNITS_PER_G, what="unit")
    # Before any arithmetic: a signalling NaN, which MessagePack can bring, would raise a warning there.
    limits.check_vectors(acc, limit=limits.MAX_ACC_G * units_per_g, unit=batch.unit, what="acc")
    gyro_dps = _gyro_dps(batch, codec, count=len(acc))
    limits.check_rate(batch.sampling_rate_hz, what="sampling_rate_hz")
    return limits.make_samples(
        device=device,
        t_s=_t_s(batch, codec, count=len(acc)),
        acc_g=acc if units_per_g == 1.0 else acc / units_per_g,
        sampling_rate_hz=batch.sampling_rate_hz,
        epoch=batch.epoch or "device",
        sequence=batch.sequence,
        gyro_dps=gyro_dps,
    )


def _plain(payload: bytes, device: str | None) -> list[Samples]:
    """What nearly all batches are, ticks and acceleration within all limits; nothing: look more closely."""
    acc_g, t_s, rate_hz, sequence, begin, end = _msgpack.batch(
        np.frombuffer(payload, np.uint8), *_PLAIN_KEYS, *_PLAIN_UNITS, _UNITS_PER_G, _PLAIN_LIMITS
    )
    if not len(t_s):
        return []
    device = limits.device_id(device, payload[begin:end].decode() if begin >= 0 else None)
    return [Samples(device, t_s, acc_g, rate_hz, sequence=sequence if sequence >= 0 else None)]


def _batch(payload: bytes, codec: _Codec) -> _Batch:
    try:
        batch = limits.parse(codec.batch, payload, what=codec.what)
    except DecodeError:
        # A later schema has fields that this one does not know: then its number is the better answer.
        _check_version(limits.parse(codec.version, payload, what=codec.what).schema)
        raise
    if batch.schema != SCHEMA_VERSION:
        _check_version(batch.schema)
    return batch


def _check_version(schema: int) -> None:
    if schema != SCHEMA_VERSION:
        number = schema if abs(schema) < 2**31 else "some huge number"
        raise refusal(
            "unsupported_schema",
            f"schema is {number}, this decoder knows {SCHEMA_VERSION}; update one of the two",
        )


def _vectors(codec: _Codec, array: msgspec.Raw, *, what: str) -> NDArray[np.float64] | None:
    data = bytes(array)
    limits.check_count(codec.count_vectors(data), what=what)
    rows = limits.parse(codec.vectors, data, what=what)
    if rows is None:
        return None
    return np.fromiter(chain.from_iterable(rows), np.float64, 3 * len(rows)).reshape(-1, 3)


def _units(unit: str, known: dict[str, float], *, what: str) -> float:
    if unit not in known:
        raise refusal("unknown_unit", f"{what} is {limits.quote_name(unit)}; known are {', '.join(known)}")
    return known[unit]


def _gyro_dps(batch: _Batch, codec: _Codec, *, count: int) -> NDArray[np.float64] | None:
    gyro = None if batch.gyro is _ABSENT else _vectors(codec, batch.gyro, what="gyro")
    if gyro is None:
        return None
    if len(gyro) != count:
        raise refusal("malformed", f"gyro has {len(gyro)} samples and acc {count}; send one for each")
    if batch.gyro_unit is None:
        raise refusal("unknown_unit", "gyro has no gyro_unit; add deg/s or rad/s")
    units_per_dps = _units(batch.gyro_unit, limits.GYRO_UNITS_PER_DPS, what="gyro_unit")
    limits.check_vectors(gyro, limit=limits.MAX_GYRO_DPS * units_per_dps, unit=batch.gyro_unit, what="gyro")
    return gyro / units_per_dps


def _t_s(batch: _Batch, codec: _Codec, *, count: int) -> NDArray[np.float64]:
    times = None if batch.times_s is _ABSENT else _times(codec, batch.times_s)
    if times is None:
        return _t_s_of_ticks(batch, count=count)
    if batch.first_tick is not None or batch.tick_rate_hz is not None:
        raise refusal(
            "malformed", "both times_s and ticks are given; send first_tick and tick_rate_hz, or times_s"
        )
    if len(times) != count:
        raise refusal("malformed", f"times_s has {len(times)} elements and acc {count}; send one for each")
    return np.array(times, np.float64)


def _times(codec: _Codec, array: msgspec.Raw) -> list[float] | None:
    data = bytes(array)
    limits.check_count(codec.count_times(data), what="times_s")
    return limits.parse(codec.times, data, what="times_s")


def _t_s_of_ticks(batch: _Batch, *, count: int) -> NDArray[np.float64]:
    if batch.first_tick is None or batch.tick_rate_hz is None:
        raise refusal("malformed", "the batch has no times; send first_tick and tick_rate_hz, or times_s")
    if batch.epoch == "utc":
        raise refusal("malformed", 'ticks are the device\'s own time; epoch "utc" goes with times_s')
    if not limits.MIN_RATE_HZ <= batch.tick_rate_hz <= MAX_TICK_RATE_HZ:
        raise refusal(
            "bad_rate",
            f"tick_rate_hz is {batch.tick_rate_hz:.6g}, not {limits.MIN_RATE_HZ:g} to {MAX_TICK_RATE_HZ:g}",
        )
    if not 0 <= batch.first_tick <= MAX_TICK:
        raise refusal("bad_time", "first_tick is outside 0 to 2^53; count ticks since the device started")
    # Ticks first, seconds last: where a sample takes a whole number of ticks, its time then depends on
    # its own tick alone, bit by bit, wherever the sender cut its batches.
    ticks = batch.first_tick + _INDICES[:count] * (batch.tick_rate_hz / batch.sampling_rate_hz)
    return np.asarray(ticks / batch.tick_rate_hz, np.float64)
