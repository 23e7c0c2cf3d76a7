"""Reads along between a client and its broker: what was published, and what the broker says to have taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tests.brokers import Proxy

_PUBLISH, _PUBACK = 3, 4


class Witness(Proxy):
    """A proxy for one MQTT 5 client that reads along."""

    def __init__(self, broker_port: int) -> None:
        super().__init__(broker_port)
        self.published: list[dict[str, Any]] = []
        """Events, each time that one was sent, in that order."""
        self.taken: list[dict[str, Any]] = []
        """Events that a broker has acknowledged."""
        self._unanswered: dict[int, dict[str, Any]] = {}

    def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> Coroutine[Any, Any, None]:
        if gate is None:
            self._unanswered = {}
        feed = self._sent if gate is None else self._answered
        unanswered = self._unanswered
        tapped = _Tapped(source, lambda kind, flags, body: feed(kind, flags, body, unanswered))
        return super()._carry(tapped, sink, gate)  # type: ignore[arg-type]

    def _sent(self, kind: int, flags: int, body: bytes, unanswered: dict[int, dict[str, Any]]) -> None:
        if kind != _PUBLISH or not flags & 0b0110:
            return
        topic_end = 2 + int.from_bytes(body[:2])
        mid = int.from_bytes(body[topic_end : topic_end + 2])
        length, start = _variable(body, topic_end + 2)
        if body[2:topic_end].endswith(b"/event"):
            event = json.loads(body[start + length :])
            self.published.append(event)
            unanswered[mid] = event

    def _answered(self, kind: int, _flags: int, body: bytes, unanswered: dict[int, dict[str, Any]]) -> None:
        if kind == _PUBACK:
            event = unanswered.pop(int.from_bytes(body[:2]), None)
            if event is not None:
                self.taken.append(event)


class _Tapped:
    """A stream that shows whole packets to someone else as they pass."""

    def __init__(self, source: asyncio.StreamReader, show: Callable[[int, int, bytes], None]) -> None:
        self._source = source
        self._show = show
        self._buffer = b""

    async def read(self, count: int) -> bytes:
        data = await self._source.read(count)
        self._buffer += data
        for packet in self._packets():
            self._show(*packet)
        return data

    def _packets(self) -> Iterator[tuple[int, int, bytes]]:
        while len(self._buffer) > 1:
            try:
                length, start = _variable(self._buffer, 1)
            except IndexError:
                return
            if len(self._buffer) < start + length:
                return
            first, body = self._buffer[0], self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            yield first >> 4, first & 0b1111, body


def _variable(data: bytes, start: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if not data[start - 1] & 0x80:
            return value, start
