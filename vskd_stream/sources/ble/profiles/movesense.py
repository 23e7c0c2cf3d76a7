"""Movesense, with its GATT SensorData application: acceleration, and angular rate if wanted.

Format: the maker's GATT SensorData protocol; little-endian. A measurement is the device's time in ms,
then blocks of float vectors: all accelerations, then all angular rates. One that is longer than a
packet comes in two parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool

from vskd_stream.decode.limits import (
    ACC_UNITS_PER_G,
    MAX_ACC_G,
    MAX_GYRO_DPS,
    check_vectors,
    make_samples,
    refusal,
)
from vskd_stream.errors import DecodeError, LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import (
    Advertisement,
    Agreed,
    Link,
    Options,
    Traits,
    parse_agreed,
    parse_options,
)
from vskd_stream.sources.ble.profiles._counted import FLOAT, vectors
from vskd_stream.sources.ble.profiles._ticks import TickClock
from vskd_stream.sources.ble.timing import FrameTimes

SERVICE: Final = "34802252-7185-4d5d-b431-630e7050e8f0"
COMMAND: Final = "34800001-7185-4d5d-b431-630e7050e8f0"
"""Takes commands: code, reference, argument."""
DATA: Final = "34800002-7185-4d5d-b431-630e7050e8f0"
"""Notifies answers and measurements: code, reference, content."""
RANGE_G: Final = 8.0
"""What the sensor is set to as delivered."""
TICK_RATE_HZ: Final = 1000.0
UNIT_AFTER_S: Final = 0.25
"""So much is collected before the unit is decided."""

_SUBSCRIBE, _UNSUBSCRIBE = 1, 2
_ANSWER, _MEASUREMENT, _SECOND_PART = 1, 2, 3
_HEAD_BYTES: Final = 2
_TICK_BYTES: Final = 4
_VECTOR_BYTES: Final = 12
_MAX_LENGTHS: Final = 8
_ANSWER_S: Final = 5.0
_OK: Final = range(200, 300)
_LAST_STATUS: Final = 599
_MEANINGS: Final = {
    404: "its firmware has no such measurement",
    429: "it is out of requests; restart it",
    507: "all its subscriptions are taken; disconnect other programs, or restart it",
}
_PACE_TOLERANCE: Final = 0.12
"""A sensor's rate is nominal: what it calls 13 Hz are 12.5."""
_LIKELY_G: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one subscription sends at a time."""

    tick_ms: int
    """The device's time of the first sample, 32 bits."""
    acc: NDArray[np.float64]
    """(n, 3) acceleration, in the unit of the firmware."""
    gyro_dps: NDArray[np.float64] | None
    """(n, 3) angular rate in degrees per second."""

    def __len__(self) -> int:
        return len(self.acc)


def parse(content: bytes, *, gyro: bool) -> Measurement:
    """Read a measurement, without its head; ``gyro``: every acceleration has an angular rate.

    Raises:
        DecodeError: "malformed", "not_finite" or "out_of_range".
    """
    blocks = 2 if gyro else 1
    body = content[_TICK_BYTES:]
    if not body or len(body) % (blocks * _VECTOR_BYTES):
        raise refusal(
            "malformed",
            f"a measurement of {len(content)} bytes; it has 4 and {blocks * _VECTOR_BYTES} for each sample",
        )
    values = vectors(body, dtype=FLOAT, columns=3, what="a measurement").reshape(blocks, -1, 3)
    # In the smallest unit that a firmware may use; the real one is checked when it is known.
    check_vectors(values[0], limit=MAX_ACC_G * ACC_UNITS_PER_G["mg"], unit="mg", what="acc")
    if gyro:
        check_vectors(values[1], limit=MAX_GYRO_DPS, unit="deg/s", what="gyro")
    return Measurement(_tick_ms(content), values[0], values[1] if gyro else None)


def _tick_ms(content: bytes) -> int:
    return int.from_bytes(content[:_TICK_BYTES], "little")


def unit_of(acc: NDArray[np.float64]) -> str | None:
    """Tell the unit of (n, 3) accelerations from their median length; None: it cannot be told.

    The documents say metres per second squared, some firmwares send thousandths of g. Whoever carries
    the sensor, at rest or not, feels between half and twice the gravity in most moments: 5 to 20 of the
    one, 500 to 2000 of the other, and a factor of 25 lies between. What is in neither is not guessed at.
    """
    median = float(np.median(np.sqrt(np.sum(acc * acc, axis=1))))
    least_g, most_g = _LIKELY_G
    for unit in ("m/s2", "mg"):
        if least_g * ACC_UNITS_PER_G[unit] <= median <= most_g * ACC_UNITS_PER_G[unit]:
            return unit
    return None


