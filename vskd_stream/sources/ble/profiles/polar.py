"""Polar Measurement Data: H10, Verity Sense, OH1.

The wire format is Polar's public one (github.com/polarofficial/polar-ble-sdk, technical documentation);
all numbers are little-endian. A frame's time is that of its last sample, in nanoseconds of a clock that
may never have been set: it serves as ticks, never as a date.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool

from vskd_stream.decode.limits import MAX_SAMPLES, make_samples, refusal
from vskd_stream.errors import LinkError
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
from vskd_stream.sources.ble.timing import FrameTimes

CONTROL: Final = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
"""Control point: commands are written, answers are indicated, reading tells the features."""
DATA: Final = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"
"""Frames are notified here."""
HEART_RATE: Final = "0000180d-0000-1000-8000-00805f9b34fb"
"""What Polar's devices advertise; the measurement service itself is not advertised."""

PREFERRED_RATE_HZ: Final = 50
"""Unless configured, the slowest rate from here on is chosen: what models of wrist movement use."""
PREFERRED_RANGE_G: Final = 8
"""Unless configured: running and falls exceed 4 g."""

_ACC: Final = 0x02
_SDK_MODE: Final = 0x09
_GET_SETTINGS, _START, _STOP = 0x01, 0x02, 0x03
_FEATURES, _ANSWER = 0x0F, 0xF0
_OK, _ALREADY_IN_STATE = 0, 6
_STATUS: Final = {
    1: "it does not know the command",
    2: "it does not know the measurement",
    3: "not supported",
    5: "invalid parameter",
    7: "invalid resolution",
    8: "invalid sampling rate",
    9: "invalid range",
    10: "the connection's packets are too small (MTU)",
    11: "invalid number of channels",
    12: "not possible in its present state",
    13: "it is charging",
}
_RATE, _RESOLUTION, _RANGE, _CHANNELS, _FACTOR = 0, 1, 2, 4, 5
_VALUE_BYTES: Final = {_RATE: 2, _RESOLUTION: 2, _RANGE: 2, 3: 4, _CHANNELS: 1, _FACTOR: 4}
_ONE: Final = 0x3F800000
"""1.0 as the bits of a float: the factor of a device that tells none."""
_ANSWER_S: Final = 5.0
_MAX_PARTS: Final = 16

_COMPRESSED: Final = 0x80
_HEADER: Final = struct.Struct("<BQB")
_MAX_WIDTH: Final = 32
"""Bits of a delta: a sample has 16 or 24."""
_MG_PER_G: Final = 1000.0
_MAX_FACTOR: Final = 1e3

Settings = dict[int, tuple[int, ...]]
"""What a device offers: setting to values."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of acceleration."""

    last_ns: int
    """The device's time of the last sample."""
    acc_mg: NDArray[np.float64]
    """(n, 3) acceleration in thousandths of g."""


def parse_frame(data: bytes, *, factor: float = 1.0) -> Frame | None:
    """Read a frame; None if it is of another measurement. ``factor`` is that of the start's answer.

    Raises:
        DecodeError: The frame is cut short, or of a type that acceleration does not have.
    """
    if len(data) < _HEADER.size:
        raise refusal("malformed", f"a frame of {len(data)} bytes; its header alone has {_HEADER.size}")
    measurement, last_ns, kind = _HEADER.unpack_from(data)
    if measurement & 0x3F != _ACC:
        return None
    body = data[_HEADER.size :]
    if kind & _COMPRESSED:
        # Type 0 counts in g and type 1 in mg, before the factor.
        scales = {0: factor * _MG_PER_G, 1: factor}
        scale = scales.get(kind & 0x7F)
        if scale is None:
            raise refusal("unsupported_schema", f"compressed acceleration frame of type {kind & 0x7F}")
        return Frame(last_ns, parse_deltas(body) * scale)
    if kind > 2:
        raise refusal("unsupported_schema", f"raw acceleration frame of type {kind}")
    return Frame(last_ns, parse_raw(body, width=kind + 1))


def parse_raw(body: bytes, *, width: int) -> NDArray[np.float64]:
    """Read samples of three axes, each a signed integer of ``width`` bytes; (n, 3).

    Raises:
        DecodeError: "malformed".
    """
    if not body or len(body) % (3 * width):
        raise refusal("malformed", f"{len(body)} bytes are no whole number of {3 * width}-byte samples")
    octets = np.frombuffer(body, np.uint8).reshape(-1, width)
    unsigned = octets @ (1 << 8 * np.arange(width, dtype=np.int64))
    return _signed(unsigned, bits=8 * width).reshape(-1, 3).astype(np.float64)


