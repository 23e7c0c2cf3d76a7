"""`publish`: what is sent beside events and states."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from vskd_stream.settings.section import Section


class Publish(Section):
    """What is sent beside events and states."""

    scores: StrictBool = False
    """Publish each window's probabilities (QoS 0)."""
    event_expiry_s: Annotated[StrictInt, Field(ge=1, le=31_536_000)] | None = 3600
    """With MQTT 5, the broker keeps an event no longer than so many seconds for a subscriber that is away;
    `null`: as long as it likes."""
