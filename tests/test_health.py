from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.reference.health import Arrival, measures
from tests.streams import batch, batches
from vskd_stream.clock import ClockFit
from vskd_stream.health import GRADES, LIMITS, WINDOW_S, Health, HealthMonitor, Limits
from vskd_stream.samples import Samples

NOW_S = 1.79e9
GOOD_FIT = ClockFit(residual_p95_s=0.01, ppm=20.0, span_s=60.0, restarts=0)


def feed(monitor: HealthMonitor, arrival: Arrival) -> None:
    if arrival.samples is None:
        for reason in arrival.gaps:
            monitor.gap(reason, now_s=arrival.arrival_s)
    else:
        monitor.observe(
            arrival.samples,
            arrival_s=arrival.arrival_s,
            counts=arrival.counts,
            gaps=arrival.gaps,
            clock="host",
        )


def stream(
    *, seconds: float = 60.0, lost: frozenset[int] = frozenset(), rate_hz: float = 50.0, pace: float = 1.0
) -> list[Arrival]:
    """Batches of half a second; ``pace`` is how fast they really come."""
    arrivals, missing = [], 0
    for samples in batches(seconds=seconds, rate_hz=rate_hz, size=int(rate_hz / 2)):
        if samples.sequence in lost:
            missing += 1
            continue
        at_s = NOW_S + (float(samples.t_s[-1]) - 100.0) / pace
        arrivals.append(Arrival(at_s, samples, Counter({"missing": missing} if missing else {}), ()))
        missing = 0
    return arrivals


def health(arrivals: list[Arrival], *, after_s: float = 0.0, fit: ClockFit | None = GOOD_FIT) -> Health:
    monitor = HealthMonitor()
    for arrival in arrivals:
        feed(monitor, arrival)
    return monitor.read(arrivals[-1].arrival_s + after_s, fit=fit)


def test_an_undisturbed_stream_is_excellent_for_no_reason() -> None:
    measured = health(stream())
    assert (measured.grade, measured.reasons) == ("excellent", ())
    assert measured.rate_hz == pytest.approx(50.0, rel=0.001)
    assert (measured.loss, measured.hole_s, measured.missing_batches) == (0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("every", "grade"), [(0, "excellent"), (120, "good"), (40, "fair"), (10, "poor"), (4, "unusable")]
)
def test_the_more_is_lost_the_worse_is_the_grade(every: int, grade: str) -> None:
    lost = frozenset(range(5, 120, every)) if every else frozenset()
    measured = health(stream(lost=lost))
    assert measured.grade == grade
    assert measured.reasons == (("loss",) if every else ())
    assert measured.missing_batches == len(lost)
    assert measured.hole_s == pytest.approx(len(lost) / 2)
    assert measured.loss == pytest.approx(len(lost) / 120, abs=0.002)


def test_loss_is_seen_by_time_where_batches_are_not_numbered() -> None:
    arrivals = [
        replace(a, samples=structs.replace(a.samples, sequence=None), counts=Counter())
        for a in stream(lost=frozenset(range(5, 120, 10)))
        if a.samples is not None
    ]
    measured = health(arrivals)
    assert (measured.grade, measured.missing_batches) == ("poor", 0)
    assert measured.loss == pytest.approx(0.1, abs=0.01)


def test_what_comes_out_of_order_is_not_lost() -> None:
    arrivals = stream()
    for i in range(10, 100, 7):
        first, second = arrivals[i], arrivals[i + 1]
        arrivals[i], arrivals[i + 1] = (
            replace(second, arrival_s=first.arrival_s),
            replace(first, arrival_s=second.arrival_s),
        )
    assert health(arrivals).loss == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("pace", "grade"), [(1.01, "excellent"), (0.96, "good"), (1.08, "fair"), (0.8, "poor"), (0.5, "unusable")]
)
def test_a_rate_that_is_not_the_stated_one_is_graded(pace: float, grade: str) -> None:
    measured = health(stream(seconds=40 * min(1.0, pace), pace=pace), fit=None)
    assert (measured.grade, measured.reasons) == (grade, () if grade == "excellent" else ("rate",))
    assert measured.rate_hz == pytest.approx(50 * pace, rel=0.01)


@pytest.mark.parametrize(
    ("fit", "reasons", "grade"),
    [
        (replace(GOOD_FIT, residual_p95_s=0.5), ("jitter",), "good"),
        (replace(GOOD_FIT, residual_p95_s=100.0), ("jitter",), "poor"),
        (replace(GOOD_FIT, ppm=-500.0), ("drift",), "good"),
        (replace(GOOD_FIT, ppm=5000.0, residual_p95_s=1.5), ("drift", "jitter"), "fair"),
        (replace(GOOD_FIT, ppm=None), (), "excellent"),
    ],
)
def test_a_clock_lowers_the_grade_but_makes_no_stream_unusable(
    fit: ClockFit, reasons: tuple[str, ...], grade: str
) -> None:
    measured = health(stream(), fit=fit)
    assert (measured.grade, measured.reasons) == (grade, reasons)
    assert (measured.residual_p95_s, measured.drift_ppm) == (fit.residual_p95_s, fit.ppm)


def test_reasons_come_worst_first() -> None:
    fit = replace(GOOD_FIT, residual_p95_s=0.5)
    assert health(stream(lost=frozenset(range(0, 120, 4))), fit=fit).reasons == ("loss", "jitter")


