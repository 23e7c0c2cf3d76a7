"""Hostile payloads for every decoder: random, mutated, repeated, cut; at honest and at impossible times.

``python -m tests.ble.profiles.fuzz --payloads 1000000 [NAME ...]`` runs a million for each and says what
came of them; the suite runs some thousands.
"""

from __future__ import annotations

import argparse
import random
import struct
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.ble.profiles import wire
from tests.ble.profiles.links import ARRIVAL_S, FakeLink, started_now
from tests.decode.payloads import check_refusal, check_samples
from vskd_stream.errors import DecodeError
from vskd_stream.sources.ble.profile import Profile, Session
from vskd_stream.sources.ble.profiles import (
    adafruit,
    arduino,
    bangle,
    declarative,
    microbit,
    movesense,
    thingy52,
    witmotion,
    xsens_dot,
)

G = 9.80665
MAX_GROWTH_BYTES = 200_000
"""What a decoder may hold on to, however much it has been fed."""


@dataclass(frozen=True)
class Subject:
    """A decoder, and what its device would send."""

    profile: Profile
    payload: Callable[[int], bytes]
    """The i-th of a good stream."""
    period_s: float
    options: Mapping[str, object] = field(default_factory=dict)
    link: Callable[[], FakeLink] = FakeLink

    def session(self) -> Session:
        """One that has begun."""
        link = self.link()
        session = self.profile.session("d1", self.options)
        answer = {bangle.WRITE: wire.bangle_greeting(), movesense.COMMAND: b"\x01\x01\xc8\0"}

        def on_write(uuid: str, data: bytes) -> None:
            if uuid in answer and not data.startswith(b"\x03"):
                session.decode(session.notify[0], answer[uuid], arrival_s=ARRIVAL_S)

        link.on_write = on_write
        return started_now(_Given(self.profile, session), link=link)


@dataclass(frozen=True)
class _Given:
    """A profile whose session is made already, so that its device can answer it."""

    profile: Profile
    made: Session

    @property
    def name(self) -> str:
        return self.profile.name

    def matches(self, advertisement: Any) -> bool:
        return self.profile.matches(advertisement)

    def session(self, device: str, options: Mapping[str, object]) -> Session:
        return self.made


def _numbered(i: int) -> bytes:
    return struct.pack("<BHI", 0xA5, i % 65536, i * 100 % 2**32) + struct.pack("<3h", i % 100, 0, 4096) * 5


def _measured(i: int, *, gyro: bool = False) -> bytes:
    rows = [(0.01 * (i % 9), 0.0, G)] * 4
    return wire.movesense(1000 + round(i * 4000 / 52), rows, rows if gyro else ())


