"""SenML JSON (RFC 8428): packs of records, one for each axis and time.

An acceleration is a record whose name ends in its axis: ``x``, ``acc_x``, ``accel:x``, ``acc/x``,
``accelerationX``; that is [path] [quantity] axis, the quantity being acc, accel, acceleration or
accelerometer, its separator one of ``_ : / . -`` or none, upper or lower case. A path before the
quantity (``watch-1/acc_x``) continues the base name; an axis alone stands without a path, so that
``gravity/x`` is not taken. Records of other names, or without a number, are left alone.

Its unit is m/s2, as RFC 8428 registers it; g and mg are tolerated (there, g is a gram). No unit is refused.

The device is the last part of the base name between ``:`` and ``/`` that is not empty and not a
quantity: ``urn:dev:mac:0024befffe804ff1:`` names ``0024befffe804ff1``.

Times from 2^28 on are UTC (RFC 8428, section 4.5.3). Smaller ones are seconds of the device's own:
this decoder has no clock to which they could be relative.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from vskd_stream.decode import limits
from vskd_stream.decode.limits import refusal
from vskd_stream.samples import Epoch, Samples

VERSION: Final = 10
"""``bver`` of RFC 8428; later versions may mean something else by the same records."""
ABSOLUTE_FROM_S: Final = 2.0**28
"""Times from here on are UTC."""
MAX_NAME_CHARACTERS: Final = 256
"""Longer names are left alone: no accelerometer has one."""

_QUANTITIES = frozenset({"acc", "accel", "acceleration", "accelerometer"})
_NAME = re.compile(
    rf"(?:(?P<path>.+?)[:/])??(?P<quantity>(?:{'|'.join(sorted(_QUANTITIES))})[_:/.-]?)?(?P<axis>[xyz])",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_MUST_UNDERSTAND = (b'_"', b"\\u005f", b"\\u005F")
"""What a key that ends in an underscore is spelt with: only where one of these occurs, keys are looked at."""


class _Record(msgspec.Struct, frozen=True):
    bver: int | msgspec.UnsetType = msgspec.UNSET
    bn: str | msgspec.UnsetType = msgspec.UNSET
    bt: float | msgspec.UnsetType = msgspec.UNSET
    bu: str | msgspec.UnsetType = msgspec.UNSET
    bv: float | msgspec.UnsetType = msgspec.UNSET
    n: str = ""
    u: str | msgspec.UnsetType = msgspec.UNSET
    v: float | msgspec.UnsetType = msgspec.UNSET
    t: float | msgspec.UnsetType = msgspec.UNSET


_RECORDS = msgspec.json.Decoder(list[_Record])
_KEYS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


@dataclass(slots=True)
class _Axes:
    """One device's values in g by time, an axis each."""

    x: dict[float, float] = field(default_factory=dict)
    y: dict[float, float] = field(default_factory=dict)
    z: dict[float, float] = field(default_factory=dict)


def decode(payload: bytes, *, device: str | None, sampling_rate_hz: float | None) -> list[Samples]:
    """Decode a pack, one ``Samples`` for each device that has complete ones.

    Args:
        payload: A JSON array of records.
        device: The topic's device; a pack of several devices is refused then.
        sampling_rate_hz: Nominal rate; None: measured.
    """
    if payload.count(b"{") > limits.MAX_RECORDS:
        raise refusal(
            "too_many_samples", f"the pack has more than {limits.MAX_RECORDS} records; send smaller packs"
        )
    if any(spelling in payload for spelling in _MUST_UNDERSTAND):
        _check_understood(payload)
    devices = _resolve(limits.parse(_RECORDS, payload, what="SenML pack"))
    if device is not None and len(devices) > 1:
        raise refusal(
            "bad_device",
            f"the topic names one device, but the pack holds {len(devices)} base names; give each its topic",
        )
    samples = [
        _samples(axes, device=limits.device_id(device, own), sampling_rate_hz=sampling_rate_hz)
        for own, axes in devices.items()
        if not axes.x.keys().isdisjoint(axes.y.keys() & axes.z.keys())
    ]
    if not samples:
        raise refusal(
            "empty",
            "no time of the pack has all of x, y and z; send three records with equal times for each sample",
        )
    return samples


