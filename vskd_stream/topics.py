"""Where our messages go: the only place where a topic is spelled.

    vskd/<gateway>/status            QoS 1, retained
    vskd/<gateway>/<device>/event    QoS 1
    vskd/<gateway>/<device>/state    QoS 1, retained
    vskd/<gateway>/<device>/status   QoS 1, retained
    vskd/<gateway>/<device>/health   QoS 1, retained
    vskd/<gateway>/<device>/scores   QoS 0
    vskd/<gateway>/doctor            QoS 1, by hand
    vskd/<gateway>/cmd/<command>     what others ask of the gateway
    vskd/<gateway>/response/<command>  QoS 1

What a gateway says of itself has three levels, what it says of a device has four. Commands and their
answers have four as well, but end in no word that a device's topic ends in. So no name is reserved: a
device may be called ``status`` or ``cmd``, and ``vskd/+/+/state`` hears states alone.

With MQTT 5 each message names its schema and bundle in user properties, and events expire.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final, Literal

from msgspec.structs import replace

from vskd_stream import payloads
from vskd_stream.errors import VskdError
from vskd_stream.events import ActivityEvent
from vskd_stream.health import Health
from vskd_stream.manifest import Manifest
from vskd_stream.payloads import DeviceState, Origin, Timing
from vskd_stream.publication import Publication
from vskd_stream.samples import IDENTIFIER
from vskd_stream.scores import Scores

DEVICE_WORDS: Final = frozenset({"event", "state", "status", "health", "scores"})
"""What the topics of a device end in; no command has such a name."""

_COMMANDS, _RESPONSES = "cmd", "response"
_MISNAMED = "error"
"""The answer's last level where the command's cannot stand in a topic of ours."""
_MAX_TOPIC = 256


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


def device_status_topic(gateway: str, device: str) -> str:
    """Whether the device sends; valid while the gateway is online."""
    return _topic(gateway, device, "status")


def health_topic(gateway: str, device: str) -> str:
    """How well its samples arrive."""
    return _topic(gateway, device, "health")


def doctor_topic(gateway: str) -> str:
    """Where ``vskd doctor`` tries whether it may publish: three levels, so it is no device's."""
    return _topic(gateway, "doctor")


def command_filter(gateway: str) -> str:
    """Where commands come in: a topic filter."""
    return f"{_topic(gateway, _COMMANDS)}/+"


def command_of(topic: str) -> str:
    """Name of the command that a topic under ``command_filter`` asks for; it may be anything."""
    return topic.rpartition("/")[2]


def is_own(topic: str, *, devices: Collection[str]) -> bool:
    """Whether a topic under ``command_filter`` is what we ourselves tell of a device of that name."""
    return command_of(topic) in DEVICE_WORDS and _COMMANDS in devices


def response_topic(gateway: str, command: str) -> str:
    """Where an answer goes for which no other topic was asked."""
    fits = IDENTIFIER.fullmatch(command) is not None and command not in DEVICE_WORDS
    return _topic(gateway, _RESPONSES, command if fits else _MISNAMED)


def may_answer_on(topic: str, *, gateway: str, prefix: str) -> bool:
    """Whether an answer may go where its asker wants it; ``prefix`` is that of Home Assistant's discovery.

    Brokers let us write where askers may not: into the topics of gateways, and where Home Assistant
    looks for devices.
    """
    levels = topic.split("/")
    is_ours = levels[0] == "vskd" and levels[1:3] != [gateway, _RESPONSES]
    is_discovery = topic == prefix or topic.startswith(f"{prefix}/")
    is_plain = topic.isprintable() and not topic.startswith("$") and not {"+", "#"} & set(topic)
    return 0 < len(topic) <= _MAX_TOPIC and is_plain and not is_ours and not is_discovery


def status(state: Literal["online", "stopped"], *, origin: Origin, published_utc_s: float) -> Publication:
    """Tell that the gateway runs, or has ended in order."""
    topic = status_topic(origin.gateway)
    payload = payloads.status(state, origin=origin, published_utc_s=published_utc_s)
    return _publication(topic, payload, origin=origin, retain=True)


def will(*, origin: Origin) -> Publication:
    """What the broker publishes for us once it has lost us: ``offline``."""
    topic = status_topic(origin.gateway)
    payload = payloads.status("offline", origin=origin, published_utc_s=None)
    return _publication(topic, payload, origin=origin, retain=True)


