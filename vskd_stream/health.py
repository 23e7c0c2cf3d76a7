"""How well a device's samples arrive, over the last minute of arrivals; a grade, and the reasons for it.

Each batch costs the same, however long a stream lasts: what it adds goes into the second in which it
arrived, and sixty seconds are all that is kept. What is a repetition, a break or the line of a clock
is decided elsewhere (``reorder``, ``pipeline``, ``clock``) and only graded here.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, Literal

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

WINDOW_S = 60
"""What is older than this counts no more."""
MATURE_S = 10.0
"""Before this much has been measured a grade is a guess."""

LIMITS: dict[Reason, tuple[float, float, float, float]] = {
    # The part of the samples that never came. A hole costs every window that would lie across it, so with
    # windows of 5 s and batches of 0.5 s a loss of 1 % (one batch a minute) hides a tenth of the time, and
    # one of 20 % leaves hardly a window whole: a grade above "unusable" would be a promise nobody keeps.
    "loss": (0.001, 0.01, 0.05, 0.2),
    # Breaks in the minute that no window crosses. Ten leave stretches of 6 s, hardly longer than a window.
    "gaps": (0, 1, 3, 10),
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

_HOLE_PERIODS = 1.5
"""A step longer than one period and this many more is a hole: a late sample is not."""


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


@dataclass(slots=True)
class _Second:
    number: int
    batches: int = 0
    samples: int = 0
    first_samples: int = 0
    duplicates: int = 0
    late: int = 0
    refused: int = 0
    gaps: int = 0
    windows: int = 0
    skipped: int = 0
    missing: int = 0
    first_arrival_s: float = 0.0
    last_arrival_s: float = 0.0
    hole_s: float = 0.0


_FIELDS: Final = tuple(field.name for field in fields(_Second))
_values: Final = attrgetter(*_FIELDS)
_PACKED: Final = struct.Struct("=q9IQ3d")
"""A ``_Second`` that is over: sixty of them as objects would be three times as large."""
_MOST_MISSING: Final = 2**56
"""More in a second is a sequence number that leapt; a minute of it still fits."""


class HealthMonitor:
    """One device's last minute."""

    def __init__(self) -> None:
        self.heard_s: float | None = None
        """When anything last came from the device, in UTC seconds."""
        self._past = bytearray(_PACKED.size * WINDOW_S)
        """The seconds that are over, each where its number modulo ``WINDOW_S`` is."""
        self._now: _Second | None = None
        self._nominal_hz: float | None = None
        self._clock: ClockKind = "host"
        self._newest_s: float | None = None

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
        second = self._now
        if second is None or not second.number <= arrival_s < second.number + 1:
            second = self._second(arrival_s)
        second.windows += windows
        if counts:
            second.missing = min(second.missing + counts.get("missing", 0), _MOST_MISSING)
            second.duplicates += counts.get("duplicate", 0)
            second.late += counts.get("late", 0)
            second.refused += counts.get("rate_too_low", 0)
        self._nominal_hz, self._clock = samples.sampling_rate_hz, clock
        if counts and not counts.keys().isdisjoint({"duplicate", "late", "rate_too_low"}):
            return
        if "restart" in counts:
            self._newest_s = None
        count = len(samples.t_s)
        if not second.batches:
            second.first_arrival_s, second.first_samples = arrival_s, count
        second.last_arrival_s = arrival_s
        second.batches += 1
        second.samples += count
        second.hole_s += self._hole_s(samples)

    def heard(self, arrival_s: float) -> None:
        """Take that something came which nobody looks at."""
        self.heard_s = arrival_s

    def skip(self, *, now_s: float) -> None:
        """Take that a window was not classified."""
        self._second(now_s).skipped += 1

    def gap(self, reason: GapReason, *, now_s: float) -> None:
        """Take a break in the stream; what was before silence counts no more."""
        if reason == "no_data":
            self._forget()
        if reason in {"no_data", "clock_jump"}:
            self._newest_s = None
        self._second(now_s).gaps += 1

    def read(self, now_s: float, *, fit: ClockFit | None, limits: Limits = UNLIMITED) -> Health:
        """Grade what was seen until ``now_s`` (UTC seconds), and how well the arrivals ``fit`` a clock."""
        column = dict(zip(_FIELDS, zip(*self._minute(now_s), strict=True), strict=True))
        batches, samples, missing = (sum(column[name]) for name in ("batches", "samples", "missing"))
        duplicates, late, gaps = (sum(column[name]) for name in ("duplicates", "late", "gaps"))
        windows, skipped, refused = (sum(column[name]) for name in ("windows", "skipped", "refused"))
        hole_s = max(0.0, math.fsum(column["hole_s"]))
        measured_s, rate_hz = 0.0, None
        if heard := [row for row, count in enumerate(column["batches"]) if count]:
            measured_s = column["last_arrival_s"][heard[-1]] - column["first_arrival_s"][heard[0]]
            if measured_s >= MATURE_S:
                rate_hz = (samples - column["first_samples"][heard[0]]) / measured_s
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
        )

    def _second(self, at_s: float) -> _Second:
        """The second of this moment."""
        number = math.floor(at_s)
        now = self._now
        if now is not None and now.number != number:
            if number < now.number:
                # Our own clock was set back: what was measured by it tells nothing any more.
                self._forget()
            else:
                _PACKED.pack_into(self._past, now.number % WINDOW_S * _PACKED.size, *_values(now))
            now = None
        if now is None:
            now = self._now = _Second(number)
        return now

    def _minute(self, at_s: float) -> list[tuple[Any, ...]]:
        """The last seconds, in order: ``_FIELDS`` of each."""
        now = self._second(at_s)
        past = (row for row in _PACKED.iter_unpack(self._past) if row[0] > now.number - WINDOW_S)
        return [*sorted(past), _values(now)]

    def _forget(self) -> None:
        self._past, self._now = bytearray(len(self._past)), None

    def _hole_s(self, samples: Samples) -> float:
        """Stream time without samples that a batch leaves before it; negative where it fills some."""
        first_s, last_s, period_s = (
            float(samples.t_s[0]),
            float(samples.t_s[-1]),
            1 / samples.sampling_rate_hz,
        )
        newest_s = self._newest_s
        self._newest_s = last_s if newest_s is None else max(newest_s, last_s)
        if newest_s is None:
            return 0.0
        if last_s <= newest_s:
            return -len(samples) * period_s
        hole_s = first_s - newest_s - period_s
        # A clock that leaps says no more than that all of the minute is in doubt.
        return min(hole_s, float(WINDOW_S)) if hole_s > _HOLE_PERIODS * period_s else 0.0
