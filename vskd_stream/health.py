"""How well a device's samples arrive, over the last minute of arrivals; a grade, and the reasons for it.

Each batch costs the same, however long a stream lasts: what it adds goes into the second in which it
arrived, and sixty seconds are all that is kept. What is a repetition, a break or the line of a clock
is decided elsewhere (``reorder``, ``pipeline``, ``clock``) and only graded here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from vskd_stream import _health
from vskd_stream.clock import ClockFit, ClockKind
from vskd_stream.samples import GapReason, Samples

Grade = Literal["excellent", "good", "fair", "poor", "unusable"]
GRADES: tuple[Grade, ...] = ("excellent", "good", "fair", "poor", "unusable")
"""From best to worst."""

Reason = Literal[
    "no_data",
    "rate_too_low",
    "loss",
    "gaps",
    "rate",
    "jitter",
    "drift",
    "disorder",
    "overload",
    "no_clock",
    "range",
]

WINDOW_S = _health.WINDOW_S
"""What is older than this counts no more."""
MATURE_S = 10.0
"""Before this much has been measured a grade is a guess."""

LIMITS: dict[Reason, tuple[float, float, float, float]] = {
    # The part of the samples that never came. A hole costs every window that would lie across it, so with
    # windows of 10 s and batches of 0.5 s a loss of 1 % (one batch a minute) hides a sixth of the time, and
    # one of 20 % leaves no window whole: a grade above "unusable" would be a promise nobody keeps.
    "loss": (0.001, 0.01, 0.05, 0.2),
    # Breaks in the minute that no window crosses. Five leave stretches of 10 s, no longer than a window.
    "gaps": (0, 1, 3, 5),
    # How far the rate of what was not lost is from the stated one, as a part of it. All frequencies of a
    # movement are read wrong by as much: people's own paces differ by about 10 %, and at 25 % a walk is
    # someone else's jog. What the arrivals' jitter alone could explain is taken off before.
    "rate": (0.02, 0.05, 0.1, 0.25),
    # Seconds by which the latest twentieth of the batches comes later than the promptest. Samples stay
    # right, so this never makes a stream unusable: 0.2 s is below what anyone notices, 1 s is felt, and
    # after 2 s (the default ``limits.reorder_horizon_s``) a hole is taken for final.
    "jitter": (0.2, 1.0, 2.0, math.inf),
    # Parts per million between the device's clock and ours. Quartz keeps within 100; more is a sensor that
    # counts its samples and takes them at another rate than it states. The line of the clock follows, so
    # times stay right, but at 10000 the stated rate is wrong by 1 %, which no label should suffer from.
    "drift": (150, 1000, 10_000, math.inf),
    # The part of the batches that came twice or too late. Twice is harmless, and what is too late is lost
    # and counts as such; but who sends so has a network or a sender to look at.
    "disorder": (0.01, 0.05, 0.2, math.inf),
    # The part of the windows that were not classified, because the gateway has too much to do. A hop that is
    # doubled delays what is told by a second or two, one of a whole window still misses nothing that lasts.
    "overload": (0.0, 0.5, 0.8, math.inf),
    # 1: samples are counted, so that a loss which nobody tells of dates a few of them wrong by a period;
    # 2: they have nothing but their arrivals. Frequencies stay right in both, so neither is poor.
    "no_clock": (0, 1, 2, math.inf),
    # By how much 4 g are more than the device's full scale: brisk walking peaks at 2 to 3 g on a wrist, so
    # that a device of 2 g clips what tells it from others, and one of 1 g clips every movement.
    "range": (1.0, 2.0, 4.0, math.inf),
}
"""The worst that is still excellent, good, fair and poor; beyond the last it is unusable. The grade is
that of the worst measure."""

_COLUMNS: Final = {
    "missing": _health.MISSING,
    "duplicate": _health.DUPLICATES,
    "late": _health.LATE,
    "rate_too_low": _health.REFUSED,
}
"""Where the pipeline's counts go."""
_NO_SAMPLES: Final = frozenset({"duplicate", "late", "rate_too_low"})
"""Of these a batch has none that count."""
_MOST_MISSING: Final = 2**31
"""More in a second is a sequence number that leapt."""

Timing = Literal["device", "counted", "arrival"]
"""Where sample times come from: the device's clock, a count of samples, or nothing but their arrival."""
_TIMINGS: tuple[Timing, ...] = ("device", "counted", "arrival")
_WANTED_RANGE_G = 4.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device cannot do better, as far as that is known."""

    timing: Timing | None = None
    range_g: float | None = None
    """Full scale: beyond +- this many g it saturates."""
    note: str = ""
    """For people: what else to expect of such a device."""


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Health:
    """What was measured, since the device last began to speak or in the last minute."""

    grade: Grade
    reasons: tuple[Reason, ...]
    """Every measure that is not excellent, the worst first."""
    measured_s: float
    """From the first arrival that counts to the last."""
    batches: int
    samples: int
    nominal_rate_hz: float | None
    """As stated by the last batch; None while nothing is heard."""
    rate_hz: float | None
    """Samples that arrived, a second; None before ``MATURE_S``."""
    loss: float
    """Part of the samples that never came, 0 to 1: by holes or by sequence numbers, whichever tells more."""
    missing_batches: int
    """By sequence numbers."""
    hole_s: float
    """Stream time between batches in which no sample is."""
    gaps: int
    """Breaks that nothing is classified across."""
    duplicates: int
    late: int
    skipped_windows: int
    """Windows that were whole and not classified: the gateway had too much to do."""
    clock: ClockKind
    residual_p95_s: float | None
    """19 of 20 of the last batches were late by less than this, against the promptest ones."""
    drift_ppm: float | None
    """By how much the device's clock is slow, or fast if negative; None until it can be told."""
    limits: Limits = UNLIMITED
    turned_deg: float | None = None
    """By what angle windows are turned back, because the watch sits askew; None until its wearer has walked
    for a minute or two. It is no measure of quality: what is turned back is as good as what sits straight."""