def parse_deltas(body: bytes) -> NDArray[np.float64]:
    """Read a reference sample and the blocks of deltas after it; (n, 3).

    A block is the width of its deltas in bits, their number, and the deltas: x, y, z, x, ... packed from
    the lowest bit on, up to a whole byte. Each is added to the sample before it.

    Raises:
        DecodeError: "malformed", or "too_many_samples".
    """
    if len(body) < 6:
        raise refusal("malformed", f"{len(body)} bytes hold no reference sample of 6")
    rows = [np.frombuffer(body, "<i2", count=3).astype(np.int64).reshape(1, 3)]
    count = 1
    place = 6
    while place < len(body):
        if place + 2 > len(body):
            raise refusal("malformed", "a block of deltas ends within its header")
        width, steps = body[place], body[place + 1]
        place += 2
        end = place + (3 * steps * width + 7) // 8
        if width > _MAX_WIDTH:
            raise refusal("malformed", f"deltas of {width} bits; samples have at most 24")
        if end > len(body):
            raise refusal("malformed", f"a block of {steps} deltas of {width} bits ends before its time")
        count += steps
        if count > MAX_SAMPLES:
            raise refusal("too_many_samples", f"a frame of more than {MAX_SAMPLES} samples")
        rows.append(_unpacked(body[place:end], width=width, count=3 * steps).reshape(-1, 3))
        place = end
    return np.cumsum(np.concatenate(rows), axis=0).astype(np.float64)


def _unpacked(packed: bytes, *, width: int, count: int) -> NDArray[np.int64]:
    """Read ``count`` signed integers of ``width`` bits, the lowest bit first."""
    if width == 0:
        return np.zeros(count, np.int64)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * width, bitorder="little")
    unsigned = bits.reshape(count, width) @ (1 << np.arange(width, dtype=np.int64))
    return _signed(unsigned, bits=width)


def _signed(unsigned: NDArray[np.int64], *, bits: int) -> NDArray[np.int64]:
    half = np.int64(1) << (bits - 1)
    return (unsigned ^ half) - half


def parse_settings(parameters: bytes) -> Settings:
    """Read what a device offers, or has chosen: ``setting, number of values, values`` and so on.

    Raises:
        ValueError: Cut short, or of an unknown setting, behind which nothing can be read.
    """
    settings: Settings = {}
    place = 0
    while place < len(parameters):
        setting, count = parameters[place], parameters[place + 1] if place + 1 < len(parameters) else 0
        width = _VALUE_BYTES.get(setting)
        end = place + 2 + count * (width or 0)
        if width is None or end > len(parameters):
            raise ValueError(f"settings {parameters.hex()} cannot be read from byte {place} on")
        values = (parameters[i : i + width] for i in range(place + 2, end, width))
        settings[setting] = tuple(int.from_bytes(value, "little") for value in values)
        place = end
    return settings


class _Options(Options):
    sampling_rate_hz: Annotated[int, Field(ge=13, le=416)] | None = None
    """Rate in Hz, one that the device offers; absent: the slowest from 50 on."""
    range_g: Literal[2, 4, 8, 16] | None = None
    """Full scale in g, one that the device offers; absent: 8."""
    sdk_mode: StrictBool = False
    """Verity Sense: leave heart rate aside, for more rates and ranges."""


class _Agreed(Agreed):
    sampling_rate_hz: Annotated[float, Field(gt=0, le=65_535)]
    range_g: Annotated[float, Field(ge=0, le=65_535)]
    factor: Annotated[float, Field(gt=0, lt=_MAX_FACTOR)]
    """Of compressed samples."""


