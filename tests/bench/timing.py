"""Fair timing on a shared machine: the candidates take turns, and the median of many turns counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import repeat
from statistics import median

Candidate = Callable[[], object]


def _turn_us(candidate: Candidate, calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in repeat(None, calls):
        candidate()
    return (time.perf_counter_ns() - start) / calls / 1000.0


def interleaved_us(
    candidates: Mapping[str, Candidate], *, rounds: int = 101, turn_us: float = 1000.0
) -> dict[str, float]:
    """Microseconds a call of each candidate takes: the median over ``rounds`` turns.

    Args:
        candidates: What to call, by name; a call's own cost (some 20 ns) is part of the result.
        rounds: How often each candidate has its turn; a round gives every candidate one.
        turn_us: How long a turn should last: long against the clock's resolution, short against
            the changes of load and frequency that rounds are to share out evenly.
    """
    calls = {}
    for name, candidate in candidates.items():
        candidate()
        calls[name] = max(1, round(turn_us / max(_turn_us(candidate, 10), 0.01)))
    turns: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        for name in order:
            turns[name].append(_turn_us(candidates[name], calls[name]))
        # Whoever follows a candidate finds the caches it left: nobody always follows the same one.
        order.reverse()
    return {name: median(values) for name, values in turns.items()}
