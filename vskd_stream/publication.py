"""One message on its way to the broker, and one that asks for an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec


class Publication(msgspec.Struct, frozen=True):
    """What ``topics`` makes and ``broker`` sends; what MQTT 3.1.1 has no words for is left out there."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    """0: dropped while there is no broker. 1: kept until a broker has acknowledged it."""
    retain: bool = False
    expiry_s: int | None = None
    """MQTT 5: the broker keeps it no longer than this for a subscriber that is away; None: for ever."""
    content_type: str | None = None
    """MQTT 5: what the payload is, as a MIME type."""
    user_properties: tuple[tuple[str, str], ...] = ()
    """MQTT 5: what a subscriber may want to know before it reads the payload."""
    correlation: bytes | None = None
    """MQTT 5: by which the one who asked knows the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message that came in on a topic of commands."""

    topic: str
    payload: bytes
    response_topic: str | None = None
    """MQTT 5: where the answer is wanted."""
    correlation: bytes | None = None