class Assembler:
    """Joins the parts of measurements.

    Nothing in a first part says that a second one follows. Its length does, once one has been followed
    by a second part, or by the next measurement at the time when a whole one would have ended.
    """

    def __init__(self, *, sampling_rate_hz: float, gyro: bool) -> None:
        self._per_ms = sampling_rate_hz / TICK_RATE_HZ
        self._sample_bytes = (2 if gyro else 1) * _VECTOR_BYTES
        self._held: bytes | None = None
        self._whole_before: int | None = None
        self._lengths: dict[int, bool] = {}
        """Whether a first part of so many bytes is a whole measurement, as the last one was."""

    def push(self, content: bytes, *, second: bool) -> list[bytes]:
        """Take a part; return the measurements that are whole now.

        Raises:
            DecodeError: "malformed": the other part is missing; the assembler goes on.
        """
        held, self._held = self._held, None
        before, self._whole_before = self._whole_before, None
        if second:
            if held is None:
                if before is not None:
                    # It was taken for whole by mistake.
                    self._lengths[before] = False
                raise refusal("malformed", "the second part of a measurement whose first part is missing")
            self._learn(len(held), whole=False)
            return [held + content]
        whole = []
        if held is not None:
            if self._ended(held, before=content):
                self._learn(len(held), whole=True)
                whole.append(held)
            else:
                self._held = content
                raise refusal("malformed", "a measurement whose second part is missing")
        if self._lengths.get(len(content)):
            self._whole_before = len(content)
            whole.append(content)
        else:
            self._held = content
        return whole

    def _ended(self, content: bytes, *, before: bytes) -> bool:
        samples, rest = divmod(len(content) - _TICK_BYTES, self._sample_bytes)
        lasted_ms = _tick_ms(before) - _tick_ms(content)
        return rest == 0 and abs(lasted_ms * self._per_ms - samples) <= _PACE_TOLERANCE * samples

    def _learn(self, length: int, *, whole: bool) -> None:
        if len(self._lengths) >= _MAX_LENGTHS:
            self._lengths.clear()
        self._lengths[length] = whole


class _Options(Options):
    sampling_rate_hz: Literal[13, 26, 52, 104, 208, 416] = 52
    """Rate in Hz."""
    gyro: StrictBool = False
    """Whether to stream angular rate as well, which costs battery and twice the radio time."""
    unit: Literal["auto", "m/s2", "mg"] = "auto"
    """Unit of the firmware's accelerations; "auto": told from the length of the first ones."""


@dataclass(frozen=True, slots=True)
class _Dated:
    t_s: NDArray[np.float64]
    measurement: Measurement


class _Agreed(Agreed):
    reference: Annotated[int, Field(ge=0, le=255)]
    """By which the device tells the subscription's notifications from others; 0: there is none yet."""