def _in_parts(i: int) -> bytes:
    return wire.movesense_parts(_measured(i // 2, gyro=True), 62)[i % 2]


_NUMBERED = {
    "characteristic": "fff1",
    "sampling_rate_hz": 50,
    "layout": [
        {"constant": "a5"},
        {"sequence": "u16"},
        {"tick": "u32", "rate_hz": 1000},
        {"samples": ["x", "y", "z"], "type": "i16", "count": "fill"},
    ],
    "acc": {"unit": "g", "scale": "1/4096"},
}
_FLOATS = {
    "characteristic": "fff1",
    "sampling_rate_hz": 50,
    "layout": [{"sequence": "u8"}, {"samples": ["x", "y", "z", "gx", "gy", "gz"], "type": "f32"}],
    "acc": {"unit": "m/s2"},
    "gyro": {"unit": "rad/s"},
}
_CONFIG_50_HZ = struct.pack("<HHHHB", 1000, 500, 500, 50, 1)

SUBJECTS: dict[str, Subject] = {
    "adafruit": Subject(adafruit.PROFILE, lambda i: wire.floats(0.1 * (i % 9), 0, G), 0.02),
    "arduino": Subject(
        arduino.PROFILE, lambda i: wire.floats(0.01 * (i % 9), 0, 1), 0.02, {"sampling_rate_hz": 50}
    ),
    "bangle": Subject(
        bangle.PROFILE, lambda i: wire.bangle(i, 5000 + i * 200, [(i % 100, 0, -4096)] * 10), 0.2
    ),
    "declarative": Subject(declarative.PROFILE, _numbered, 0.1, _NUMBERED),
    "declarative-floats": Subject(
        declarative.PROFILE, lambda i: bytes([i % 256]) + wire.floats(0, 0, G, 0.1, 0, 0), 0.02, _FLOATS
    ),
    "microbit": Subject(microbit.PROFILE, lambda i: wire.microbit(i % 100, 0, -1024), 0.02),
    "movesense": Subject(movesense.PROFILE, _measured, 4 / 52),
    "movesense-parts": Subject(movesense.PROFILE, _in_parts, 2 / 52, {"gyro": True}),
    "thingy52": Subject(
        thingy52.PROFILE,
        lambda i: wire.thingy52((i % 100, 0, -1024), (32, 0, 0)),
        0.02,
        link=lambda: FakeLink(values={thingy52.CONFIG: _CONFIG_50_HZ}),
    ),
    "witmotion": Subject(
        witmotion.PROFILE, lambda i: wire.witmotion((i % 100, 0, 2048)) * (1 + i % 3), 0.02 * 2
    ),
    "xsens-dot": Subject(
        xsens_dot.PROFILE,
        lambda i: wire.xsens(i * 16_667, (0.1 * (i % 9), 0, G)),
        1 / 60,
        link=lambda: FakeLink(values={xsens_dot.SETTINGS: bytes(24) + b"\x3c\0" + bytes(6)}),
    ),
}


def hostile(good: bytes, before: bytes, rng: random.Random) -> bytes:
    """One payload: seldom what is due."""

    def random_bytes() -> bytes:
        return rng.randbytes(rng.choice((0, 1, 2, 6, 12, 18, 20, 28, len(good), rng.randrange(520))))

    def spliced() -> bytes:
        return before[: rng.randrange(len(before) + 1)] + good[rng.randrange(len(good)) :]

    def mutated() -> bytes:
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x55, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        return bytes(data)

    made = rng.choice(
        (
            random_bytes,
            spliced,
            mutated,
            mutated,
            mutated,
            lambda: before,
            lambda: good,
            lambda: good[: rng.randrange(len(good) + 1)],
            lambda: good + rng.randbytes(rng.randrange(1, 30)),
            lambda: good[rng.randrange(len(good)) :] + good,
        )
    )
    return made()


def run(name: str, payloads: int, *, seed: int = 1) -> Counter[str]:
    """Feed a decoder, check all that comes of it, and return how often what came.

    Raises:
        AssertionError: Samples that break a promise, a refusal that is not fit to be told, a decoder that
            does not work any more afterwards, or one that holds on to what it was fed.
    """
    subject, rng, counts = SUBJECTS[name], random.Random(seed), Counter[str]()
    session = subject.session()
    arrival_s, before, held_bytes = ARRIVAL_S, subject.payload(0), 0
    was_tracing = tracemalloc.is_tracing()
    for i in range(payloads):
        arrival_s += subject.period_s * rng.choice((0.0, 1.0, 1.0, 1.0, 2.0))
        if rng.randrange(2000) == 0:
            arrival_s += rng.choice((-1.0, 7.0, 40.0, 5000.0))
        data = hostile(subject.payload(i), before, rng)
        before = data or before
        _feed(session, data, arrival_s, counts)
        if i == payloads // 10:
            tracemalloc.start()
            held_bytes = tracemalloc.get_traced_memory()[0]
        if i == payloads // 10 + min(20_000, payloads // 4):
            assert tracemalloc.get_traced_memory()[0] - held_bytes < MAX_GROWTH_BYTES
            if not was_tracing:
                tracemalloc.stop()
    good = Counter[str]()
    for i in range(payloads, payloads + 100):
        arrival_s += subject.period_s
        _feed(session, subject.payload(i), arrival_s, good)
    assert good["samples"] > 20, good
    return counts


def _feed(session: Session, data: bytes, arrival_s: float, counts: Counter[str]) -> None:
    try:
        found = session.decode(session.notify[-1], data, arrival_s=arrival_s)
    except DecodeError as error:
        check_refusal(error)
        counts[error.reason] += 1
        return
    counts["batches" if found else "nothing"] += 1
    for samples in found:
        check_samples(samples)
        counts["samples"] += len(samples)


def main() -> None:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payloads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("names", nargs="*", default=list(SUBJECTS))
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    bangle._RESET_S = 0.0  # type: ignore[misc]
    for name in arguments.names:
        began_s = time.perf_counter()
        counts = run(name, arguments.payloads, seed=arguments.seed)
        took_s = time.perf_counter() - began_s
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
        print(f"{name}: {arguments.payloads} payloads in {took_s:.0f} s: {told}", flush=True)


if __name__ == "__main__":
    main()
