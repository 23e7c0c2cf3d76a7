"""Where our messages go: the only place where a topic is spelled.

    vskd/<gateway>/status            QoS 1, retained
    vskd/<gateway>/<device>/event    QoS 1
    vskd/<gateway>/<device>/state    QoS 1, retained
    vskd/<gateway>/<device>/scores   QoS 0

What a gateway says of itself has three levels, what it says of a device has four. So no name is
reserved: a device may be called ``status``.
"""

from __future__ import annotations

from typing import Literal

from vskd_stream import payloads
from vskd_stream.errors import VskdError
from vskd_stream.events import ActivityEvent
from vskd_stream.manifest import Manifest
from vskd_stream.payloads import Origin, Timing
from vskd_stream.publication import Publication
from vskd_stream.samples import IDENTIFIER
from vskd_stream.scores import Scores


def status_topic(gateway: str) -> str:
    """Whether the gateway runs."""
    return _topic(gateway, "status")


def event_topic(gateway: str, device: str) -> str:
    """Starts, updates and ends of activities; not retained, for an event is news only once."""
    return _topic(gateway, device, "event")


def state_topic(gateway: str, device: str) -> str:
    """What the device's wearer does now."""
    return _topic(gateway, device, "state")


def scores_topic(gateway: str, device: str) -> str:
    """Each window's probabilities."""
    return _topic(gateway, device, "scores")


def status(state: Literal["online", "stopped"], *, origin: Origin, published_utc_s: float) -> Publication:
    """Tell that the gateway runs, or has ended in order."""
    topic = status_topic(origin.gateway)
    payload = payloads.status(state, origin=origin, published_utc_s=published_utc_s)
    return Publication(topic, payload, retain=True)


def will(*, origin: Origin) -> Publication:
    """What the broker publishes for us once it has lost us: ``offline``."""
    topic = status_topic(origin.gateway)
    payload = payloads.status("offline", origin=origin, published_utc_s=None)
    return Publication(topic, payload, retain=True)


def event(activity: ActivityEvent, *, origin: Origin, timing: Timing) -> Publication:
    """Tell one event."""
    topic = event_topic(origin.gateway, activity.device)
    return Publication(topic, payloads.event(activity, origin=origin, timing=timing))


def state(activity: ActivityEvent, *, origin: Origin, timing: Timing) -> Publication:
    """Tell what is known after an event; of several made at once, the last."""
    topic = state_topic(origin.gateway, activity.device)
    return Publication(topic, payloads.state(activity, origin=origin, timing=timing), retain=True)


def scores(window: Scores, *, manifest: Manifest, origin: Origin, timing: Timing) -> Publication:
    """Tell one window's probabilities; nobody misses one that is lost."""
    topic = scores_topic(origin.gateway, window.device)
    payload = payloads.scores(window, manifest=manifest, origin=origin, timing=timing)
    return Publication(topic, payload, qos=0)


def _topic(*levels: str) -> str:
    """Join levels, refusing any that could widen or break the topic (``+``, ``#``, ``/``, NUL, ...).

    Raises:
        VskdError: A gateway or device id does not match ``IDENTIFIER``.
    """
    for level in levels:
        if IDENTIFIER.fullmatch(level) is None:
            raise VskdError(f"{level[:80]!r} cannot be part of a topic: ids match {IDENTIFIER.pattern}")
    return "/".join(("vskd", *levels))
