"""`limits`: bounds that keep one device from harming the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt

from vskd_stream.settings.section import Section


class Limits(Section):
    """Bounds that keep one device, or a stranger, from harming the others."""

    max_devices: Annotated[StrictInt, Field(ge=1, le=10_000)] = 64
    """Devices served at once; samples of any further one are refused and counted."""
    max_payload_bytes: Annotated[StrictInt, Field(ge=1024, le=16 * 2**20)] = 256 * 1024
    """Larger payloads are refused unread."""
    reorder_horizon_s: Annotated[StrictFloat, Field(ge=0.0, le=30.0)] = 2.0
    """A missing batch is awaited for so many seconds of stream time before the hole is accepted."""
    max_queued_windows: Annotated[StrictInt, Field(ge=1, le=100_000)] = 1024
    """Windows that may wait for the model; then the oldest are dropped and counted."""
    max_queued_events: Annotated[StrictInt, Field(ge=16, le=1_000_000)] = 10_000
    """Messages that may wait for the broker in memory; beyond, updates are dropped first, and counted."""
