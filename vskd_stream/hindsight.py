"""What becomes of events that were made before: flagged when they come late, ended for who was killed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import msgspec

from vskd_stream import topics
from vskd_stream.events import ActivityEvent, EventType
from vskd_stream.payloads import Origin, Timing
from vskd_stream.publication import Publication

_BEGINS = b'{"schema":"vskd.event/'


class Told(msgspec.Struct, frozen=True):
    """Which event a message is."""

    event_type: EventType
    id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An activity that nobody ended."""

    device: str
    label: str
    id: str
    end: Publication
    """Its last event."""
    state: Publication
    """What is known of the device from then on."""


def told(publication: Publication) -> Told | None:
    """Which event this message is; None if it is none."""
    if publication.retain or publication.qos == 0 or not publication.payload.startswith(_BEGINS):
        return None
    return msgspec.json.decode(publication.payload, type=Told)


def replayed(event: Publication) -> Publication:
    """The same event, flagged: it is no news."""
    payload = msgspec.json.decode(event.payload, type=dict[str, Any])
    return msgspec.structs.replace(event, payload=msgspec.json.encode(payload | {"replayed": True}))


def ended(last: Publication, *, published_utc_s: float) -> Ended:
    """End an activity whose gateway was killed, by the last event that was told of it.

    It ends at the last sample that this event rests on: what came after it nobody knows.

    Raises:
        ValueError: The message is no event of this version.
    """
    payload = msgspec.json.decode(last.payload, type=dict[str, Any])
    try:
        values: dict[str, Any] = {field.name: payload.get(field.name) for field in fields(ActivityEvent)}
        end = {"end_sample": payload["at_sample"], "end_s": payload["at_s"], "reason": "stopped"}
        activity = ActivityEvent(**values | end | {"type": "end"})
        origin = Origin(
            payload["gateway"], payload["bundle"]["name"], payload["bundle"]["sha256"], version=""
        )
        offset_s = _utc_s(payload["start_utc"]) - payload["start_s"]
        timing = Timing(payload["clock"], offset_s, published_utc_s)
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no event: {error!r}") from None
    return Ended(
        activity.device,
        activity.label,
        activity.id,
        end=topics.event(activity, origin=origin, timing=timing, expiry_s=last.expiry_s),
        state=topics.state(activity, origin=origin, timing=timing),
    )


def _utc_s(text: str | None) -> float:
    """NaN for what was no date, as payloads take it."""
    return float("nan") if text is None else datetime.fromisoformat(text).timestamp()
