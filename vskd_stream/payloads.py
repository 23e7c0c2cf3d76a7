"""What our messages say: flat JSON objects, the same bytes for the same values.

``schemas/`` holds the JSON Schema of each, and describes every key. Whatever depends on when samples
arrived, and so may differ between a live run and its replay, comes in through ``Timing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

from vskd_stream import _payloads
from vskd_stream.clock import ClockKind
from vskd_stream.events import ActivityEvent, EndReason
from vskd_stream.health import Health
from vskd_stream.manifest import GAP, NO_DATA, SILENCED, UNKNOWN, Manifest
from vskd_stream.scores import Scores

GatewayState = Literal["online", "stopped", "offline"]
"""Running, ended in order, or lost: the broker says that itself, as our last will."""

DeviceState = Literal["online", "silent", "offline"]
"""Sending; nothing came for ``no_data_after_s``; nothing came for long, or the gateway has ended."""

SchemaName = Literal["event", "state", "status", "scores", "health", "device_status", "response"]

_AFTER: dict[EndReason | None, str] = {"stopped": NO_DATA, "paused": NO_DATA, "gap": GAP}
"""What a state says once an activity has ended for this reason, if it is more than ``unknown``."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_S = 253_370_764_800.0
_MILLISECONDS = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks, and with which model."""

    gateway: str
    bundle_name: str
    bundle_sha256: str
    version: str
    """Of this package."""


class Timing(msgspec.Struct, frozen=True):
    """How stream time becomes UTC, and when a message is made."""

    clock: ClockKind
    """Who says when a sample was taken: the device's own UTC, or this host by its arrival."""
    utc_offset_s: float
    """UTC = stream time + this, at ``at_s``."""
    published_utc_s: float
    at_s: float = 0.0
    skew: float = 0.0
    """By how much UTC runs faster than stream time."""

    def utc_s(self, stream_s: float) -> float:
        """UTC of a moment of the stream."""
        return stream_s + self.utc_offset_s + self.skew * (stream_s - self.at_s)


def schema(name: SchemaName) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a payload."""
    text = files("vskd_stream").joinpath("schemas", f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])


def event(activity: ActivityEvent, *, origin: Origin, timing: Timing) -> bytes:
    """``vskd.event/1``."""
    until_s = activity.at_s if activity.end_s is None else activity.end_s
    return msgspec.json.encode(
        {
            "schema": "vskd.event/1",
            "event_type": activity.type,
            "id": activity.id,
            "gateway": origin.gateway,
            "device": activity.device,
            "wrist": activity.wrist,
            "label": activity.label,
            "coarse_label": activity.coarse_label,
            "confidence": _rounded(activity.confidence),
            "reason": activity.reason,
            **_moment("start", activity.start_sample, activity.start_s, timing),
            "start_uncertainty_s": activity.start_uncertainty_s,
            "at_sample": activity.at_sample,
            "at_s": _seconds(activity.at_s),
            **_moment("end", activity.end_sample, activity.end_s, timing),
            "end_uncertainty_s": activity.end_uncertainty_s,
            "duration_s": round(until_s - activity.start_s, 3),
            "bundle": _bundle(origin),
            **_published(activity.at_s, timing),
            "replayed": False,
        }
    )


def state(activity: ActivityEvent, *, origin: Origin, timing: Timing) -> bytes:
    """``vskd.state/1``: what is known of the device after this event, the last of those made at once."""
    ended = activity.type == "end"
    since_sample, since_s = activity.start_sample, activity.start_s
    label, coarse_label = activity.label, activity.coarse_label
    if activity.end_sample is not None and activity.end_s is not None:
        since_sample, since_s = activity.end_sample, activity.end_s
        # Nothing is established yet; or nobody looks any more, and then no label may stay behind.
        label = coarse_label = _AFTER.get(activity.reason, UNKNOWN)
    return msgspec.json.encode(
        {
            "schema": "vskd.state/1",
            "gateway": origin.gateway,
            "device": activity.device,
            "wrist": activity.wrist,
            "label": label,
            "coarse_label": coarse_label,
            "confidence": None if ended else _rounded(activity.confidence),
            "id": None if ended else activity.id,
            "reason": activity.reason,
            **_moment("since", since_sample, since_s, timing),
            "bundle": _bundle(origin),
            **_published(activity.at_s, timing),
        }
    )


def silenced(device: str, *, origin: Origin, published_utc_s: float) -> bytes:
    """``vskd.state/1`` of a device of which nothing is to be told but that: neither since when nor why."""
    return msgspec.json.encode(
        {
            "schema": "vskd.state/1",
            "gateway": origin.gateway,
            "device": device,
            "wrist": None,
            "label": SILENCED,
            "coarse_label": SILENCED,
            "confidence": None,
            "id": None,
            "reason": "silenced",
            "since_sample": None,
            "since_s": None,
            "since_utc": None,
            "bundle": _bundle(origin),
            "clock": None,
            "published_utc": _utc(published_utc_s),
            "latency_ms": None,
        }
    )


def scores(window: Scores, *, manifest: Manifest, origin: Origin, timing: Timing) -> bytes:
    """``vskd.scores/1``: one window's calibrated probabilities, before smoothing and decision."""
    end = int(window.end_sample)
    start, rate_hz = end - manifest.window_samples, manifest.sampling_rate_hz
    start_s, end_s = start / rate_hz, end / rate_hz
    # Of all messages these alone come by the thousand a second: only what changes is written anew.
    form = _scores_form(manifest.labels, origin.gateway, origin.bundle_name, origin.bundle_sha256)
    taken_s, published_s = timing.utc_s(end_s), timing.published_utc_s
    published_utc = _utc(published_s)
    known = published_utc is not None and _is_date(taken_s)
    return (
        form
        % (
            window.device,
            start,
            _number(_seconds(start_s)),
            _text(_utc(timing.utc_s(start_s))),
            end,
            _number(_seconds(end_s)),
            _text(_utc(taken_s)),
            *map(_FOUR_DIGITS.__getitem__, _payloads.in_ten_thousandths(window.probabilities).tolist()),
            timing.clock,
            _text(published_utc),
            round((published_s - taken_s) * 1000) if known else "null",
        )
    ).encode()


