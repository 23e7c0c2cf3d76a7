"""Reads along between a client and its broker: what was published, and what the broker says to have taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tests.brokers import Proxy

_PUBLISH, _PUBACK = 3, 4
_QOS = 0b0110

_Show = Callable[[int, int, bytes], bool]


class Witness(Proxy):
    """A proxy for one MQTT 5 client that reads along, and can keep acknowledgements to itself."""

    def __init__(self, broker_port: int) -> None:
        super().__init__(broker_port)
        self.published: list[dict[str, Any]] = []
        """Events, each time that one was sent, in that order."""
        self.taken: list[dict[str, Any]] = []
        """Events that a broker has acknowledged, whether or not the client came to know."""
        self.withholds = False
        """Whether acknowledgements get lost, as the last before the end of a connection do."""
        self.on_heard: Callable[[bytes], None] = lambda _: None
        """Called with each message of QoS 1 that the client has acknowledged."""
        self._unanswered: dict[int, dict[str, Any]] = {}
        self._unheard: dict[int, bytes] = {}

    def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> Coroutine[Any, Any, None]:
        if gate is None:  # The first of two: a new connection, from client to broker.
            self._unanswered = {}
            self._unheard = {}
        unanswered, unheard = self._unanswered, self._unheard

        def sent(kind: int, flags: int, body: bytes) -> bool:
            if kind == _PUBLISH and flags & _QOS:
                topic, mid, payload = _message(body)
                if topic.endswith(b"/event"):
                    self.published.append(json.loads(payload))
                    unanswered[mid] = self.published[-1]
            elif kind == _PUBACK and (heard := unheard.pop(int.from_bytes(body[:2]), None)) is not None:
                self.on_heard(heard)
            return True

        def answered(kind: int, flags: int, body: bytes) -> bool:
            if kind == _PUBLISH and flags & _QOS:
                _, mid, unheard[mid] = _message(body)
            if kind != _PUBACK or (event := unanswered.pop(int.from_bytes(body[:2]), None)) is None:
                return True
            self.taken.append(event)
            return not self.withholds

        tapped = _Tapped(source, sent if gate is None else answered)
        return super()._carry(tapped, sink, gate)  # type: ignore[arg-type]


class _Tapped:
    """A stream that shows whole packets to someone as they pass, who says whether they do."""

    def __init__(self, source: asyncio.StreamReader, show: _Show) -> None:
        self._source = source
        self._show = show
        self._buffer = b""

    async def read(self, count: int) -> bytes:
        while data := await self._source.read(count):
            self._buffer += data
            if passed := b"".join(self._passing()):
                return passed
        return b""

    def _passing(self) -> Iterator[bytes]:
        while len(self._buffer) > 1:
            try:
                length, start = _variable(self._buffer, 1)
            except IndexError:
                return
            packet = self._buffer[: start + length]
            if len(packet) < start + length:
                return
            self._buffer = self._buffer[len(packet) :]
            if self._show(packet[0] >> 4, packet[0] & 0b1111, packet[start:]):
                yield packet


def _message(body: bytes) -> tuple[bytes, int, bytes]:
    """Topic, id and payload of a PUBLISH of QoS 1 or 2."""
    topic_end = 2 + int.from_bytes(body[:2])
    length, start = _variable(body, topic_end + 2)
    return body[2:topic_end], int.from_bytes(body[topic_end : topic_end + 2]), body[start + length :]


def _variable(data: bytes, start: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if not data[start - 1] & 0x80:
            return value, start
