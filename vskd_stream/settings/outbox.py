"""`outbox`: where events wait until the broker has them, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import FilePath


class Outbox(Section):
    """Where events wait until the broker has them: on disk they survive the daemon too."""

    directory: FilePath | None = None
    """Folder of the file that holds them, one gateway's alone; absent: that of systemd's StateDirectory=,
    and without one they wait in memory."""
    max_bytes: Annotated[StrictInt, Field(ge=2**20, le=2**36)] = 64 * 2**20
    """Bytes of events that may wait on disk; beyond, updates are dropped first, and counted."""
    max_age_s: Annotated[StrictFloat, Field(ge=60.0, le=315_360_000.0)] = 604_800.0
    """Events that have waited on disk for so many seconds are dropped and counted."""
