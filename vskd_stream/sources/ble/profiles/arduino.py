"""Arduino Nano 33 BLE Sense, with the sketch of the TinyML kits: three floats in g.

The sketch tells neither its rate nor a time, so the rate must be configured. Other sketches have
characteristics and scales of their own: for those there is the declarative profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictFloat

from vskd_stream.decode.limits import MAX_RATE_HZ, MIN_RATE_HZ, refusal
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Link, Options, Traits, parse_options
from vskd_stream.sources.ble.profiles._counted import FLOAT, CountedSession, vectors

SERVICE: Final = "6fbe1da7-0000-44de-92c4-bb6e04fb0212"
DATA: Final = "6fbe1da7-3001-44de-92c4-bb6e04fb0212"
"""Notifies x, y, z."""
RANGE_G: Final = 4.0
"""What Arduino's library for the board's sensor sets."""

_NOTE: Final = "no times, no numbers, and a rate that only its sketch knows"


def parse(data: bytes) -> NDArray[np.float64]:
    """Read one sample; (1, 3) acceleration in g.

    Raises:
        DecodeError: "malformed".
    """
    if len(data) != 12:
        raise refusal("malformed", f"an acceleration of {len(data)} bytes; the sketch sends 12")
    return vectors(data, dtype=FLOAT, columns=3, what="an acceleration")


class _Options(Options):
    sampling_rate_hz: Annotated[StrictFloat, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]
    """Rate in Hz at which the sketch sends."""


class ArduinoSession(CountedSession):
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        super().__init__(device, Traits(options.sampling_rate_hz, RANGE_G, "counter", note=_NOTE))

    async def start(self, link: Link) -> None:
        """Nothing to write: subscribing is enough."""
        del link
        self._agree(self._traits.sampling_rate_hz)

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a sample."""
        del uuid
        return self._dated(parse(data), arrival_s=arrival_s)


@dataclass(frozen=True, slots=True)
class ArduinoProfile:
    """Boards with the sketch's service."""

    name: str = "arduino"

    def matches(self, advertisement: Advertisement) -> bool:
        """By the service, or by the name that the sketch gives its board."""
        return SERVICE in advertisement.service_uuids or advertisement.name.startswith("BLESense-")

    def session(self, device: str, options: Mapping[str, object]) -> ArduinoSession:
        """Prepare a connection."""
        return ArduinoSession(device, parse_options(_Options, device, options))


PROFILE: Final = ArduinoProfile()
