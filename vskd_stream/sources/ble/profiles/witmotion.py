"""WitMotion's BLE 5 sensors (WT901BLE, WT9011DCL): frames of acceleration, angular rate and angles.

Format: the maker's own SDKs; int16, little-endian. The UUIDs end in 9a34fb, unlike Bluetooth's own. A
frame has neither checksum, number nor time. What stands against garbage is its place alone: a frame is
taken only where another one follows or the bytes end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import refusal
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Link, Options, Traits, parse_options
from vskd_stream.sources.ble.profiles._counted import INT16, CountedAgreed, CountedSession, vectors

SERVICE: Final = "0000ffe5-0000-1000-8000-00805f9a34fb"
DATA: Final = "0000ffe4-0000-1000-8000-00805f9a34fb"
"""Notifies frames, several at once."""
COMMAND: Final = "0000ffe9-0000-1000-8000-00805f9a34fb"
"""Takes registers to write: FF AA register low high."""
RANGE_G: Final = 16.0
RANGE_DPS: Final = 2000.0
FULL_SCALE: Final = 32768.0

FRAME_BYTES: Final = 20
_DATA_HEAD: Final = b"\x55\x61"
_REGISTER_HEAD: Final = b"\x55\x71"
"""Registers that somebody has asked for: as long as a data frame, and no samples."""
_UNLOCK: Final = bytes.fromhex("ffaa6988b5")
_RATE_CODES: Final = {10: 0x06, 50: 0x08, 100: 0x09, 200: 0x0B}
_MAX_BYTES: Final = 4096
_NOTE: Final = "no checksum, no times and no numbers: what is damaged can pass, and losses show late"


@dataclass(frozen=True, slots=True)
class Frames:
    """What a stretch of bytes holds."""

    acc_g: NDArray[np.float64]
    """(n, 3) acceleration in g."""
    gyro_dps: NDArray[np.float64]
    """(n, 3) angular rate in degrees per second."""
    skipped: int
    """Bytes that are part of no frame."""
    rest: bytes
    """What may be the beginning of a frame, fewer bytes than one has."""


def parse(data: bytes) -> Frames:
    """Read every frame in ``data``, wherever it begins."""
    frames, place, skipped = [], 0, 0
    while len(data) - place >= FRAME_BYTES:
        if _is_frame(data, place):
            if data.startswith(_DATA_HEAD, place):
                frames.append(data[place + 2 : place + FRAME_BYTES])
            place += FRAME_BYTES
        else:
            place += 1
            skipped += 1
    start = _begun(data, place)
    values = np.empty((0, 9))
    if frames:
        values = vectors(b"".join(frames), dtype=INT16, columns=9, what="frames")
        # A sensor that has not begun to measure, or bytes that were wiped: nothing at rest is weightless.
        values = values[values.any(axis=1)]
    return Frames(
        acc_g=values[:, 0:3] * (RANGE_G / FULL_SCALE),
        gyro_dps=values[:, 3:6] * (RANGE_DPS / FULL_SCALE),
        skipped=skipped + start - place,
        rest=data[start:],
    )


def _is_frame(data: bytes, place: int) -> bool:
    follows = data[place + FRAME_BYTES : place + FRAME_BYTES + 2]
    return _could_begin(data[place : place + 2]) and _could_begin(follows)


def _could_begin(head: bytes) -> bool:
    return _DATA_HEAD.startswith(head) or _REGISTER_HEAD.startswith(head)


def _begun(data: bytes, place: int) -> int:
    """Where in the last bytes a frame may have begun, or their end."""
    return next((i for i in range(place, len(data)) if _could_begin(data[i : i + 2])), len(data))


class _Options(Options):
    sampling_rate_hz: Literal[10, 50, 100, 200] = 50
    """Rate in Hz."""


class WitMotionSession(CountedSession):
    """One connection."""

    notify = (DATA,)

    def __init__(self, device: str, options: _Options) -> None:
        self._rest = b""
        self._rate_hz = options.sampling_rate_hz
        super().__init__(device, Traits(float(self._rate_hz), RANGE_G, "counter", note=_NOTE))

    async def start(self, link: Link) -> None:
        """Unlock the registers and set the rate; it is not saved, and ends with the device's power."""
        await link.write(COMMAND, _UNLOCK, response=False)
        rate = bytes([0xFF, 0xAA, 0x03, _RATE_CODES[self._rate_hz], 0x00])
        await link.write(COMMAND, rate, response=False)
        self._agree(self._rate_hz)

    def _begin(self, agreed: CountedAgreed) -> None:
        self._rest = b""
        super()._begin(agreed)

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read the frames that ``data`` completes."""
        del uuid
        if len(data) > _MAX_BYTES:
            raise refusal("too_large", f"{len(data)} bytes in one notification; the device sends hundreds")
        frames = parse(self._rest + data)
        self._rest = frames.rest
        if not len(frames.acc_g):
            if frames.skipped:
                raise refusal("malformed", f"{frames.skipped} bytes without a frame that begins with 55 61")
            return []
        return self._dated(
            frames.acc_g,
            gyro_dps=frames.gyro_dps,
            arrival_s=arrival_s,
            discarded=-(-frames.skipped // FRAME_BYTES),
        )


@dataclass(frozen=True, slots=True)
class WitMotionProfile:
    """Sensors with the maker's BLE 5 service."""

    name: str = "witmotion"

    def matches(self, advertisement: Advertisement) -> bool:
        """By the service, or by the names that they are sold under."""
        return SERVICE in advertisement.service_uuids or advertisement.name.startswith("WT901")

    def session(self, device: str, options: Mapping[str, object]) -> WitMotionSession:
        """Prepare a connection."""
        return WitMotionSession(device, parse_options(_Options, device, options))


PROFILE: Final = WitMotionProfile()