def test_repetitions_are_told_and_are_no_samples() -> None:
    arrivals = stream()
    again = [replace(arrival, counts=Counter(duplicate=1)) for arrival in arrivals]
    measured = health(sorted(arrivals + again, key=lambda a: a.arrival_s))
    assert (measured.duplicates, measured.samples) == (120, 3000)
    assert (measured.grade, measured.reasons) == ("poor", ("disorder",))


def test_a_device_too_slow_for_the_model_is_unusable() -> None:
    measured = health([replace(a, counts=Counter(rate_too_low=1)) for a in stream()])
    assert (measured.grade, measured.reasons, measured.samples) == ("unusable", ("rate_too_low",), 0)


def test_silence_is_unusable_and_what_was_before_it_counts_no_more() -> None:
    before = stream(lost=frozenset(range(0, 120, 3)))
    at_s = before[-1].arrival_s + 10.0
    silence = Arrival(at_s, None, {}, ("no_data",))
    measured = health([*before, silence])
    assert measured.grade == "unusable"
    assert "no_data" in measured.reasons
    after = [replace(a, arrival_s=a.arrival_s + 70.0) for a in stream(seconds=20)]
    measured = health([*before, silence, *after])
    assert (measured.grade, measured.reasons) == ("good", ("gaps",))


def test_nothing_for_a_minute_is_no_data_too() -> None:
    measured = health(stream(), after_s=61.0)
    assert (measured.grade, measured.reasons, measured.residual_p95_s) == ("unusable", ("no_data",), None)


def test_a_clock_of_ours_that_is_set_back_begins_a_new_minute() -> None:
    arrivals = stream()
    back = [replace(a, arrival_s=a.arrival_s - 3600) for a in stream(seconds=5)]
    measured = health([*arrivals, *back])
    assert (measured.batches, measured.rate_hz) == (10, None)


def test_memory_is_bounded_whatever_comes() -> None:
    monitor = HealthMonitor()
    for i in range(20_000):
        samples = batch([i * 0.02], sequence=i)
        monitor.observe(samples, arrival_s=NOW_S + i * 0.02, counts={}, gaps=(), clock="host")
    assert monitor.read(NOW_S + 400.0, fit=None).batches <= 50 * WINDOW_S
    assert monitor._counts.nbytes + monitor._times.nbytes < 5_000


def test_the_limits_rise_and_each_is_a_number_for_every_grade_but_the_worst() -> None:
    for limits in LIMITS.values():
        assert len(limits) == len(GRADES) - 1
        assert list(limits) == sorted(limits)


_step = st.tuples(
    st.floats(0.0, 20.0),  # seconds since the last arrival
    st.sampled_from([0.0, 0.02, 0.02, 0.02, 0.5, 3.0, -1.0, -40.0]),  # hole before the batch in stream time
    st.integers(1, 40),  # samples
    st.dictionaries(
        st.sampled_from(["missing", "duplicate", "late", "restart", "rate_too_low", "overlap"]),
        st.integers(1, 3),
        max_size=2,
    ),
    st.lists(st.sampled_from(["missing", "clock_jump", "no_data"]), max_size=2),
    st.booleans(),
)


@given(st.lists(_step, min_size=1, max_size=60), st.floats(0.0, 70.0))
@settings(max_examples=150, deadline=None)
def test_every_measure_is_what_counting_everything_anew_gives(steps: list[Any], after_s: float) -> None:
    monitor, arrivals, t_s, at_s = HealthMonitor(), [], 1000.0, NOW_S
    for wait_s, hole_s, count, counts, gaps, is_silence in steps:
        at_s += wait_s
        samples: Samples | None = None
        if not is_silence:
            times = t_s + hole_s + 0.02 * np.arange(count)
            t_s, samples = float(times[-1]), batch(times)
        arrivals.append(Arrival(at_s, samples, {} if is_silence else counts, tuple(gaps)))
        feed(monitor, arrivals[-1])
    measured = monitor.read(at_s + after_s, fit=None)
    for name, value in measures(arrivals, now_s=at_s + after_s).items():
        found = getattr(measured, name)
        assert found == (None if value is None else pytest.approx(value, abs=1e-6)), name
    assert 0.0 <= measured.loss <= 1.0
    assert not math.isnan(measured.loss)
    assert (measured.grade == "excellent") == (not measured.reasons)


@pytest.mark.parametrize(
    ("limits", "grade", "reasons"),
    [
        (Limits(), "excellent", ()),
        (Limits("device", 8.0), "excellent", ()),
        (Limits("counted", 16.0), "good", ("no_clock",)),
        (Limits("counted", 2.0), "good", ("no_clock", "range")),
        (Limits("arrival", 2.0), "fair", ("no_clock", "range")),
        (Limits("device", 1.0, note="for tables"), "fair", ("range",)),
    ],
)
def test_what_a_device_cannot_do_better_is_in_its_grade(
    limits: Limits, grade: str, reasons: tuple[str, ...]
) -> None:
    monitor = HealthMonitor()
    arrivals = stream()
    for arrival in arrivals:
        feed(monitor, arrival)
    measured = monitor.read(arrivals[-1].arrival_s, fit=GOOD_FIT, limits=limits)
    assert (measured.grade, measured.reasons, measured.limits) == (grade, reasons, limits)