class PolarSession:
    """One connection."""

    notify = (CONTROL, DATA)

    def __init__(self, device: str, options: _Options) -> None:
        self._device = device
        self._options = options
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(maxsize=_MAX_PARTS)
        rate_hz = float(options.sampling_rate_hz or PREFERRED_RATE_HZ)
        self._begin(_Agreed(sampling_rate_hz=rate_hz, range_g=PREFERRED_RANGE_G, factor=1.0))

    @property
    def traits(self) -> Traits:
        """The stream's limits; the rate is the device's own once that has shown."""
        return replace(self._traits, sampling_rate_hz=self._times.sampling_rate_hz)

    async def start(self, link: Link) -> None:
        """Ask what the device offers, choose, and start.

        Raises:
            LinkError: It offers no acceleration, or not what is configured, or does not answer.
        """
        features = await link.read(CONTROL)
        if len(features) < 3 or features[0] != _FEATURES or not features[1] & 1 << _ACC:
            raise LinkError(
                self._device, "it offers no acceleration stream; an H10, OH1 or Verity Sense does"
            )
        if self._options.sdk_mode:
            await self._command(link, bytes([_START, _SDK_MODE]))
        chosen = self._choose(await self._settings(link, bytes([_GET_SETTINGS, _ACC])) or {})
        start = bytes([_START, _ACC]) + b"".join(
            bytes([setting, 1]) + value.to_bytes(_VALUE_BYTES[setting], "little")
            for setting, value in chosen.items()
        )
        agreed = await self._settings(link, start)
        if agreed is None:
            # It streams already, for us a moment ago or for another, and with settings of that time.
            await self._command(link, bytes([_STOP, _ACC]))
            agreed = await self._settings(link, start) or {}
        (factor,) = struct.unpack("<f", agreed.get(_FACTOR, (_ONE,))[0].to_bytes(4, "little"))
        if not 0.0 < factor < _MAX_FACTOR:
            raise LinkError(self._device, f"it scales its samples by {factor}, which nothing measures")
        range_g = float(chosen.get(_RANGE, PREFERRED_RANGE_G))
        self._begin(_Agreed(sampling_rate_hz=float(chosen[_RATE]), range_g=range_g, factor=factor))

    def resume(self, agreed: bytes) -> None:
        """Decode as ``profile.Session`` has it."""
        self._begin(parse_agreed(_Agreed, agreed))

    async def stop(self, link: Link) -> None:
        """Stop the stream: an H10 left streaming does so until its battery is empty."""
        await link.write(CONTROL, bytes([_STOP, _ACC]))
        if self._options.sdk_mode:
            await link.write(CONTROL, bytes([_STOP, _SDK_MODE]))

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a frame, or keep an answer for who waits for it."""
        del arrival_s
        if uuid == CONTROL:
            # Others than answers: BlueZ notifies what we read, and a device tells that it stopped by itself.
            if data[:1] == bytes([_ANSWER]) and not self._answers.full():
                self._answers.put_nowait(data)
            return []
        frame = parse_frame(data, factor=self.agreed.factor)
        if frame is None:
            return []
        t_s = self._times.take(frame.last_ns / 1e9, len(frame.acc_mg))
        return [
            make_samples(
                device=self._device,
                t_s=t_s,
                acc_g=frame.acc_mg / _MG_PER_G,
                sampling_rate_hz=self._times.sampling_rate_hz,
                epoch="device",
            )
        ]

    def _begin(self, agreed: _Agreed) -> None:
        self.agreed = agreed
        self._traits = Traits(agreed.sampling_rate_hz, agreed.range_g, "device")
        self._times = FrameTimes(agreed.sampling_rate_hz)

    def _choose(self, offered: Settings) -> dict[int, int]:
        if not offered.get(_RATE):
            raise LinkError(self._device, "it offers no sampling rate; is it charging?")
        chosen: dict[int, int] = {}
        if _RANGE in offered:
            range_g = self._options.range_g
            chosen[_RANGE] = self._one_of(
                offered[_RANGE], range_g, preferred=PREFERRED_RANGE_G, what="a range of {} g"
            )
        rate_hz = self._options.sampling_rate_hz
        chosen[_RATE] = self._one_of(
            offered[_RATE], rate_hz, preferred=PREFERRED_RATE_HZ, what="a rate of {} Hz"
        )
        # A Verity Sense refuses a start that leaves out any setting it lists.
        for setting in (_RESOLUTION, _CHANNELS):
            if offered.get(setting):
                chosen[setting] = max(offered[setting])
        return chosen

    def _one_of(self, offered: tuple[int, ...], wanted: int | None, *, preferred: int, what: str) -> int:
        if wanted is None:
            return min((each for each in offered if each >= preferred), default=max(offered, default=0))
        if wanted not in offered:
            raise LinkError(
                self._device, f"it does not offer {what.format(wanted)}, but {', '.join(map(str, offered))}"
            )
        return wanted

    async def _settings(self, link: Link, command: bytes) -> Settings | None:
        """The settings in the answer to ``command``; None if that already goes on."""
        parameters = await self._command(link, command)
        try:
            return None if parameters is None else parse_settings(parameters)
        except ValueError as error:
            raise LinkError(self._device, str(error)) from None

    async def _command(self, link: Link, command: bytes) -> bytes | None:
        """The parameters of the answer to ``command``; None if the device is in that state already."""
        while not self._answers.empty():
            self._answers.get_nowait()
        await link.write(CONTROL, command)
        parameters = b""
        for _ in range(_MAX_PARTS):
            answer = await self._answer_to(command)
            status = answer[3]
            if status == _ALREADY_IN_STATE:
                return None
            if status != _OK:
                reason = _STATUS.get(status, f"status {status}")
                raise LinkError(self._device, f"it refuses {command.hex()}: {reason}")
            parameters += answer[5:]
            if not answer[4:5].strip(b"\0"):
                return parameters
        raise LinkError(self._device, f"its answer to {command.hex()} has no end")

    async def _answer_to(self, command: bytes) -> bytes:
        try:
            async with asyncio.timeout(_ANSWER_S):
                while True:
                    answer = await self._answers.get()
                    if answer[1:3] == command[:2] and len(answer) > 3:
                        return answer
        except TimeoutError:
            raise LinkError(self._device, f"no answer to {command.hex()} within {_ANSWER_S:g} s") from None


@dataclass(frozen=True, slots=True)
class PolarProfile:
    """Polar's devices with the measurement service."""

    name: str = "polar"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name: all of them begin with the maker's, and many others advertise heart rate as well."""
        return advertisement.name.startswith("Polar ")

    def session(self, device: str, options: Mapping[str, object]) -> PolarSession:
        """Prepare a connection."""
        return PolarSession(device, parse_options(_Options, device, options))


PROFILE: Final = PolarProfile()
