"""What subscribers hear of a daemon: its events as they come, and what the broker keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.brokers import Observer, retained

Event = dict[str, Any]


async def events_until(observer: Observer, is_last: Callable[[Event], bool]) -> list[Event]:
    """The events that come next, up to and with the first that is the last."""
    events: list[Event] = []
    while not events or not is_last(events[-1]):
        message = await observer.next()
        if message.topic.endswith("/event"):
            events.append(json.loads(message.payload))
    return events


def started(label: str) -> Callable[[Event], bool]:
    """Whether an event is the start of ``label``."""
    return lambda event: (event["event_type"], event["label"]) == ("start", label)


def told(events: list[Event]) -> list[tuple[str, str]]:
    """The starts and ends among ``events``, and of what."""
    return [(event["event_type"], event["label"]) for event in events if event["event_type"] != "update"]


async def kept(port: int, topic: str) -> dict[str, Any]:
    """The message that the broker keeps for this topic."""
    payload = await retained(port, topic)
    assert payload is not None
    message: dict[str, Any] = json.loads(payload)
    return message
