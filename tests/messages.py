"""Events as messages, for tests of what becomes of them on their way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from vskd_stream.events import EventType
from vskd_stream.publication import Publication


def activity_id(name: object) -> str:
    """The id of an activity of this name."""
    return hashlib.sha256(str(name).encode()).hexdigest()[:32]


def event(
    type_: EventType, name: object = 0, *, at: int = 100, device: str = "watch", padding: int = 0
) -> Publication:
    """An event of the activity ``name``, at sample ``at``; ``padding`` makes it larger by so many bytes."""
    over = type_ == "end"
    payload = {
        "schema": "vskd.event/1",
        "event_type": type_,
        "id": activity_id(name),
        "gateway": "gw",
        "device": device,
        "label": "walk",
        "coarse_label": "walk",
        "confidence": 0.9,
        "reason": "changed" if over else None,
        "start_sample": 80,
        "start_s": 4.0,
        "start_utc": "2026-01-01T00:00:04.000Z",
        "start_uncertainty_s": None,
        "at_sample": at,
        "at_s": at / 20,
        "end_sample": at if over else None,
        "end_s": at / 20 if over else None,
        "end_utc": "2026-01-01T00:00:09.000Z" if over else None,
        "end_uncertainty_s": None,
        "duration_s": at / 20 - 4.0,
        "bundle": {"name": "tiny", "sha256": "ab" * 32},
        "clock": "host",
        "published_utc": "2026-01-01T00:00:10.000Z",
        "latency_ms": 0,
        "replayed": False,
        "padding": "x" * padding,
    }
    return Publication(f"vskd/gw/{device}/event", json.dumps(payload, separators=(",", ":")).encode())


def state(name: object, *, device: str = "watch") -> Publication:
    """A retained message."""
    return Publication(f"vskd/gw/{device}/state", str(name).encode(), retain=True)


def read(publication: Publication) -> dict[str, Any]:
    """What an event says."""
    payload: dict[str, Any] = json.loads(publication.payload)
    return payload


def key(payload: dict[str, Any]) -> tuple[str, str, int]:
    """By which a message that came twice is known."""
    return payload["id"], payload["event_type"], payload["at_sample"]


def disorders(payloads: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What in a stream of events no subscriber should see, repetitions apart.

    Of every activity the start comes first, and none starts a second time before it has ended.
    """
    seen: set[tuple[object, ...]] = set()
    goes_on: Counter[str] = Counter()
    began: set[str] = set()
    for payload in payloads:
        id_, type_, at = key(payload)
        if type_ != "start" and id_ not in began:
            yield f"{type_} of {id_} at {at} without a start"
        is_repeated = (*key(payload), payload["published_utc"]) in seen
        seen.add((*key(payload), payload["published_utc"]))
        if is_repeated:
            continue
        if type_ == "start":
            if goes_on[id_]:
                yield f"{id_} starts at {at} though it goes on"
            began.add(id_)
            goes_on[id_] = 1
        elif type_ == "end":
            goes_on[id_] = 0
    yield from (f"{id_} never ends" for id_, count in goes_on.items() if count)
