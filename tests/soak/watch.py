"""A watch that nobody can rely on: it loses, repeats and swaps batches, falls silent, restarts."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tests.models import acceleration

RATE_HZ = 10.0
BATCH = 100
"""Samples: ten seconds."""

_ACTIVITIES = tuple(
    msgspec.Raw(
        msgspec.msgpack.encode(
            acceleration(strength, samples=BATCH, sampling_rate_hz=RATE_HZ, seed=seed).round(3).tolist()
        )
    )
    for strength in (0.0, 0.5, 1.5)
    for seed in (1, 2)
)
_GARBAGE = (b"\xff\xfe", b"{", b"[]", b'{"schema":99}', b'{"schema":1,"acc":[]}', b"\x81\xa3acc\x90")


@dataclass(frozen=True)
class Sent:
    """What goes over the air."""

    payload: bytes
    samples: int
    """That whoever can read it must account for; 0 for garbage."""


class Watch:
    """One device."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self._rng = rng
        self._tick = rng.randrange(10**6)
        self._sequence = 0
        self._away = 0
        self._activity = rng.choice(_ACTIVITIES)
        self._held: deque[Sent] = deque()
        self._last: Sent | None = None

    def pass_time(self) -> Iterator[Sent]:
        """Ten seconds go by: what of it reaches the gateway."""
        chance = self._rng.random()
        self._tick += BATCH
        self._sequence += 1
        if chance < 0.05:
            self._activity = self._rng.choice(_ACTIVITIES)
        if self._away:
            self._away -= 1
            return
        batch = self._batch()
        if chance < 0.002:
            # Out of range, or in its charger: minutes, sometimes hours.
            self._away = self._rng.choice((1, 2, 6, 30, 360))
        elif chance < 0.003:
            # It restarts, and counts from the beginning.
            self._tick = self._sequence = 0
        elif chance < 0.013:
            self._held.append(batch)
            return
        elif chance < 0.023:
            return
        elif chance < 0.028 and self._last is not None:
            yield self._last
        elif chance < 0.030:
            yield Sent(self._rng.choice(_GARBAGE), 0)
        yield batch
        while self._held:
            yield self._held.popleft()
        self._last = batch

    def _batch(self) -> Sent:
        fields = {
            "schema": 1,
            "sequence": self._sequence,
            "sampling_rate_hz": RATE_HZ,
            "first_tick": self._tick,
            "tick_rate_hz": RATE_HZ,
            "unit": "g",
            "acc": self._activity,
        }
        return Sent(msgspec.msgpack.encode(fields), BATCH)
