"""Messages of the app Sensor Logger, for Android, Wear OS, iOS and Apple Watch.

Its own documentation (PUSHING.md, UNITS.md, CROSSPLATFORM.md of tszheichoi/awesome-sensor-logger) gives
the names, units and signs. Of a phone, the first of these that a message has in full is taken:

- ``accelerometer`` plus ``gravity``, both in m/s²: ``accelerometer`` alone has gravity taken out;
- ``totalacceleration`` (Android), in m/s², gravity included;
- ``accelerometeruncalibrated``, gravity included: m/s², but g from iOS.

An iPhone counts acceleration and gravity with the opposite sign of Android, unless the app's setting
"Standardise Units & Frames" is on: hence two formats. ``gyroscope`` has the same sign on both.

``wrist motion`` is the watch's. It wears the phone's id, but must not be mixed with the phone's own
samples, so it becomes a device of its own: the id with ``WRIST_SUFFIX``. The setting shows in its
gravity, which has a length of 1 in g (off: Apple's signs) or of 9.8 in m/s² (on: Android's signs).

All other sensors are left alone, whatever they send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Annotated, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode import limits
from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2, refusal
from vskd_stream.errors import DecodeError
from vskd_stream.samples import Samples

WRIST_SUFFIX: Final = "-wrist"
"""Follows the id of the phone that a watch reports through."""
MAX_GRAVITY_DISTANCE_S: Final = 0.2
"""An acceleration further than this from every gravity reading is dropped: the wrist may have turned."""
GRAVITY_LENGTH_TOLERANCE: Final = 0.25
"""Relative; the fused gravity is 1 g long, and g and m/s² lie a factor of ten apart."""

_SENSORS: Final = {
    "accelerometer": "accelerometer",
    "gravity": "gravity",
    "totalacceleration": "totalacceleration",
    "accelerometeruncalibrated": "accelerometeruncalibrated",
    "gyroscope": "gyroscope",
    "wrist motion": "wrist motion",
    "wristMotion": "wrist motion",
}
"""The sensors that are read, by the names they go under: the app documents "wrist motion", others relay it
as "wristMotion"."""

_NANOSECONDS_PER_S: Final = 10**9
_MISSING = msgspec.Raw(b"null")

_Numbers = NDArray[np.float64]
_T = TypeVar("_T")


class _Reading(msgspec.Struct, frozen=True):
    """One reading; raw, because only some sensors' values have the shape that is expected here."""

    name: str = ""
    time: msgspec.Raw = _MISSING
    values: msgspec.Raw = _MISSING


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    message_id: Annotated[int, limits.SEQUENCE_RANGE] | None = None
    device_id: str | None = None
    payload: list[_Reading]


class _Vector(msgspec.Struct, frozen=True):
    x: float
    y: float
    z: float


class _WristMotion(msgspec.Struct, frozen=True, rename="camel"):
    acceleration_x: float
    acceleration_y: float
    acceleration_z: float
    gravity_x: float
    gravity_y: float
    gravity_z: float
    rotation_rate_x: float | None = None
    rotation_rate_y: float | None = None
    rotation_rate_z: float | None = None


_MESSAGE = msgspec.json.Decoder(_Message)
_TIMES = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]])
_VECTORS = msgspec.json.Decoder(list[_Vector])
_WRIST_MOTIONS = msgspec.json.Decoder(list[_WristMotion])

_vector = attrgetter("x", "y", "z")
_acceleration = attrgetter("acceleration_x", "acceleration_y", "acceleration_z")
_gravity = attrgetter("gravity_x", "gravity_y", "gravity_z")
_rotation_rate = attrgetter("rotation_rate_x", "rotation_rate_y", "rotation_rate_z")


@dataclass(frozen=True, slots=True)
class _Signal:
    """One sensor's readings in the order of time, no time twice."""

    t_s: _Numbers
    """(n,) UTC seconds."""
    values: _Numbers
    """(n, 3)."""
    discarded: int = 0
    """Readings that were left out."""


def decode_standard(payload: bytes, *, device: str | None, sampling_rate_hz: float | None) -> list[Samples]:
    """Decode a message of an Android phone, or of one whose units and frames are standardised."""
    return _decode(payload, device=device, sampling_rate_hz=sampling_rate_hz, ios=False)


