"""What a wearer's watch sends: native batches of 50 Hz that follow each other, of rest and of running."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.models import acceleration

RATE_HZ = 50.0
BATCH = 25
"""Samples in a batch."""
BATCH_S = BATCH / RATE_HZ


def batch(number: int, strength: float, *, seconds: float = BATCH_S, **fields: Any) -> bytes:
    """The batch after ``number`` others as long, of a wearer who rests (0), walks (0.5) or runs (1.5)."""
    samples = int(seconds * RATE_HZ)
    first = number * samples
    acc_g = acceleration(strength, samples=samples, sampling_rate_hz=RATE_HZ, first_sample=first)
    values = {
        "schema": 1,
        "sequence": number,
        "sampling_rate_hz": RATE_HZ,
        "first_tick": first,
        "tick_rate_hz": RATE_HZ,
        "unit": "mg",
        "acc": (acc_g * 1000).round().astype(int).tolist(),
    }
    return msgspec.json.encode(values | fields)


def day(*, start: int = 0, seconds: int = 24) -> list[bytes]:
    """Eight seconds of rest and eight of running in turn."""
    return [batch(i, 1.5 * (i // 16 % 2)) for i in range(start, start + 2 * seconds)]
