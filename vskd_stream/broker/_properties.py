"""What MQTT 5 says beside topics and payloads."""

from __future__ import annotations

from functools import lru_cache

from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from vskd_stream.publication import Publication


def subscribe_options(*, special: bool) -> SubscribeOptions:
    """QoS 1. Messages of the special one tell whether they were sent to be retained; ours are not wanted."""
    return SubscribeOptions(qos=1, noLocal=special, retainAsPublished=special)


def properties_of(publication: Publication, packet: int) -> tuple[Properties | None, bytes]:
    """What MQTT 5 says beside topic and payload, None if nothing is to be said; and that packed."""
    told = (publication.expiry_s, publication.content_type, publication.user_properties)
    return _built(packet, *told, publication.correlation)


# Making them takes longer than all else that a message needs, and nearly all messages have the same.
@lru_cache(maxsize=64)
def _built(
    packet: int,
    expiry_s: int | None,
    content_type: str | None,
    user_properties: tuple[tuple[str, str], ...],
    correlation: bytes | None,
) -> tuple[Properties | None, bytes]:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    if content_type is not None:
        properties.ContentType = content_type
    if user_properties:
        properties.UserProperty = list(user_properties)
    if correlation is not None:
        properties.CorrelationData = correlation
    if properties.isEmpty():  # type: ignore[no-untyped-call]
        return None, b"\x00"
    return properties, properties.pack()  # type: ignore[no-untyped-call]