class MovesenseSession:
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        self._device = device
        self._options = options
        self._told_unit: str | None = None if options.unit == "auto" else options.unit
        self._unit: str | None = self._told_unit
        self.traits = Traits(float(options.sampling_rate_hz), RANGE_G, "device")
        self._answers: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        self._clock = TickClock(bits=32, rate_hz=TICK_RATE_HZ)
        self._begin(_Agreed(reference=0))

    async def start(self, link: Link) -> None:
        """Subscribe to the measurement.

        Raises:
            LinkError: The device refuses it, or neither answers nor sends.
        """
        if self.agreed.reference:
            await link.write(COMMAND, bytes([_UNSUBSCRIBE, self.agreed.reference]))
        # One more each time: what still comes for the last subscription is not taken for this one's.
        self._begin(_Agreed(reference=self.agreed.reference % 255 + 1))
        while not self._answers.empty():
            self._answers.get_nowait()
        path = f"/Meas/{'IMU6' if self._options.gyro else 'Acc'}/{self._options.sampling_rate_hz}"
        await link.write(COMMAND, bytes([_SUBSCRIBE, self.agreed.reference]) + path.encode() + b"\0")
        try:
            async with asyncio.timeout(_ANSWER_S):
                status = await self._answers.get()
        except TimeoutError:
            raise LinkError(
                self._device, f"no answer within {_ANSWER_S:g} s; has it the GATT SensorData application?"
            ) from None
        if status not in _OK:
            raise LinkError(self._device, f"it refuses {path}: {_MEANINGS.get(status, f'status {status}')}")

    def resume(self, agreed: bytes) -> None:
        """Decode as ``profile.Session`` has it."""
        self._begin(parse_agreed(_Agreed, agreed))

    async def stop(self, link: Link) -> None:
        """End the subscription, so that the sensor falls asleep."""
        if self.agreed.reference:
            await link.write(COMMAND, bytes([_UNSUBSCRIBE, self.agreed.reference]))

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a part of a measurement, or keep an answer for who waits for it."""
        del uuid
        if len(data) < _HEAD_BYTES:
            raise refusal("malformed", f"a notification of {len(data)} bytes; its head alone has 2")
        kind, reference, content = data[0], data[1], data[_HEAD_BYTES:]
        if reference != self.agreed.reference or kind not in {_ANSWER, _MEASUREMENT, _SECOND_PART}:
            raise refusal("unrecognised", f"a notification that begins with {data[:2].hex()} is not of ours")
        if kind == _ANSWER:
            self._answer(parse_status(content))
            return []
        # The first firmwares answer to nothing but what they refuse: samples are an answer, too.
        self._answer(_OK.start)
        whole = self._assembler.push(content, second=kind == _SECOND_PART)
        dated = [self._date(parse(each, gyro=self._options.gyro), arrival_s) for each in whole]
        if self._unit is None:
            return self._undecided(dated)
        try:
            return [self._samples(each, self._unit) for each in dated]
        except DecodeError:
            # It was told from a moment of free fall, or this packet is damaged: then it will be told again.
            self._unit = self._told_unit
            raise

    def _begin(self, agreed: _Agreed) -> None:
        self.agreed = agreed
        rate_hz = float(self._options.sampling_rate_hz)
        self._assembler = Assembler(sampling_rate_hz=rate_hz, gyro=self._options.gyro)
        self._times = FrameTimes(rate_hz)
        self._waiting: list[_Dated] = []

    def _answer(self, status: int) -> None:
        if self._answers.empty():
            self._answers.put_nowait(status)

    def _date(self, measurement: Measurement, arrival_s: float) -> _Dated:
        first_s = self._clock.seconds(measurement.tick_ms, arrival_s=arrival_s)
        t_s = self._times.take(first_s, len(measurement))
        # The device dates the first sample where the other devices with frames date their last one.
        return _Dated(first_s + (t_s - t_s[0]), measurement)

    def _undecided(self, dated: list[_Dated]) -> list[Samples]:
        """Hold back what has come until there is enough to tell its unit by."""
        self._waiting += dated
        if sum(len(each.t_s) for each in self._waiting) < UNIT_AFTER_S * self._options.sampling_rate_hz:
            return []
        waiting, self._waiting = self._waiting, []
        acc = np.concatenate([each.measurement.acc for each in waiting])
        unit = unit_of(acc)
        if unit is None:
            raise refusal(
                "unknown_unit",
                f"accelerations such as {acc[-1].round(2).tolist()} are neither m/s2 nor mg; hold the sensor "
                "still, or set the option unit",
            )
        self._unit = unit
        return [self._samples(each, unit) for each in waiting]

    def _samples(self, dated: _Dated, unit: str) -> Samples:
        return make_samples(
            device=self._device,
            t_s=dated.t_s,
            acc_g=dated.measurement.acc / ACC_UNITS_PER_G[unit],
            sampling_rate_hz=self._times.sampling_rate_hz,
            epoch="device",
            gyro_dps=dated.measurement.gyro_dps,
        )


def parse_status(content: bytes) -> int:
    """Read the status of an answer.

    The first firmwares send the one that they refuse with, 507, with its bytes the other way round.

    Raises:
        DecodeError: "malformed".
    """
    if len(content) < 2:
        raise refusal("malformed", f"an answer of {len(content)} bytes; its status alone has 2")
    status = int.from_bytes(content[:2], "little")
    return status if status <= _LAST_STATUS else int.from_bytes(content[:2], "big")


@dataclass(frozen=True, slots=True)
class MovesenseProfile:
    """Sensors with the GATT SensorData application."""

    name: str = "movesense"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name, which leaves no room for the service in an advertisement."""
        return advertisement.name.startswith("Movesense") or SERVICE in advertisement.service_uuids

    def session(self, device: str, options: Mapping[str, object]) -> MovesenseSession:
        """Prepare a connection."""
        return MovesenseSession(device, parse_options(_Options, device, options))


PROFILE: Final = MovesenseProfile()
