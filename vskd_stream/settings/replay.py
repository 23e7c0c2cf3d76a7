"""`replay`: recordings that are published as a watch would send them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import NameOrPath, explained


class Replay(Section):
    """A recording that is published over MQTT as a watch would send it."""

    recording: NameOrPath
    """Name of a shipped recording (`demo`), or a path relative to the configuration file."""
    topic: (
        Annotated[
            str,
            Field(pattern=r"^[^+#\x00]{1,512}$"),
            explained("a topic of 1 to 512 characters without `+` and `#`"),
        ]
        | None
    ) = None
    """Topic to publish on; absent: the topic that each payload was recorded from."""
    start_s: Annotated[StrictFloat, Field(ge=0.0, le=1e6)] = 0.0
    """Seconds of the recording to leave out at its beginning."""
    speed: Annotated[StrictFloat, Field(gt=0.0, le=1000.0)] = 1.0
    """Times real time."""
    repeat: StrictBool = False
    """Begin again at the end, with the times moved on, until the daemon stops."""
