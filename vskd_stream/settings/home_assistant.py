"""`home_assistant`: how devices appear there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import Label, TopicPath


class HomeAssistant(Section):
    """How devices appear in Home Assistant, by its MQTT discovery."""

    enabled: StrictBool = False
    """Announce the gateway and its devices to Home Assistant: retained messages under `discovery_prefix`."""
    discovery_prefix: TopicPath = "homeassistant"
    """Prefix of discovery topics, as Home Assistant's MQTT integration has it."""
    status_topic: TopicPath = "homeassistant/status"
    """Topic of Home Assistant's birth message; on `online` everything is announced again."""
    moving: Annotated[tuple[Label, ...], Field(max_length=256)] = ()
    """Labels of the model, fine or coarse, under which a wearer moves; they make a binary sensor `moving`.
    None: no such sensor, as no model says of its labels which they are."""
    forget_after_days: Annotated[StrictFloat, Field(ge=1.0, le=3650.0)] = 30.0
    """A device that has told nothing for so many days leaves Home Assistant until it speaks again."""
