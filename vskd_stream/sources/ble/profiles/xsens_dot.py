"""Xsens (Movella) DOT: acceleration and angular rate with the device's own time.

Format: "Xsens DOT BLE Services Specifications" of the maker; little-endian. The time is in microseconds
and wraps after 71.6 minutes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2, make_samples, refusal
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
from vskd_stream.sources.ble.profiles._counted import FLOAT, vectors
from vskd_stream.sources.ble.profiles._ticks import TickClock

SETTINGS: Final = "15171002-4947-11e9-8646-d663bd873d93"
"""32 bytes, among them the output rate; only what the first byte names is taken over from a write."""
CONTROL: Final = "15172001-4947-11e9-8646-d663bd873d93"
"""Starts and stops measuring."""
DATA: Final = "15172003-4947-11e9-8646-d663bd873d93"
"""Notifies payloads of medium length."""
RANGE_G: Final = 16.0
TICK_RATE_HZ: Final = 1e6

_MEASURE, _STARTED, _STOPPED, _RATE_QUANTITIES = 1, 1, 0, 21
_START: Final = bytes([_MEASURE, _STARTED, _RATE_QUANTITIES])
_STOP: Final = bytes([_MEASURE, _STOPPED, _RATE_QUANTITIES])
_SETTINGS_BYTES: Final = 32
_TAKE_RATE: Final = 0x04
_RATE_AT: Final = slice(24, 26)
_USED_BYTES: Final = 28
_MEDIUM_BYTES: Final = 40
"""The longest payload of that characteristic; what stands behind the angular rate is left alone."""


@dataclass(frozen=True, slots=True)
class Quantities:
    """One sample of the payload "rate quantities"."""

    tick: int
    """Microseconds on the device's clock, 32 bits."""
    acc_g: NDArray[np.float64]
    """(1, 3) acceleration in g."""
    gyro_dps: NDArray[np.float64]
    """(1, 3) angular rate in degrees per second."""


def parse(data: bytes) -> Quantities:
    """Read one sample.

    Raises:
        DecodeError: "malformed".
    """
    if not _USED_BYTES <= len(data) <= _MEDIUM_BYTES:
        raise refusal(
            "malformed",
            f"a payload of {len(data)} bytes; rate quantities have {_USED_BYTES} to {_MEDIUM_BYTES}",
        )
    values = vectors(data[4:_USED_BYTES], dtype=FLOAT, columns=6, what="rate quantities")
    return Quantities(
        tick=int.from_bytes(data[:4], "little"),
        acc_g=values[:, 0:3] / STANDARD_GRAVITY_MPS2,
        gyro_dps=values[:, 3:6],
    )


class _Options(Options):
    sampling_rate_hz: Literal[10, 12, 15, 20, 30, 60, 120] = 60
    """Rate in Hz; not every firmware streams at 120."""


class XsensDotSession:
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        self._device = device
        self._rate_hz = options.sampling_rate_hz
        self._clock = TickClock(bits=32, rate_hz=TICK_RATE_HZ)
        self.traits = Traits(float(self._rate_hz), RANGE_G, "device")
        self.agreed = Agreed()

    async def start(self, link: Link) -> None:
        """Stop what may be going on, set the rate, and start.

        Raises:
            LinkError: The device keeps a rate of its own.
        """
        await link.write(CONTROL, _STOP)
        if await self._current_rate_hz(link) != self._rate_hz:
            settings = bytearray(await link.read(SETTINGS))
            settings[0] = _TAKE_RATE
            settings[_RATE_AT] = struct.pack("<H", self._rate_hz)
            await link.write(SETTINGS, bytes(settings))
            kept_hz = await self._current_rate_hz(link)
            if kept_hz != self._rate_hz:
                raise LinkError(self._device, f"it stays at {kept_hz} Hz and does not take {self._rate_hz}")
        await link.write(CONTROL, _START)

    def resume(self, agreed: bytes) -> None:
        """Nothing was agreed on: decoding depends on the options alone."""
        parse_agreed(Agreed, agreed)

    async def stop(self, link: Link) -> None:
        """Stop measuring: the device does not do so by itself."""
        await link.write(CONTROL, _STOP)

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a sample."""
        del uuid
        quantities = parse(data)
        return [
            make_samples(
                device=self._device,
                t_s=np.array([self._clock.seconds(quantities.tick, arrival_s=arrival_s)]),
                acc_g=quantities.acc_g,
                sampling_rate_hz=self.traits.sampling_rate_hz,
                epoch="device",
                gyro_dps=quantities.gyro_dps,
            )
        ]

    async def _current_rate_hz(self, link: Link) -> int:
        settings = await link.read(SETTINGS)
        if len(settings) != _SETTINGS_BYTES:
            raise LinkError(self._device, f"its settings have {len(settings)} bytes, not {_SETTINGS_BYTES}")
        return int.from_bytes(settings[_RATE_AT], "little")


@dataclass(frozen=True, slots=True)
class XsensDotProfile:
    """The DOT, under both its makers' names."""

    name: str = "xsens-dot"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name: no service is advertised."""
        return advertisement.name in {"Xsens DOT", "Movella DOT"}

    def session(self, device: str, options: Mapping[str, object]) -> XsensDotSession:
        """Prepare a connection."""
        return XsensDotSession(device, parse_options(_Options, device, options))


PROFILE: Final = XsensDotProfile()
