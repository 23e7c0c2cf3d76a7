from __future__ import annotations

from itertools import pairwise
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from vskd_stream.broker import _wire

topics = st.text(st.characters(codec="utf-8", exclude_characters="+#\0"), min_size=1, max_size=40)
payloads = st.binary(max_size=400) | st.integers(100, 20_000).map(bytes)


def taken(pieces: list[bytes]) -> list[tuple[bytes, int]]:
    packets = _wire.Packets()
    found = []
    for piece in pieces:
        packets.feed(piece)
        while (packet := packets.next()) is not None:
            found.append(packet)
    return found


class Wire(paho.Client):
    """paho, whose packets go into a list."""

    def __init__(self, protocol: MQTTProtocolVersion) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=protocol)
        self.packets: list[bytes] = []
        self._sock: Any = object()

    def _packet_queue(self, command: Any, packet: Any, mid: Any, qos: Any, info: Any = None) -> Any:
        self.packets.append(bytes(packet))
        return paho.MQTT_ERR_SUCCESS

    def __del__(self) -> None:
        # There is no socket to be closed.
        pass


@given(topics, payloads, st.sampled_from([0, 1]), st.booleans(), st.booleans())
def test_a_publish_is_the_bytes_that_paho_would_send(
    topic: str, payload: bytes, qos: int, retain, is_v5
) -> None:
    wire = Wire(MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311)
    wire._send_publish(7, topic.encode(), payload, qos, retain)
    mid = 7 if qos else None
    properties = b"\x00" if is_v5 else b""
    packet = _wire.publish(_wire.topic_bytes(topic), payload, mid=mid, retain=retain, properties=properties)
    assert wire.packets == [packet]
    ((whole, body),) = taken([packet])
    found = _wire.message_of(whole, body, is_v5=is_v5)
    assert found is not None
    message, told_mid = found
    assert (message.topic, message.payload, message.retain, told_mid) == (topic, payload, retain, mid)


def test_an_acknowledgement_is_the_bytes_that_paho_would_send() -> None:
    wire = Wire(MQTTProtocolVersion.MQTTv5)
    wire._send_puback(65_535)
    assert wire.packets == [_wire.puback(65_535)]


@given(st.lists(st.tuples(st.integers(1, 15), payloads), max_size=6), st.data())
def test_packets_are_the_same_however_the_bytes_are_cut(
    wanted: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    packets = [
        bytes([kind << 4]) + _wire.publish(b"", body, mid=None, retain=False, properties=b"")[1:]
        for kind, body in wanted
    ]
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[begin:end] for begin, end in pairwise([0, *cuts, len(stream)])]
    found = taken(pieces)
    assert [packet for packet, _ in found] == packets
    assert [packet[body:] for packet, body in found] == [body for _, body in wanted]


def test_a_length_of_five_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="four digits"):
        taken([b"\x30\xff\xff\xff\xff\x01"])


@given(st.binary(min_size=1, max_size=30), st.booleans())
def test_whatever_a_publish_holds_it_is_a_message_or_left_to_paho(body: bytes, is_v5) -> None:
    packet = bytes([_wire.PUBLISH | body[0] & 0x0F, len(body)]) + body
    found = _wire.message_of(packet, 2, is_v5=is_v5)
    if found is not None:
        message, _ = found
        assert message.raw_topic in body
        assert body.endswith(message.payload)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "x" * 65_536])
def test_a_topic_that_nobody_can_publish_on_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        _wire.topic_bytes(topic)
