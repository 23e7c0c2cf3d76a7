"""MQTT packets on the wire, as far as there are thousands of them a second: PUBLISH and PUBACK; pure.

What else there is, and what is rare or broken among these, is paho's to read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
MAX_TOPIC_BYTES: Final = 65_535
MAX_LENGTH: Final = 2**28 - 1
"""Of what follows a packet's header."""

_LENGTH_DIGITS = 4


class Incoming(msgspec.Struct, frozen=True, eq=False):
    """A message that came."""

    raw_topic: bytes
    payload: bytes
    retain: bool = False
    """Whether the broker had kept it."""
    properties: Any = None
    """As paho reads them; of MQTT 3.1.1, and where there are none, nothing."""

    @property
    def topic(self) -> str:
        """Raises UnicodeDecodeError: a broker need not look at what it passes on."""
        return self.raw_topic.decode()


class Packets:
    """Bytes as they come → whole packets, in linear time however they are cut."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._pieces: list[bytes] = []
        self._size = 0
        """Bytes that wait."""
        self._needed = 2
        """As many must wait before there can be a packet."""

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._pieces.append(data)
        self._size += len(data)

    def next(self) -> tuple[bytes, int] | None:
        """The next packet, and where its header ends; None while it is not whole.

        Raises:
            ValueError: It states a length that MQTT does not know.
        """
        if self._size < self._needed:
            return None
        if self._pieces:
            self._buffer = b"".join((self._buffer[self._at :], *self._pieces))
            self._at = 0
            self._pieces.clear()
        buffer, at = self._buffer, self._at
        length, body = buffer[at + 1] & 0x7F, 2
        while buffer[at + body - 1] >= 0x80:
            if body > _LENGTH_DIGITS:
                raise ValueError("a packet's length has more than four digits")
            if body == self._size:
                self._needed = body + 1
                return None
            length |= (buffer[at + body] & 0x7F) << 7 * (body - 1)
            body += 1
        if body + length > self._size:
            self._needed = body + length
            return None
        self._at = end = at + body + length
        self._size -= body + length
        self._needed = 2
        return buffer[at:end], body


def message_of(packet: bytes, body: int, *, is_v5: bool) -> tuple[Incoming, int | None] | None:
    """The message of a PUBLISH, and its id where it is to be acknowledged; None where paho is to judge.

    That is of QoS 2, with properties, or broken.
    """
    head = packet[0]
    qos = (head & 0x06) >> 1
    begin = body + 2
    end = begin + (packet[body] << 8 | packet[body + 1]) if len(packet) >= begin else begin
    payload = end + 2 * qos
    if qos > 1 or end == begin or len(packet) < payload + is_v5 or (is_v5 and packet[payload] != 0):
        return None
    message = Incoming(packet[begin:end], packet[payload + is_v5 :], retain=bool(head & 0x01))
    return message, int.from_bytes(packet[end:payload], "big") if qos else None


def publish(topic: bytes, payload: bytes, *, mid: int | None, retain: bool, properties: bytes) -> bytes:
    """A PUBLISH; of QoS 1 if it has an id, else of QoS 0.

    Args:
        topic: As ``topic_bytes`` makes it.
        payload: Together with the rest at most ``MAX_LENGTH`` bytes.
        mid: 1 to 65,535.
        retain: Whether the broker is to keep it.
        properties: As MQTT 5 packs them; of MQTT 3.1.1 nothing.
    """
    acknowledged = b"" if mid is None else mid.to_bytes(2, "big")
    length = len(topic) + len(acknowledged) + len(properties) + len(payload)
    head = bytearray((PUBLISH | (0 if mid is None else 0x02) | retain,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return b"".join((head, topic, acknowledged, properties, payload))


def puback(mid: int) -> bytes:
    """That a message of QoS 1 was taken."""
    return bytes((PUBACK, 2)) + mid.to_bytes(2, "big")


# A device's topics are always the same.
@lru_cache(maxsize=16_384)
def topic_bytes(topic: str) -> bytes:
    """A topic as packets have it.

    Raises:
        ValueError: Nobody can publish on it.
    """
    raw = topic.encode()
    if not 0 < len(raw) <= MAX_TOPIC_BYTES:
        raise ValueError(f"a topic has 1 to {MAX_TOPIC_BYTES} bytes, not {len(raw)}")
    if b"+" in raw or b"#" in raw:
        raise ValueError("a topic with a wildcard is a filter")
    return len(raw).to_bytes(2, "big") + raw
