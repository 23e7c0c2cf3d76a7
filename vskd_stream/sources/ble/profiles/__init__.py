"""The device profiles, by the name that a configuration gives them; one family of devices a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vskd_stream.sources.ble.profile import Profile
from vskd_stream.sources.ble.profiles import (
    adafruit,
    arduino,
    bangle,
    declarative,
    infinitime,
    microbit,
    movesense,
    polar,
    thingy52,
    witmotion,
    xsens_dot,
)

_ALL: tuple[Profile, ...] = (
    polar.PROFILE,
    bangle.PROFILE,
    movesense.PROFILE,
    xsens_dot.PROFILE,
    infinitime.PROFILE,
    microbit.PROFILE,
    thingy52.PROFILE,
    witmotion.PROFILE,
    adafruit.PROFILE,
    arduino.PROFILE,
    declarative.PROFILE,
)

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({profile.name: profile for profile in _ALL})
"""In the order in which an advertisement is offered to them: the most particular first."""
