"""Events are judged as by someone who acts on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from training.judging.told import Judgement, judge
from vskd_stream.events import ActivityEvent

LABELS = ("sit", "soup", "chips")
COARSE = {"soup": "meal", "chips": "meal"}


@dataclass(frozen=True)
class Span:
    start_s: float
    end_s: float
    label: str | None


def told(label: str, start_s: float, end_s: float, *, late_s: float = 5.0) -> list[ActivityEvent]:
    start = ActivityEvent(
        device="w",
        type="start",
        label=label,
        coarse_label=label,
        id=f"{label}{start_s}",
        confidence=None,
        start_sample=0,
        start_s=start_s,
        start_uncertainty_s=None,
        at_sample=0,
        at_s=start_s + late_s,
    )
    return [start, replace(start, type="end", end_sample=1, end_s=end_s, reason="changed")]


def judged(truth: list[Span], *events: list[ActivityEvent]) -> Judgement:
    return judge([truth], [[each for pair in events for each in pair]], labels=LABELS, coarse=COARSE)


TRUTH = [Span(0, 100, "sit"), Span(100, 200, "soup"), Span(200, 300, "chips")]


def test_what_is_told_rightly_is_found_once_and_after_its_delay() -> None:
    found = judged(TRUTH, told("sit", 0, 100), told("soup", 100, 200, late_s=10), told("chips", 200, 300))
    assert (found.f1, found.coarse_f1, found.found) == (1.0, 1.0, 1.0)
    assert found.delay_s == pytest.approx((5.0, 9.0))
    assert (found.false_per_hour, found.unknown) == (0.0, 0.0)
    assert found.hours == pytest.approx(300 / 3600)


def test_half_of_a_segment_is_no_match_and_what_is_told_over_others_is_false() -> None:
    found = judged(TRUTH, told("sit", 0, 50), told("soup", 50, 100), told("chips", 100, 300))
    assert found.f1 == 0.0
    assert found.false_per_hour == pytest.approx(12.0)


def test_at_the_coarse_level_neighbours_of_a_kind_are_one() -> None:
    found = judged(TRUTH, told("sit", 0, 100), told("soup", 100, 300))
    assert found.coarse_f1 == 1.0
    assert found.f1 == pytest.approx(2 * 1 / 5)


def test_where_nobody_knows_the_truth_nothing_is_wrong() -> None:
    found = judged([Span(0, 60, "sit"), Span(60, 80, None)], told("sit", 0, 60), told("soup", 62, 80))
    assert (found.f1, found.false_per_hour) == (1.0, 0.0)


def test_time_that_is_unknown_untold_or_on_the_table_is_counted() -> None:
    truth = [Span(0, 100, "sit"), Span(100, 300, "not_worn")]
    found = judged(truth, told("sit", 0, 50), told("unknown", 50, 100), told("not_worn", 150, 300))
    assert (found.unknown, found.not_worn_told, found.false_not_worn) == (0.5, 0.75, 0.0)
    assert math.isnan(judged(TRUTH).not_worn_told)
    assert judged(TRUTH).unknown == 1.0


def test_an_activity_while_the_watch_lies_on_a_table_is_false() -> None:
    found = judged([Span(0, 3600, "not_worn")], told("sit", 0, 3600))
    assert (found.segments, found.false_per_hour) == (0, 1.0)
