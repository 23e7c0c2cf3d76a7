"""One message on its way to the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Publication:
    """What ``topics`` makes and ``broker`` sends."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    """0: dropped while there is no broker. 1: kept until a broker has acknowledged it."""
    retain: bool = False
