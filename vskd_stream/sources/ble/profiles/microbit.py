"""BBC micro:bit, both versions: its accelerometer service, at periods that do not crash it.

Format: lancaster-university/microbit-dal, MicroBitAccelerometerService. The numbers are called milli-g,
but the drivers scale so that 1024 is 1 g.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import refusal
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Link, Options, Traits, parse_options
from vskd_stream.sources.ble.profiles._counted import INT16, CountedSession, vectors

SERVICE: Final = "e95d0753-251d-470a-a062-fa1922dfa9a8"
DATA: Final = "e95dca4b-251d-470a-a062-fa1922dfa9a8"
"""Notifies x, y, z as int16."""
PERIOD: Final = "e95dfb24-251d-470a-a062-fa1922dfa9a8"
"""Milliseconds from one sample to the next, u16; reading it tells the one that is kept."""
UNITS_PER_G: Final = 1024.0
SLOWEST_MS: Final = 640

_PERIOD: Final = struct.Struct("<H")
_NOTE: Final = "no times and no numbers: short losses shift samples until their arrivals show it"


def parse(data: bytes) -> NDArray[np.float64]:
    """Read one sample; (1, 3) acceleration in g.

    The micro:bit shows where gravity pulls: face up, z is -1 g. All signs are turned, which makes x point
    right, y to the logo and z out of the face, and a board at rest +1 g upward.

    Raises:
        DecodeError: "malformed".
    """
    if len(data) != 6:
        raise refusal("malformed", f"an acceleration of {len(data)} bytes; the micro:bit sends 6")
    return -vectors(data, dtype=INT16, columns=3, what="an acceleration") / UNITS_PER_G


class _Options(Options):
    # Never 1, which crashes the board, nor 0, which does so at the next start; 2 is faster than any link.
    period_ms: Literal[5, 10, 20, 80, 160] = 20
    """Milliseconds from one sample to the next."""


class MicrobitSession(CountedSession):
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        self._period_ms = options.period_ms
        super().__init__(device, _traits(options.period_ms))

    async def start(self, link: Link) -> None:
        """Write the period, and go by the one that the board then keeps.

        Raises:
            LinkError: It keeps none that samples could come at.
        """
        await self._agree_on_period(
            link, PERIOD, period_ms=self._period_ms, form=_PERIOD, slowest_ms=SLOWEST_MS
        )

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a sample."""
        del uuid
        return self._dated(parse(data), arrival_s=arrival_s)


def _traits(period_ms: int) -> Traits:
    return Traits(1000.0 / period_ms, 2.0, "counter", note=_NOTE)


@dataclass(frozen=True, slots=True)
class MicrobitProfile:
    """Boards whose program has the accelerometer service."""

    name: str = "microbit"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name: the service is not advertised."""
        return advertisement.name.startswith("BBC micro:bit")

    def session(self, device: str, options: Mapping[str, object]) -> MicrobitSession:
        """Prepare a connection."""
        return MicrobitSession(device, parse_options(_Options, device, options))


PROFILE: Final = MicrobitProfile()
