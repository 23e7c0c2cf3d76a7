"""What was told against what is true, as those judge who act on events: segments, delays, false alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vskd_stream.events import ActivityEvent
from vskd_stream.manifest import NOT_WORN, STATES, UNKNOWN

IOU = 0.5
"""A told activity is a true one if what they share is at least this part of what they cover together."""


class Span(Protocol):
    """What someone did from one moment to another."""

    @property
    def start_s(self) -> float: ...  # noqa: D102
    @property
    def end_s(self) -> float: ...  # noqa: D102
    @property
    def label(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Judgement:
    """How events follow the truth."""

    hours: float
    """Of the streams, silence left out."""
    segments: int
    """True activities."""
    f1: float
    """Of told activities against true ones at an IoU over 0.5."""
    coarse_f1: float
    """The same at the coarse level, where neighbours that merge are one."""
    found: float
    """Part of the true activities that are told, right, while they last."""
    delay_s: tuple[float, float]
    """From their start until then: median and 90th percentile."""
    false_per_hour: float
    """Told activities during most of which something else was done, or the watch not worn."""
    unknown: float
    """Part of the time of true activities that ends up as ``unknown``, or untold."""
    not_worn_told: float
    """Part of the time on the table that is told as ``not_worn``; nan if there was none."""
    false_not_worn: float
    """Part of the time of true activities that is told as ``not_worn``."""


@dataclass(frozen=True, slots=True)
class _Told:
    label: str
    start_s: float
    end_s: float
    told_s: float = 0.0


def judge(
    truths: Sequence[Sequence[Span]],
    events: Sequence[Sequence[ActivityEvent]],
    *,
    labels: Sequence[str],
    coarse: Mapping[str, str],
) -> Judgement:
    """Judge streams, in which no activity is left open; where the truth is None anything may be told."""
    told = [_activities(each) for each in events]
    counts = np.zeros((2, 3), np.int64)
    delays: list[float] = []
    false = 0
    spans = [[each for each in truth if each.label is not None] for truth in truths]
    active = [[each for each in truth if each.label in labels] for truth in spans]
    for truth, does, said in zip(spans, active, told, strict=True):
        named = [each for each in said if each.label not in STATES]
        # Where nobody knows what was done, nothing that is told is wrong.
        sure = [each for each in named if _shared(each, truth) > 0.5 * (each.end_s - each.start_s)]
        counts[0] += _matches(does, sure)
        kinds = [_renamed(each, coarse) for each in does]
        counts[1] += _matches(_merged(kinds), _merged([_renamed(each, coarse) for each in sure]))
        delays += _delays(does, named)
        false += sum(
            _shared(each, [span for span in truth if span.label == each.label]) < 0.5 * _shared(each, truth)
            for each in sure
        )
    active_s = sum(each.end_s - each.start_s for does in active for each in does)
    table = [[each for each in truth if each.label == NOT_WORN] for truth in spans]
    table_s = sum(each.end_s - each.start_s for spans_ in table for each in spans_)
    hours = sum(each.end_s - each.start_s for truth in truths for each in truth) / 3600.0

    def share(of: Sequence[Sequence[Span]], is_counted: Sequence[str], whole_s: float) -> float:
        seconds = sum(
            _shared(each, spans_)
            for spans_, said in zip(of, told, strict=True)
            for each in said
            if each.label in is_counted
        )
        return seconds / whole_s if whole_s else math.nan

    segments = sum(map(len, active))
    return Judgement(
        hours=hours,
        segments=segments,
        f1=_f1(counts[0]),
        coarse_f1=_f1(counts[1]),
        found=len(delays) / max(1, segments),
        delay_s=(float(np.median(delays)), float(np.quantile(delays, 0.9)))
        if delays
        else (math.nan, math.nan),
        false_per_hour=false / hours if hours else math.nan,
        unknown=1.0 - share(active, (*labels, NOT_WORN), active_s),
        not_worn_told=share(table, (NOT_WORN,), table_s),
        false_not_worn=share(active, (NOT_WORN,), active_s),
    )


def _activities(events: Sequence[ActivityEvent]) -> list[_Told]:
    told_s = {event.id: event.at_s for event in events if event.type == "start"}
    return [
        _Told(event.label, event.start_s, event.end_s, told_s[event.id])
        for event in events
        if event.type == "end" and event.end_s is not None
    ]


def _shared(told: Span, spans: Sequence[Span]) -> float:
    return sum(max(0.0, min(told.end_s, each.end_s) - max(told.start_s, each.start_s)) for each in spans)


def _matches(true: Sequence[Span], told: Sequence[Span]) -> tuple[int, int, int]:
    """Matched, true and told; with an IoU over a half a match is the only one of both."""
    matched = 0
    for each in true:
        for other in told:
            shared = _shared(each, [other])
            together = each.end_s - each.start_s + other.end_s - other.start_s - shared
            if each.label == other.label and together > 0.0 and shared / together > IOU:
                matched += 1
                break
    return matched, len(true), len(told)


def _f1(counts: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    matched, true, told = (int(each) for each in counts)
    return 2.0 * matched / max(1, true + told)


def _renamed(each: Span, coarse: Mapping[str, str]) -> _Told:
    label = each.label or UNKNOWN
    return _Told(coarse.get(label, label), each.start_s, each.end_s)


def _merged(spans: Sequence[_Told]) -> list[_Told]:
    found: list[_Told] = []
    for each in sorted(spans, key=lambda span: span.start_s):
        if found and found[-1].label == each.label and each.start_s - found[-1].end_s < 1.0:
            found[-1] = _Told(each.label, found[-1].start_s, each.end_s)
        else:
            found.append(each)
    return found


def _delays(true: Sequence[Span], told: Sequence[_Told]) -> list[float]:
    delays = []
    for each in true:
        for other in told:
            if other.label == each.label and other.told_s <= each.end_s and _shared(each, [other]) > 0.0:
                delays.append(max(0.0, other.told_s - each.start_s))
                break
    return delays