def decode_ios(payload: bytes, *, device: str | None, sampling_rate_hz: float | None) -> list[Samples]:
    """Decode a message of an iPhone as the app sends it by default: Apple's signs."""
    return _decode(payload, device=device, sampling_rate_hz=sampling_rate_hz, ios=True)


def _decode(
    payload: bytes, *, device: str | None, sampling_rate_hz: float | None, ios: bool
) -> list[Samples]:
    # Two braces a reading, its own and its values'; others in texts only make the limit tighter.
    if payload.count(b"{") > 2 * limits.MAX_RECORDS:
        raise refusal(
            "too_many_samples",
            f"the message has more than {limits.MAX_RECORDS} readings; shorten the app's batch period",
        )
    message = limits.parse(_MESSAGE, payload, what="Sensor Logger message")
    device = limits.device_id(device, message.device_id)
    readings: dict[str, list[_Reading]] = {}
    for reading in message.payload:
        if (sensor := _SENSORS.get(reading.name)) is not None:
            readings.setdefault(sensor, []).append(reading)
    wrist = _wrist_samples(readings, device=device, sampling_rate_hz=sampling_rate_hz)
    acc_g = _phone_acc_g(readings, ios=ios)
    if acc_g is None:
        if wrist is not None:
            return [wrist]
        raise _nothing(readings)
    phone = limits.make_samples(
        device=device,
        t_s=acc_g.t_s,
        acc_g=acc_g.values,
        sampling_rate_hz=sampling_rate_hz,
        epoch="utc",
        sequence=message.message_id,
        gyro_dps=_phone_gyro_dps(readings, t_s=acc_g.t_s),
        discarded=acc_g.discarded,
    )
    return [phone] if wrist is None else [phone, wrist]


def _nothing(readings: dict[str, list[_Reading]]) -> DecodeError:
    if "accelerometer" in readings:
        return refusal(
            "no_gravity",
            "the accelerometer's readings lack gravity, and the message has no gravity reading within "
            f"{MAX_GRAVITY_DISTANCE_S:g} s of them; enable the Gravity sensor in Sensor Logger",
        )
    return refusal(
        "empty",
        "the message has no acceleration; in Sensor Logger enable Accelerometer and Gravity, or Wrist Motion",
    )


def _phone_acc_g(readings: dict[str, list[_Reading]], *, ios: bool) -> _Signal | None:
    sign = -1.0 if ios else 1.0
    if "accelerometer" in readings and "gravity" in readings:
        total = _with_gravity(
            _acc_g(readings, "accelerometer", units_per_g=sign * STANDARD_GRAVITY_MPS2),
            _acc_g(readings, "gravity", units_per_g=sign * STANDARD_GRAVITY_MPS2),
        )
        if len(total.t_s):
            return total
    if "totalacceleration" in readings:
        return _acc_g(readings, "totalacceleration", units_per_g=sign * STANDARD_GRAVITY_MPS2)
    if "accelerometeruncalibrated" in readings:
        return _acc_g(
            readings, "accelerometeruncalibrated", units_per_g=-1.0 if ios else STANDARD_GRAVITY_MPS2
        )
    return None


def _acc_g(readings: dict[str, list[_Reading]], name: str, *, units_per_g: float) -> _Signal:
    signal = _signal(readings[name], parser=_VECTORS, vector=_vector, what=name)
    _check_acc(signal.values, units_per_g=abs(units_per_g), what=name)
    return replace(signal, values=signal.values / units_per_g)


def _check_acc(values: _Numbers, *, units_per_g: float, what: str) -> None:
    # Before any arithmetic, which could overflow.
    unit = "g" if units_per_g == 1.0 else "m/s2"
    limits.check_vectors(values, limit=limits.MAX_ACC_G * units_per_g, unit=unit, what=what)


def _with_gravity(acc_g: _Signal, gravity_g: _Signal) -> _Signal:
    """Add the gravity, interpolated, to those accelerations that have a gravity reading nearby."""
    after = np.searchsorted(gravity_g.t_s, acc_g.t_s)
    before = np.maximum(after - 1, 0)
    np.minimum(after, len(gravity_g.t_s) - 1, out=after)
    distance_s = np.minimum(
        np.abs(gravity_g.t_s[after] - acc_g.t_s), np.abs(acc_g.t_s - gravity_g.t_s[before])
    )
    near = distance_s <= MAX_GRAVITY_DISTANCE_S
    t_s, total = acc_g.t_s[near], acc_g.values[near]
    for axis in range(total.shape[1]):
        total[:, axis] += np.interp(t_s, gravity_g.t_s, gravity_g.values[:, axis])
    return _Signal(t_s, total, discarded=acc_g.discarded + len(near) - len(t_s))


