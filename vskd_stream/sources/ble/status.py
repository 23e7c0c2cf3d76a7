"""How a device is doing, for whoever wants to know."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from vskd_stream.sources.ble.profile import Traits

State = Literal["seeking", "connecting", "streaming", "silent", "resting"]
"""Not found yet; found; samples come; connected, but nothing comes; left alone as it only ever failed."""


@dataclass(slots=True)
class Status:
    """One device of the configuration."""

    device: str
    profile: str
    state: State = "seeking"
    address: str = ""
    """Where it was last found; empty before."""
    traits: Traits | None = None
    """Limits of the stream; None before the first one."""
    samples: int = 0
    """Samples handed on."""
    counts: Counter[str] = field(default_factory=Counter)
    """``connected``, ``lost`` (good streams), ``failed`` (attempts), ``resubscribed``, ``removed``,
    ``rested``, and notifications that were dropped, by reason."""