class HealthMonitor:
    """One device's last minute."""

    def __init__(self) -> None:
        self.heard_s: float | None = None
        """When anything last came from the device, in UTC seconds."""
        self._counts, self._times = _health.minute()
        self._second = -math.inf
        """The last that anything was counted in."""
        self._nominal_hz: float | None = None
        self._clock: ClockKind = "host"
        self._newest_s = math.nan

    def observe(
        self,
        samples: Samples,
        *,
        arrival_s: float,
        counts: Mapping[str, int],
        gaps: Iterable[GapReason],
        clock: ClockKind,
        windows: int = 0,
    ) -> None:
        """Take a batch, what the pipeline dropped (``Pipeline.take_counts``), broke and cut because of it."""
        self.heard_s = arrival_s
        for reason in gaps:
            self.gap(reason, now_s=arrival_s)
        self._nominal_hz, self._clock = samples.sampling_rate_hz, clock
        if counts:
            for name, column in _COLUMNS.items():
                if more := counts.get(name):
                    self._count(column, arrival_s, min(more, _MOST_MISSING))
            if not counts.keys().isdisjoint(_NO_SAMPLES):
                self._count(_health.WINDOWS, arrival_s, windows)
                return
            if "restart" in counts:
                self._newest_s = math.nan
        self._newest_s = _health.add(
            self._counts,
            self._times,
            self._turn_to(arrival_s),
            arrival_s,
            samples.t_s,
            1.0 / samples.sampling_rate_hz,
            self._newest_s,
            windows,
        )

    def heard(self, arrival_s: float) -> None:
        """Take that something came which nobody looks at."""
        self.heard_s = arrival_s

    def skip(self, *, now_s: float) -> None:
        """Take that a window was not classified."""
        self._count(_health.SKIPPED, now_s, 1)

    def gap(self, reason: GapReason, *, now_s: float) -> None:
        """Take a break in the stream; what was before silence counts no more."""
        if reason == "no_data":
            self._forget()
        if reason in {"no_data", "clock_jump"}:
            self._newest_s = math.nan
        self._count(_health.GAPS, now_s, 1)

    def read(
        self,
        now_s: float,
        *,
        fit: ClockFit | None,
        limits: Limits = UNLIMITED,
        turned_deg: float | None = None,
    ) -> Health:
        """Grade what was seen until ``now_s`` (UTC seconds), and how well the arrivals ``fit`` a clock."""
        counted, timed = _health.total(self._counts, self._times, self._turn_to(now_s))
        batches, samples, first_samples, duplicates, late, refused, gaps, windows, skipped, missing = (
            counted.tolist()
        )
        _, first_s, last_s, hole_s = timed.tolist()
        measured_s, hole_s = last_s - first_s, max(0.0, hole_s)
        rate_hz = (samples - first_samples) / measured_s if measured_s >= MATURE_S else None
        loss = 0.0
        if batches and self._nominal_hz is not None:
            loss = max(missing / (missing + batches), hole_s / (hole_s + samples / self._nominal_hz))
        residual_p95_s = None if fit is None or not batches else fit.residual_p95_s
        drift_ppm = None if fit is None or not batches else fit.ppm
        found: dict[Reason, float] = {
            "loss": loss,
            "gaps": gaps,
            "disorder": (late + duplicates) / max(1, late + duplicates + batches),
            "jitter": residual_p95_s or 0.0,
            "drift": abs(drift_ppm or 0.0),
            "no_clock": 0 if limits.timing is None else _TIMINGS.index(limits.timing),
            "range": _WANTED_RANGE_G / (limits.range_g or math.inf),
            "overload": min(1.0, skipped / max(1, windows)),
        }
        if rate_hz is not None and self._nominal_hz is not None:
            blurred = 2 * (residual_p95_s or 0.0) / measured_s
            expected_hz = self._nominal_hz * (1 - loss)
            found["rate"] = max(0.0, abs(rate_hz / expected_hz - 1) - blurred)
        grades = {reason: bisect_left(LIMITS[reason], value) for reason, value in found.items()}
        if refused:
            grades["rate_too_low"] = len(GRADES) - 1
        elif not batches:
            grades["no_data"] = len(GRADES) - 1
        ranked = sorted((-grade, reason) for reason, grade in grades.items() if grade)
        return Health(
            grade=GRADES[max(grades.values())],
            reasons=tuple(reason for _, reason in ranked),
            measured_s=measured_s,
            batches=batches,
            samples=samples,
            nominal_rate_hz=self._nominal_hz,
            rate_hz=rate_hz,
            loss=loss,
            missing_batches=missing,
            hole_s=hole_s,
            gaps=gaps,
            duplicates=duplicates,
            late=late,
            skipped_windows=skipped,
            clock=self._clock,
            residual_p95_s=residual_p95_s,
            drift_ppm=drift_ppm,
            limits=limits,
            turned_deg=turned_deg,
        )

    def _turn_to(self, at_s: float) -> float:
        """The number of the second of this moment."""
        number = float(math.floor(at_s))
        if number < self._second:
            # Our own clock was set back: what was measured by it tells nothing any more.
            self._forget()
        self._second = number
        return number

    def _count(self, column: int, now_s: float, more: int) -> None:
        _health.count(self._counts, self._times, self._turn_to(now_s), column, more)

    def _forget(self) -> None:
        self._times[:, _health.NUMBER] = -math.inf