@lru_cache(maxsize=16)
def _scores_form(labels: tuple[str, ...], gateway: str, bundle_name: str, bundle_sha256: str) -> str:
    """``vskd.scores/1`` of any device, with a place for each value that is another one each time."""
    fixed = {"schema": "vskd.scores/1", "gateway": gateway}
    bundle = {"name": bundle_name, "sha256": bundle_sha256}
    moment = '"{0}_sample":%d,"{0}_s":%s,"{0}_utc":%s'
    return ",".join(
        (
            _escaped(fixed)[:-1],
            '"device":"%s"',
            moment.format("start"),
            moment.format("end"),
            '"probabilities":{' + ",".join(f"{_escaped(label)}:%s" for label in labels) + "}",
            f'"bundle":{_escaped(bundle)}',
            '"clock":"%s"',
            '"published_utc":%s',
            '"latency_ms":%s}',
        )
    )


def status(state: GatewayState, *, origin: Origin, published_utc_s: float | None) -> bytes:
    """``vskd.status/1``; the time is None in a last will, which is sent at a time nobody knows before."""
    return msgspec.json.encode(
        {
            "schema": "vskd.status/1",
            "state": state,
            "gateway": origin.gateway,
            "version": origin.version,
            "bundle": _bundle(origin),
            "published_utc": _utc(published_utc_s),
        }
    )


def health(device: str, measured: Health, *, origin: Origin, published_utc_s: float) -> bytes:
    """``vskd.health/1``: how well a device's samples arrived in the last minute."""
    return msgspec.json.encode(
        {
            "schema": "vskd.health/1",
            "gateway": origin.gateway,
            "device": device,
            **health_facts(measured),
            "published_utc": _utc(published_utc_s),
        }
    )


def health_facts(measured: Health) -> dict[str, Any]:
    """What was measured, as ``vskd.health/1`` tells it."""
    residual_s, drift_ppm = measured.residual_p95_s, measured.drift_ppm
    rates_hz = (measured.nominal_rate_hz, measured.rate_hz)
    turned_deg = measured.turned_deg
    nominal_hz, rate_hz = (None if rate is None else round(rate, 2) for rate in rates_hz)
    return {
        "quality": measured.grade,
        "reasons": measured.reasons,
        "measured_s": round(measured.measured_s, 1),
        "batches": measured.batches,
        "samples": measured.samples,
        "nominal_rate_hz": nominal_hz,
        "rate_hz": rate_hz,
        "loss_pct": round(100 * measured.loss, 2),
        "missing_batches": measured.missing_batches,
        "hole_s": round(measured.hole_s, 3),
        "gaps": measured.gaps,
        "duplicates": measured.duplicates,
        "late": measured.late,
        "skipped_windows": measured.skipped_windows,
        "clock": measured.clock,
        "residual_p95_ms": None if residual_s is None else round(1000 * residual_s, 1),
        "drift_ppm": None if drift_ppm is None else round(drift_ppm),
        "turned_deg": None if turned_deg is None else round(turned_deg),
        "timing": measured.limits.timing,
        "range_g": measured.limits.range_g,
        "note": measured.limits.note or None,
    }


