"""How events follow what is true: flapping, delay, accuracy; as the one who hears them would judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.judging.evaluate import expected_calibration_error
from training.judging.streams import Stream
from vskd_stream.events import ActivityEvent
from vskd_stream.manifest import UNKNOWN, Manifest


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a way behaves on streams."""

    segments: int
    """True ones."""
    events_per_segment: float
    """Activities that start, ``unknown`` among them; 1 is perfect."""
    unknown_per_segment: float
    accuracy: float
    """Part of the time at which what is told just then is right."""
    hindsight_accuracy: float
    """The same of what events say afterwards, with their starts and ends."""
    unknown: float
    """Part of the time for which nothing or ``unknown`` is told."""
    found: float
    """Part of the segments whose label is told while they last."""
    delay_s: tuple[float, float]
    """From their start until then: median and 90th percentile."""
    start_error_s: tuple[float, float]
    """How far off the start of that activity is said to be: median and 90th percentile."""
    calibration_error: float
    """Of the confidence with which activities end (ECE)."""


@dataclass(frozen=True, slots=True)
class _Activity:
    label: str
    start: int
    told_at: int
    """End of the window with which it was told to have started."""
    end: int
    confidence: float | None


def behaviour(
    streams: Sequence[Stream], events: Sequence[Sequence[ActivityEvent]], manifest: Manifest
) -> Behaviour:
    """Judge all events of each stream, in which nothing may be left open."""
    index = {label: i for i, label in enumerate(manifest.labels)}
    activities = [_activities(each) for each in events]
    live = [_live(stream, told, index) for stream, told in zip(streams, activities, strict=True)]
    after = [_in_hindsight(stream, told, index) for stream, told in zip(streams, activities, strict=True)]
    truth = np.concatenate([stream.truth for stream in streams])
    segments = sum(len(stream.segments) for stream in streams)
    starts = [activity for told in activities for activity in told]
    found = [
        hit
        for stream, told, labels in zip(streams, activities, live, strict=True)
        for hit in _found(stream, told, labels)
    ]
    rate_hz = manifest.sampling_rate_hz
    return Behaviour(
        segments=segments,
        events_per_segment=len(starts) / segments,
        unknown_per_segment=sum(activity.label == UNKNOWN for activity in starts) / segments,
        accuracy=float((np.concatenate(live) == truth).mean()),
        hindsight_accuracy=float((np.concatenate(after) == truth).mean()),
        unknown=float((np.concatenate(live) < 0).mean()),
        found=len(found) / segments,
        delay_s=_typical([delay / rate_hz for delay, _ in found]),
        start_error_s=_typical([error / rate_hz for _, error in found]),
        calibration_error=_calibration_error(streams, activities, index),
    )


def _activities(events: Sequence[ActivityEvent]) -> list[_Activity]:
    told_at = {event.id: event.at_sample for event in events if event.type == "start"}
    return [
        _Activity(event.label, event.start_sample, told_at[event.id], event.end_sample, event.confidence)
        for event in events
        if event.end_sample is not None
    ]


def _live(stream: Stream, told: Sequence[_Activity], index: dict[str, int]) -> NDArray[np.int64]:
    """What is told at each sample, with no more than is known then; -1 for nothing and for states."""
    labels = np.full(len(stream.truth), -1, np.int64)
    for activity in told:
        labels[activity.told_at :] = index.get(activity.label, -1)
    return labels


def _in_hindsight(stream: Stream, told: Sequence[_Activity], index: dict[str, int]) -> NDArray[np.int64]:
    labels = np.full(len(stream.truth), -1, np.int64)
    for activity in told:
        labels[activity.start : activity.end] = index.get(activity.label, -1)
    return labels


def _found(stream: Stream, told: Sequence[_Activity], live: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Of each segment whose label is told while it lasts: its delay, and how far off its start is."""
    found = []
    for start, end, label in stream.segments:
        hits = np.flatnonzero(live[start:end] == label)
        if len(hits):
            at = start + int(hits[0])
            activity = [each for each in told if each.told_at <= at][-1]
            found.append((at - start, abs(activity.start - start)))
    return found


def _calibration_error(
    streams: Sequence[Stream], activities: Sequence[Sequence[_Activity]], index: dict[str, int]
) -> float:
    """Of the confidence with which activities end, each right if most of it truly is its label."""
    confidences, right = [], []
    for stream, told in zip(streams, activities, strict=True):
        for activity in told:
            if activity.confidence is not None:
                truth = stream.truth[activity.start : activity.end]
                confidences.append(activity.confidence)
                right.append((truth == index[activity.label]).mean() > 0.5)
    return expected_calibration_error(np.array(confidences, np.float32), np.array(right, np.bool_))


def _typical(seconds: list[float]) -> tuple[float, float]:
    return (float(np.median(seconds)), float(np.quantile(seconds, 0.9))) if seconds else (math.nan, math.nan)
