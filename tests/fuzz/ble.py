"""Bluetooth payloads: a session of any profile, fed with any notifications at any times."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator

from tests.ble.profiles.fuzz import SUBJECTS
from tests.ble.profiles.links import ARRIVAL_S, FakeLink
from tests.decode.payloads import check_refusal, check_samples
from vskd_stream.errors import DecodeError
from vskd_stream.sources.ble.profile import Session
from vskd_stream.sources.ble.profiles import bangle, infinitime, polar

_MAX_PACKETS = 64
_STEPS_S = (0.0, 0.02, 0.2, 1.0, -1.0, 7.0, 5000.0, -1e9)


def _polar() -> Session:
    link = FakeLink(values={polar.CONTROL: b"\x0f\x05\x00"})
    session = polar.PROFILE.session("d1", {})
    parameters = {
        1: bytes.fromhex("00 04 1900 3200 6400 C800 01 01 1000 02 03 0200 0400 0800"),
        2: b"\x05\x01" + struct.pack("<f", 1.0),
    }

    def on_write(uuid: str, command: bytes) -> None:
        answer = bytes([0xF0, command[0], command[1], 0, 0]) + parameters.get(command[0], b"")
        session.decode(uuid, answer, arrival_s=ARRIVAL_S)

    link.on_write = on_write
    _LOOP.run_until_complete(session.start(link))
    return session


def _polar_payload(i: int) -> bytes:
    return struct.pack("<BQB", 2, 10**12 + i * 10**8, 1) + struct.pack("<3h", i % 100, 0, 1000) * 5


_LOOP = asyncio.new_event_loop()
_OTHERS: dict[str, tuple[Callable[[], Session], Callable[[int], bytes]]] = {
    "infinitime": (
        lambda: infinitime.PROFILE.session("d1", {}),
        lambda i: struct.pack("<3h", i % 9, 0, 1024),
    ),
    "polar": (_polar, _polar_payload),
}
NAMES = (*SUBJECTS, *_OTHERS)
"""What the first byte chooses among: every profile, some of them twice."""


def run(data: bytes) -> None:
    """The first byte names the profile; then packets: length, step in time, bytes."""
    if not data:
        return
    name = NAMES[data[0] % len(NAMES)]
    session = _OTHERS[name][0]() if name in _OTHERS else SUBJECTS[name].session()
    arrival_s, place = ARRIVAL_S, 1
    for _ in range(_MAX_PACKETS):
        if place + 2 > len(data):
            return
        length, step = data[place], data[place + 1]
        packet = data[place + 2 : place + 2 + length]
        place += 2 + length
        arrival_s += _STEPS_S[step % len(_STEPS_S)]
        uuids = session.notify
        try:
            found = session.decode(uuids[-1 - (step >> 3) % len(uuids)], packet, arrival_s=arrival_s)
        except DecodeError as error:
            check_refusal(error)
            continue
        for samples in found:
            check_samples(samples)


def seeds() -> Iterator[bytes]:
    """Good streams of three packets."""
    for number, name in enumerate(NAMES):
        payload = _OTHERS[name][1] if name in _OTHERS else SUBJECTS[name].payload
        packets = [payload(i) for i in range(3)]
        yield bytes([number]) + b"".join(bytes([len(packet), 1]) + packet for packet in packets)


# Its device is waited for, in earnest.
bangle._RESET_S = 0.0  # type: ignore[misc]
