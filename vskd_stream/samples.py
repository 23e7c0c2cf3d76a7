"""What enters the signal path: samples of one device, and the gaps between them.

Conventions, converted once at decoding and never again:

- acceleration in g **including gravity**, as a device at rest measures it: about +1 g along the
  axis that points up (the Android convention);
- angular rate in degrees per second;
- time in seconds on the stream's own time line, as float64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A device's or gateway's id (``fullmatch``): whatever matches is safe as one level of a topic."""

Epoch = Literal["device", "utc"]
"""Where a stream's time line starts: at a moment that only the device knows, or at 1970-01-01 UTC."""


class Samples(msgspec.Struct, frozen=True, eq=False):
    """A batch of consecutive samples of one device."""

    device: str
    """Which device; matches ``IDENTIFIER``."""
    t_s: NDArray[np.float64]
    """(n,) seconds on the stream's time line, strictly increasing, n >= 1."""
    acc_g: NDArray[np.float32]
    """(n, 3) acceleration in g, gravity included, finite."""
    sampling_rate_hz: float
    """The device's nominal rate."""
    epoch: Epoch = "device"
    """Whether ``t_s`` is UTC or counts from a moment of the device's own."""
    sequence: int | None = None
    """The batch's number as its sender counts, if it does."""
    gyro_dps: NDArray[np.float32] | None = None
    """(n, 3) angular rate in degrees per second, if the device has a gyroscope."""

    counted: bool = False
    """Whether ``t_s`` is a count over the nominal rate, because the device has no clock: off by percents."""
    discarded: int = 0
    """Samples of the same payload that could not be used: repeated times, an axis or gravity missing."""

    def __len__(self) -> int:
        return len(self.t_s)


GapReason = Literal["missing", "clock_jump", "no_data", "overload", "units_suspect"]
"""Why a stream is broken: samples never came, its clock jumped, it fell silent, we shed load, or its
samples cannot be what they claim to be (``sanity``)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole in a stream: nothing before it may be joined with anything after it."""

    device: str
    start_s: float
    """Stream time of the last sample before the hole."""
    end_s: float
    """Stream time of the first sample after it; equal to ``start_s`` while none has come."""
    reason: GapReason
    detail: str = ""
    """For people: what is wrong, and what to do; empty where the reason says it all."""