def _phone_gyro_dps(readings: dict[str, list[_Reading]], *, t_s: _Numbers) -> _Numbers | None:
    """Take the gyroscope where it was read at the very times ``t_s``; None where it was not."""
    if "gyroscope" not in readings:
        return None
    gyro = _signal(readings["gyroscope"], parser=_VECTORS, vector=_vector, what="gyroscope")
    at = np.minimum(np.searchsorted(gyro.t_s, t_s), len(gyro.t_s) - 1)
    return _dps(gyro.values[at], what="gyroscope") if np.array_equal(gyro.t_s[at], t_s) else None


def _dps(rad_per_s: _Numbers, *, what: str) -> _Numbers:
    units_per_dps = limits.GYRO_UNITS_PER_DPS["rad/s"]
    limits.check_vectors(rad_per_s, limit=limits.MAX_GYRO_DPS * units_per_dps, unit="rad/s", what=what)
    return rad_per_s / units_per_dps


def _wrist_samples(
    readings: dict[str, list[_Reading]], *, device: str, sampling_rate_hz: float | None
) -> Samples | None:
    if "wrist motion" not in readings:
        return None
    what = "wrist motion"
    times_s, motions = _read(readings["wrist motion"], parser=_WRIST_MOTIONS, what=what)
    acceleration, gravity = _table(motions, _acceleration), _table(motions, _gravity)
    for values in (acceleration, gravity):
        _check_acc(values, units_per_g=STANDARD_GRAVITY_MPS2, what=what)
    rotates = all(None not in _rotation_rate(motion) for motion in motions)
    return limits.make_samples(
        device=limits.device_id(device + WRIST_SUFFIX, None),
        t_s=times_s,
        acc_g=(acceleration + gravity) / _wrist_units_per_g(gravity),
        sampling_rate_hz=sampling_rate_hz,
        epoch="utc",
        # The watch's readings come in bursts, in some messages only: their numbers would tell of losses
        # that were none.
        sequence=None,
        gyro_dps=_dps(_table(motions, _rotation_rate), what=what) if rotates else None,
    )


def _wrist_units_per_g(gravity: _Numbers) -> float:
    length = float(np.median(np.sqrt((gravity * gravity).sum(axis=1))))
    for units_per_g in (-1.0, STANDARD_GRAVITY_MPS2):
        if abs(length / abs(units_per_g) - 1.0) <= GRAVITY_LENGTH_TOLERANCE:
            return units_per_g
    raise refusal(
        "unknown_unit",
        f"wrist motion has a gravity of {length:.4g}, which is 1 g neither in g nor in m/s2; "
        "check the watch's readings in the app",
    )


def _signal(
    readings: list[_Reading],
    *,
    parser: limits.Parser[list[_T]],
    vector: Callable[[_T], tuple[float, float, float]],
    what: str,
) -> _Signal:
    t_s, rows = _read(readings, parser=parser, what=what)
    values = _table(rows, vector)
    limits.check_times(t_s, epoch="utc")
    order = limits.ordered(t_s)
    if order is None:
        return _Signal(t_s, values)
    return _Signal(t_s[order], values[order], discarded=len(t_s) - len(order))


def _read(
    readings: list[_Reading], *, parser: limits.Parser[list[_T]], what: str
) -> tuple[_Numbers, list[_T]]:
    """Parse all readings of one sensor at once: times (n,) in seconds, in no order, and n values."""
    limits.check_count(len(readings), what=what)
    times_ns = limits.parse(_TIMES, _array([reading.time for reading in readings]), what=f"times of {what}")
    values = limits.parse(parser, _array([reading.values for reading in readings]), what=what)
    ns = np.array(times_ns, np.int64)
    # Apart, because a double that counts nanoseconds since 1970 is exact to 256 of them only.
    return ns // _NANOSECONDS_PER_S + (ns % _NANOSECONDS_PER_S) / _NANOSECONDS_PER_S, values


def _array(elements: list[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def _table(rows: list[_T], vector: Callable[[_T], tuple[float, float, float]]) -> _Numbers:
    flat = chain.from_iterable(map(vector, rows))
    return np.fromiter(flat, np.float64, 3 * len(rows)).reshape(-1, 3)