def event(
    activity: ActivityEvent, *, origin: Origin, timing: Timing, expiry_s: int | None = None
) -> Publication:
    """Tell one event; after ``expiry_s`` it is no news any more."""
    topic = event_topic(origin.gateway, activity.device)
    payload = payloads.event(activity, origin=origin, timing=timing)
    return _publication(topic, payload, origin=origin, expiry_s=expiry_s)


def state(activity: ActivityEvent, *, origin: Origin, timing: Timing) -> Publication:
    """Tell what is known after an event; of several made at once, the last."""
    topic = state_topic(origin.gateway, activity.device)
    payload = payloads.state(activity, origin=origin, timing=timing)
    return _publication(topic, payload, origin=origin, retain=True)


def silenced(device: str, *, origin: Origin, published_utc_s: float) -> Publication:
    """Tell that nothing is told of a device any more, in place of what was told last."""
    topic = state_topic(origin.gateway, device)
    payload = payloads.silenced(device, origin=origin, published_utc_s=published_utc_s)
    return _publication(topic, payload, origin=origin, retain=True)


def unsaid(device: str, *, origin: Origin) -> list[Publication]:
    """Take back whether and how well a device sends: of one that is silenced nobody is to know."""
    both = (device_status_topic(origin.gateway, device), health_topic(origin.gateway, device))
    return [Publication(topic, b"", retain=True) for topic in both]


def scores(window: Scores, *, manifest: Manifest, origin: Origin, timing: Timing) -> Publication:
    """Tell one window's probabilities; nobody misses one that is lost."""
    topic = scores_topic(origin.gateway, window.device)
    payload = payloads.scores(window, manifest=manifest, origin=origin, timing=timing)
    return _publication(topic, payload, origin=origin, qos=0)


def health(device: str, measured: Health, *, origin: Origin, published_utc_s: float) -> Publication:
    """Tell how well a device's samples arrive."""
    topic = health_topic(origin.gateway, device)
    payload = payloads.health(device, measured, origin=origin, published_utc_s=published_utc_s)
    return _publication(topic, payload, origin=origin, retain=True)


def device_status(
    device: str,
    state: DeviceState,
    *,
    is_paused: bool,
    heard_utc_s: float | None,
    origin: Origin,
    published_utc_s: float,
) -> Publication:
    """Tell whether a device sends."""
    topic = device_status_topic(origin.gateway, device)
    payload = payloads.device_status(
        device,
        state,
        is_paused=is_paused,
        heard_utc_s=heard_utc_s,
        origin=origin,
        published_utc_s=published_utc_s,
    )
    return _publication(topic, payload, origin=origin, retain=True)


def response(
    command: str,
    *,
    request_id: str | None,
    error: str | None,
    result: dict[str, Any] | None,
    origin: Origin,
    published_utc_s: float,
    topic: str | None = None,
    correlation: bytes | None = None,
) -> Publication:
    """Answer a command, on the topic that was asked for or on its own."""
    payload = payloads.response(
        command,
        request_id=request_id,
        error=error,
        result=result,
        origin=origin,
        published_utc_s=published_utc_s,
    )
    answer = _publication(topic or response_topic(origin.gateway, command), payload, origin=origin)
    return replace(answer, correlation=correlation)


def _publication(
    topic: str,
    payload: bytes,
    *,
    origin: Origin,
    qos: Literal[0, 1] = 1,
    retain: bool = False,
    expiry_s: int | None = None,
) -> Publication:
    return Publication(
        topic,
        payload,
        qos,
        retain,
        expiry_s=expiry_s,
        content_type="application/json",
        user_properties=(("schema", payloads.schema_of(payload)), ("bundle", origin.bundle_sha256)),
    )


# A device's topics are always the same.
@lru_cache(maxsize=16_384)
def _topic(*levels: str) -> str:
    """Join levels, refusing any that could widen or break the topic (``+``, ``#``, ``/``, NUL, ...).

    Raises:
        VskdError: A gateway or device id does not match ``IDENTIFIER``.
    """
    for level in levels:
        if IDENTIFIER.fullmatch(level) is None:
            raise VskdError(f"{level[:80]!r} cannot be part of a topic: ids match {IDENTIFIER.pattern}")
    return "/".join(("vskd", *levels))