def device_status(
    device: str,
    state: DeviceState,
    *,
    is_paused: bool,
    heard_utc_s: float | None,
    origin: Origin,
    published_utc_s: float,
) -> bytes:
    """``vskd.device_status/1``."""
    return msgspec.json.encode(
        {
            "schema": "vskd.device_status/1",
            "gateway": origin.gateway,
            "device": device,
            "state": state,
            "paused": is_paused,
            "heard_utc": _utc(heard_utc_s),
            "published_utc": _utc(published_utc_s),
        }
    )


def response(
    command: str,
    *,
    request_id: str | None,
    error: str | None,
    result: dict[str, Any] | None,
    origin: Origin,
    published_utc_s: float,
) -> bytes:
    """``vskd.response/1``: what came of a command, or in words why nothing did."""
    return msgspec.json.encode(
        {
            "schema": "vskd.response/1",
            "gateway": origin.gateway,
            "command": command,
            "id": request_id,
            "ok": error is None,
            "error": error,
            "result": result,
            "published_utc": _utc(published_utc_s),
        }
    )


def listed_device(
    device: str,
    state: DeviceState,
    *,
    is_paused: bool,
    heard_utc_s: float | None,
    measured: Health | None,
) -> dict[str, Any]:
    """One device in the answer to the command ``devices``."""
    return {
        "device": device,
        "state": state,
        "paused": is_paused,
        "heard_utc": _utc(heard_utc_s),
        "health": None if measured is None else health_facts(measured),
    }


def schema_of(payload: bytes) -> str:
    """Name and version that one of these payloads states, as its first key."""
    return payload[11 : payload.index(b'"', 11)].decode()


def _bundle(origin: Origin) -> dict[str, str]:
    return {"name": origin.bundle_name, "sha256": origin.bundle_sha256}


def _moment(name: str, sample: int | None, stream_s: float | None, timing: Timing) -> dict[str, Any]:
    return {
        f"{name}_sample": sample,
        f"{name}_s": None if stream_s is None else _seconds(stream_s),
        f"{name}_utc": None if stream_s is None else _utc(timing.utc_s(stream_s)),
    }


def _published(newest_s: float, timing: Timing) -> dict[str, Any]:
    """``newest_s`` is the stream time of the newest sample that the message rests on."""
    taken_s, published_s = timing.utc_s(newest_s), timing.published_utc_s
    published_utc = _utc(published_s)
    known = _is_date(taken_s) and published_utc is not None
    return {
        "clock": timing.clock,
        "published_utc": published_utc,
        "latency_ms": round((published_s - taken_s) * 1000) if known else None,
    }


def _utc(utc_s: float | None) -> str | None:
    """ISO 8601 with milliseconds; None for what is no date, as a device's clock may be anything."""
    if utc_s is None or not 0.0 <= utc_s < _YEAR_9999_S:
        return None
    milliseconds = round(utc_s * 1000)
    return _to_the_second(milliseconds // 1000) + _MILLISECONDS[milliseconds % 1000]


def _is_date(utc_s: float) -> bool:
    return 0.0 <= utc_s < _YEAR_9999_S


# A message has several times, and a thousand devices have the same ones.
@lru_cache(maxsize=256)
def _to_the_second(utc_s: int) -> str:
    return (_EPOCH + timedelta(seconds=utc_s)).isoformat().removesuffix("+00:00")


def _escaped(value: str | dict[str, str]) -> str:
    """JSON, as part of a form."""
    return msgspec.json.encode(value).decode().replace("%", "%%")


def _number(value: float) -> str:
    return msgspec.json.encode(value).decode()


def _text(plain: str | None) -> str:
    """JSON of what needs no escapes."""
    return "null" if plain is None else f'"{plain}"'


_FOUR_DIGITS = tuple(_number(i / 10_000) for i in range(10_001))
"""Every probability that is told."""


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)


def _seconds(stream_s: float) -> float:
    return round(stream_s, 6)
