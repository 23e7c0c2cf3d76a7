"""A recording, published over MQTT as the watch would: at its pace, whether or not anyone is there.

Samples go out with QoS 0, as from a watch: what is late is useless, and QoS 1 would make them wait
among the events and push those out. Over one connection MQTT keeps the order and TCP loses nothing,
so a replay over loopback is complete; when the broker is away the watch's time goes on, and what
falls into the outage is lost and counted where it is dropped.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec

from vskd_stream.publication import Publication
from vskd_stream.recording import Message, is_bluetooth

LEAST_PAUSE_S: Final = 1.0
"""At least so long lies between the laps of a repeated recording: nothing is joined across the seam."""
MAX_MOVED_BYTES: Final = 2**20
"""Larger payloads are not looked into: no batch that a decoder takes is longer."""
_CODECS: Final = (msgspec.msgpack, msgspec.json)


async def replay(
    messages: Iterable[Message],
    *,
    publish: Callable[[Publication], None],
    connected: asyncio.Event,
    start_s: float = 0.0,
    speed: float = 1.0,
    repeat: bool = False,
    topic: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Publish ``messages`` at the pace they arrived, until they end or the task is cancelled.

    Args:
        messages: In order of arrival; iterated once a lap, and in a thread since it may read a file.
            What came over Bluetooth is left out: no broker takes it, ``vskd replay`` plays it.
        publish: Takes each message; what it cannot send it drops and counts.
        connected: Awaited before the start only.
        start_s: Leave out what arrived less than so long after the first message.
        speed: Times real time.
        repeat: Begin again at the end. Batches of the native format then carry the times and
            sequence numbers of a stream that went on. Payloads of other formats are repeated as they
            are: to whoever receives them they are duplicates, or come from a device that restarted.
        topic: Publish on this topic; None: on each message's own.
        clock: Seconds that never run backwards.
        sleep: Waits for so many seconds.

    Raises:
        RecordingError: The recording is damaged; all messages before that were published.
    """
    await connected.wait()
    laps = _Laps()
    began_s = clock()
    while True:
        left = _since(messages, start_s)
        while (message := await asyncio.to_thread(next, left, None)) is not None:
            if is_bluetooth(message.topic):
                continue
            # Against the beginning, not the message before: what waiting takes too long never adds up.
            due_s = began_s + laps.elapsed_s(message.arrival_s) / speed
            await sleep(max(due_s - clock(), 0.0))
            payload = laps.payload(message) if repeat else message.payload
            publish(Publication(topic or message.topic, payload, qos=0))
        if not repeat or not laps.finish():
            return


def _since(messages: Iterable[Message], start_s: float) -> Iterator[Message]:
    first_s: float | None = None
    for message in messages:
        first_s = message.arrival_s if first_s is None else first_s
        if message.arrival_s - first_s >= start_s:
            yield message


class _NativeBatch(msgspec.Struct, frozen=True):
    """What of a native batch tells its place in the stream; ``decode.native`` checks all of it."""

    schema: Literal[1]
    acc: msgspec.Raw
    sequence: int | None = None
    first_tick: int | None = None
    tick_rate_hz: float | None = None
    times_s: list[float] | None = None


class _Laps:
    """Moves times and sequence numbers on by the laps that are done."""

    def __init__(self) -> None:
        self._done = 0
        self._first_s: float | None = None
        self._last_s = 0.0
        # Per topic, from the first lap: least and greatest sequence number.
        self._sequences: dict[str, tuple[int, int]] = {}

    def elapsed_s(self, arrival_s: float) -> float:
        """Time from the very first message to this one, at the recording's own pace."""
        if self._first_s is None:
            self._first_s = arrival_s
        if self._done == 0:
            self._last_s = arrival_s
        return arrival_s - self._first_s + self._moved_s

    def finish(self) -> bool:
        """End a lap; False if there was nothing in it."""
        self._done += 1
        return self._first_s is not None

    def payload(self, message: Message) -> bytes:
        """The message's payload, moved on if it is a batch of the native format."""
        if len(message.payload) > MAX_MOVED_BYTES:
            return message.payload
        for codec in _CODECS:
            try:
                moved = self._moved(message.topic, codec.decode(message.payload, type=_NativeBatch))
                if self._done == 0:
                    return message.payload
                # Whatever is not moved stays the bytes that it is.
                fields = codec.decode(message.payload, type=dict[str, msgspec.Raw])
                encoded: bytes = codec.encode(fields | moved)
                return encoded
            except (ValueError, OverflowError, RecursionError):
                continue
        return message.payload

    def _moved(self, topic: str, batch: _NativeBatch) -> dict[str, object]:
        """The fields to replace; in the first lap its sequence numbers are learned."""
        moved: dict[str, object] = {}
        if batch.sequence is not None:
            least, greatest = self._sequences.get(topic, (batch.sequence, batch.sequence))
            if self._done == 0:
                self._sequences[topic] = min(least, batch.sequence), max(greatest, batch.sequence)
            moved["sequence"] = batch.sequence + self._done * (greatest - least + 1)
        if batch.first_tick is not None and batch.tick_rate_hz is not None:
            moved["first_tick"] = batch.first_tick + round(self._moved_s * batch.tick_rate_hz)
        if batch.times_s is not None:
            moved["times_s"] = [t_s + self._moved_s for t_s in batch.times_s]
        return moved

    @property
    def _moved_s(self) -> int:
        """What the laps took, with their pauses: whole seconds, which move the ticks of any clock exactly."""
        if self._done == 0 or self._first_s is None:
            return 0
        return self._done * math.ceil(self._last_s - self._first_s + LEAST_PAUSE_S)
