"""Nordic Thingy:52: raw motion data, in the scale and with the signs that its firmware really uses.

Format: Nordic-Thingy52-FW, m_motion.c and ble_tms.h. Fixed-point numbers with 16 bits of fraction are
cut to int16 by shifts of 6, 11 and 12: that leaves 1024 to the g and 32 to the degree per second,
whatever Nordic's own JavaScript divides by.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt

from vskd_stream.decode.limits import refusal
from vskd_stream.errors import LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Link, Options, Traits, parse_options
from vskd_stream.sources.ble.profiles._counted import INT16, CountedSession, vectors

SERVICE: Final = "ef680400-9b35-4933-9b10-52ffa9740042"
ADVERTISED: Final = "ef680100-9b35-4933-9b10-52ffa9740042"
"""The configuration service: of all services only this one is advertised."""
CONFIG: Final = "ef680401-9b35-4933-9b10-52ffa9740042"
"""Intervals of pedometer, temperature and compass in ms, the motion rate in Hz, wake on motion."""
RAW: Final = "ef680406-9b35-4933-9b10-52ffa9740042"
"""Notifies acceleration, angular rate and magnetic field: nine int16."""
UNITS_PER_G: Final = 1024.0
UNITS_PER_DPS: Final = 32.0

_CONFIG: Final = struct.Struct("<HHHHB")
_NOTE: Final = "no times and no numbers: short losses shift samples until their arrivals show it; 2 g at most"


@dataclass(frozen=True, slots=True)
class Motion:
    """One raw sample."""

    acc_g: NDArray[np.float64]
    """(1, 3) acceleration in g."""
    gyro_dps: NDArray[np.float64]
    """(1, 3) angular rate in degrees per second."""


def parse(data: bytes) -> Motion:
    """Read one sample.

    The firmware turns the accelerometer's signs so that the axis that points down reads positive; they
    are turned back here. The gyroscope is left as it is.

    Raises:
        DecodeError: "malformed".
    """
    if len(data) != 18:
        raise refusal("malformed", f"raw motion data of {len(data)} bytes; the Thingy:52 sends 18")
    values = vectors(data, dtype=INT16, columns=9, what="raw motion data")
    return Motion(acc_g=-values[:, 0:3] / UNITS_PER_G, gyro_dps=values[:, 3:6] / UNITS_PER_DPS)


class _Options(Options):
    sampling_rate_hz: Annotated[StrictInt, Field(ge=5, le=200)] = 50
    """Rate in Hz."""


class Thingy52Session(CountedSession):
    """One connection."""

    notify = (RAW,)

    def __init__(self, device: str, options: _Options) -> None:
        self._rate_hz = options.sampling_rate_hz
        super().__init__(device, _traits(self._rate_hz))

    async def start(self, link: Link) -> None:
        """Set the rate, if it is another one: each setting is written to the device's flash.

        Raises:
            LinkError: The device keeps a rate of its own.
        """
        current = await self._config(link)
        if current[3] != self._rate_hz:
            await link.write(CONFIG, _CONFIG.pack(*current[:3], self._rate_hz, current[4]))
            current = await self._config(link)
            if current[3] != self._rate_hz:
                raise LinkError(
                    self._device, f"it stays at {current[3]} Hz and does not take {self._rate_hz}"
                )
        self._agree(self._rate_hz)

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a sample."""
        del uuid
        motion = parse(data)
        return self._dated(motion.acc_g, gyro_dps=motion.gyro_dps, arrival_s=arrival_s)

    async def _config(self, link: Link) -> tuple[int, ...]:
        data = await link.read(CONFIG)
        if len(data) != _CONFIG.size:
            raise LinkError(
                self._device, f"its motion configuration has {len(data)} bytes, not {_CONFIG.size}"
            )
        return _CONFIG.unpack(data)


def _traits(rate_hz: int) -> Traits:
    # The firmware leaves the sensor at the range that its driver starts with.
    return Traits(float(rate_hz), 2.0, "counter", note=_NOTE)


@dataclass(frozen=True, slots=True)
class Thingy52Profile:
    """Thingy:52 with the firmware that it is sold with."""

    name: str = "thingy52"

    def matches(self, advertisement: Advertisement) -> bool:
        """By what it advertises; the name may be the owner's."""
        return ADVERTISED in advertisement.service_uuids or advertisement.name == "Thingy"

    def session(self, device: str, options: Mapping[str, object]) -> Thingy52Session:
        """Prepare a connection."""
        return Thingy52Session(device, parse_options(_Options, device, options))


PROFILE: Final = Thingy52Profile()
