"""Adafruit's accelerometer service: Circuit Playground Bluefruit, CLUE, Feather Sense and their kin.

Format: github.com/adafruit/bluetooth-low-energy. Three floats in metres per second squared.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictFloat, StrictInt

from vskd_stream.decode.limits import STANDARD_GRAVITY_MPS2, refusal
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Link, Options, Traits, parse_options
from vskd_stream.sources.ble.profiles._counted import FLOAT, CountedSession, vectors

SERVICE: Final = "adaf0200-c332-42a8-93bd-25e905756cb8"
DATA: Final = "adaf0201-c332-42a8-93bd-25e905756cb8"
"""Notifies x, y, z."""
PERIOD: Final = f"{SERVICE}/adaf0001-c332-42a8-93bd-25e905756cb8"
"""Milliseconds from one sample to the next, i32; -1 stops. Every service has one: this one's is meant."""
SLOWEST_MS: Final = 1000

_PERIOD: Final = struct.Struct("<i")
_STOPPED: Final = -1
_NOTE: Final = "no times and no numbers: short losses shift samples until their arrivals show it"


def parse(data: bytes) -> NDArray[np.float64]:
    """Read one sample; (1, 3) acceleration in g.

    Raises:
        DecodeError: "malformed".
    """
    if len(data) != 12:
        raise refusal("malformed", f"an acceleration of {len(data)} bytes; the service sends 12")
    return vectors(data, dtype=FLOAT, columns=3, what="an acceleration") / STANDARD_GRAVITY_MPS2


class _Options(Options):
    period_ms: Annotated[StrictInt, Field(ge=5, le=SLOWEST_MS)] = 20
    """Milliseconds from one sample to the next; a board that is asked for too much sends what it can."""
    range_g: Annotated[StrictFloat, Field(ge=1.0, le=64.0)] = 16.0
    """Full scale in g: that of the board's program, which does not tell it."""


class AdafruitSession(CountedSession):
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        self._options = options
        super().__init__(device, self._traits_at(options.period_ms))

    async def start(self, link: Link) -> None:
        """Write the period, which is a second on a board that nobody has asked, and read back the real one.

        Raises:
            LinkError: The board keeps no period that samples could come at.
        """
        await self._agree_on_period(
            link, PERIOD, period_ms=self._options.period_ms, form=_PERIOD, slowest_ms=SLOWEST_MS
        )

    async def stop(self, link: Link) -> None:
        """Stop the measurement."""
        await link.write(PERIOD, _PERIOD.pack(_STOPPED))

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a sample."""
        del uuid
        return self._dated(parse(data), arrival_s=arrival_s)

    def _traits_at(self, period_ms: int) -> Traits:
        return Traits(1000.0 / period_ms, self._options.range_g, "counter", note=_NOTE)


@dataclass(frozen=True, slots=True)
class AdafruitProfile:
    """Boards with Adafruit's accelerometer service."""

    name: str = "adafruit"

    def matches(self, advertisement: Advertisement) -> bool:
        """By the service; the boards' names are those of their programs."""
        return SERVICE in advertisement.service_uuids

    def session(self, device: str, options: Mapping[str, object]) -> AdafruitSession:
        """Prepare a connection."""
        return AdafruitSession(device, parse_options(_Options, device, options))


PROFILE: Final = AdafruitProfile()
