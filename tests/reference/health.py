"""What a minute of arrivals holds, counted anew from everything that ever came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vskd_stream.samples import GapReason, Samples


@dataclass(frozen=True)
class Arrival:
    """A batch, or (without samples) silence that was noticed."""

    arrival_s: float
    samples: Samples | None
    counts: Mapping[str, int]
    gaps: Sequence[GapReason]


def measures(arrivals: Sequence[Arrival], *, now_s: float) -> dict[str, float | None]:
    """The measures by their names in ``Health``."""
    begin = 0
    for i, arrival in enumerate(arrivals):
        if "no_data" in arrival.gaps:
            begin = i
    recent = [i for i, a in enumerate(arrivals) if i >= begin and _counts(a.arrival_s, now_s)]
    counted = [arrivals[i] for i in recent]
    used = [a for a in counted if a.samples is not None and _is_used(a)]
    batches, samples = len(used), sum(len(a.samples or ()) for a in used)
    missing = sum(a.counts.get("missing", 0) for a in counted)
    hole_s = max(0.0, sum(hole for i, hole in _holes(arrivals) if i in recent))
    nominal_hz = next((a.samples.sampling_rate_hz for a in reversed(arrivals) if a.samples), None)
    measured_s = used[-1].arrival_s - used[0].arrival_s if used else 0.0
    loss = 0.0
    if used and nominal_hz:
        loss = max(missing / (missing + batches), hole_s / (hole_s + samples / nominal_hz))
    first = len(used[0].samples or ()) if used else 0
    return {
        "batches": batches,
        "samples": samples,
        "missing_batches": missing,
        "duplicates": sum(a.counts.get("duplicate", 0) for a in counted),
        "late": sum(a.counts.get("late", 0) for a in counted),
        "gaps": sum(_breaks(arrivals[i].gaps) if i == begin else len(arrivals[i].gaps) for i in recent),
        "hole_s": hole_s,
        "measured_s": measured_s,
        "rate_hz": (samples - first) / measured_s if measured_s >= 10 else None,
        "loss": loss,
    }


def _counts(arrival_s: float, now_s: float) -> bool:
    return math.floor(arrival_s) > math.floor(now_s) - 60


def _breaks(gaps: Sequence[GapReason]) -> int:
    """How many there are from the last silence on."""
    return next((i for i, reason in enumerate(reversed(gaps), 1) if reason == "no_data"), len(gaps))


def _is_used(arrival: Arrival) -> bool:
    return not {"duplicate", "late", "rate_too_low"} & arrival.counts.keys()


def _holes(arrivals: Sequence[Arrival]) -> list[tuple[int, float]]:
    holes: list[tuple[int, float]] = []
    newest_s: float | None = None
    for i, arrival in enumerate(arrivals):
        if {"no_data", "clock_jump"} & set(arrival.gaps):
            newest_s = None
        if arrival.samples is None or not _is_used(arrival):
            continue
        if arrival.counts.get("restart"):
            newest_s = None
        times, period_s = arrival.samples.t_s, 1 / arrival.samples.sampling_rate_hz
        if newest_s is not None and times[-1] <= newest_s:
            holes.append((i, -len(times) * period_s))
        elif newest_s is not None and times[0] - newest_s - period_s > 1.5 * period_s:
            holes.append((i, min(60.0, float(times[0] - newest_s - period_s))))
        newest_s = float(times[-1]) if newest_s is None else max(newest_s, float(times[-1]))
    return holes