def _check_understood(payload: bytes) -> None:
    for record in limits.parse(_KEYS, payload, what="SenML pack"):
        for key in record:
            if key.endswith("_"):
                raise refusal(
                    "unsupported_schema",
                    f"the field {limits.quote_name(key)} must be understood and is not; leave it out",
                )


class _Base:
    """The base fields: each record may set some, for itself and all that follow."""

    __slots__ = ("name", "time_s", "unit", "value")

    def __init__(self) -> None:
        self.name = ""
        self.time_s: float | None = None
        self.unit: str | None = None
        self.value = 0.0

    def take(self, record: _Record) -> None:
        if record.bn is not msgspec.UNSET:
            self.name = record.bn
        if record.bt is not msgspec.UNSET:
            self.time_s = record.bt
        if record.bu is not msgspec.UNSET:
            self.unit = record.bu
        if record.bv is not msgspec.UNSET:
            self.value = record.bv


def _resolve(records: list[_Record]) -> dict[str, _Axes]:
    """Sort the accelerations, in g, by device and axis; of equal times the first is kept."""
    base = _Base()
    devices: dict[str, _Axes] = {}
    known: dict[tuple[str, str], dict[float, float] | None] = {}
    for index, record in enumerate(records):
        if record.bver is not msgspec.UNSET and record.bver != VERSION:
            raise refusal(
                "unsupported_schema", f"record {index} has a bver other than {VERSION}; send RFC 8428"
            )
        base.take(record)
        if record.v is msgspec.UNSET:
            continue
        name = (base.name, record.n)
        if name not in known:
            known[name] = _axis(base.name, record.n, devices)
        axis = known[name]
        if axis is not None:
            units_per_g = _units_per_g(base.unit if record.u is msgspec.UNSET else record.u, index=index)
            axis.setdefault(
                _time_s(base.time_s, record.t, index=index), (base.value + record.v) / units_per_g
            )
    return devices


def _axis(base_name: str, name: str, devices: dict[str, _Axes]) -> dict[float, float] | None:
    if not name:
        base_name, name = "", base_name
    match = _NAME.fullmatch(name) if len(name) <= MAX_NAME_CHARACTERS else None
    if match is None or (match["path"] and not match["quantity"]):
        return None
    parts = re.split("[:/]", f"{base_name}:{match['path'] or ''}")
    own = next((part for part in reversed(parts) if part and part.lower() not in _QUANTITIES), "")
    axes = devices.setdefault(own, _Axes())
    return {"x": axes.x, "y": axes.y, "z": axes.z}[match["axis"].lower()]


def _units_per_g(unit: str | None, *, index: int) -> float:
    if unit not in limits.ACC_UNITS_PER_G:
        given = "no unit" if unit is None else f"the unit {limits.quote_name(unit)}"
        raise refusal(
            "unknown_unit",
            f"record {index} is an acceleration with {given}; known are {', '.join(limits.ACC_UNITS_PER_G)}",
        )
    return limits.ACC_UNITS_PER_G[unit]


def _time_s(base: float | None, own: float | msgspec.UnsetType, *, index: int) -> float:
    if own is not msgspec.UNSET:
        return own if base is None else base + own
    if base is None:
        raise refusal("bad_time", f"record {index} has neither a time nor a base time; send bt or t")
    return base


def _samples(axes: _Axes, *, device: str, sampling_rate_hz: float | None) -> Samples:
    x, y, z = axes.x, axes.y, axes.z
    rows = [(t, value, y[t], z[t]) for t, value in x.items() if t in y and t in z]
    limits.check_count(len(rows), what=f"device {device}")
    table = np.array(rows, np.float64)
    t_s = table[:, 0]
    absolute = t_s >= ABSOLUTE_FROM_S
    if absolute.any() and not absolute.all():
        raise refusal("bad_time", "the pack mixes UTC and times below 2^28; send one of the two")
    epoch: Epoch = "utc" if absolute.any() else "device"
    if not absolute.any() and (t_s < 0.0).any():
        raise refusal(
            "bad_time", "the pack counts back from now, which is not told; send UTC or the device's seconds"
        )
    return limits.make_samples(
        device=device,
        t_s=t_s.copy(),
        acc_g=table[:, 1:],
        sampling_rate_hz=sampling_rate_hz,
        epoch=epoch,
        discarded=len(x) - len(rows),
    )
