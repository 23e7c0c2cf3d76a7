from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vskd_stream import recording
from vskd_stream.errors import RecordingError
from vskd_stream.publication import Publication
from vskd_stream.recording import Message
from vskd_stream.sources.replay import LEAST_PAUSE_S, replay

START_S = 1.7e9


class Watch:
    """Time that passes only where it is slept, and what was published when."""

    def __init__(self, *, late_s: float = 0.0, stop_after: int | None = None) -> None:
        self.now_s = 1000.0
        self.sent: list[tuple[float, Publication]] = []
        self.connected = asyncio.Event()
        self.connected.set()
        self._late_s = late_s
        self._stop_after = stop_after

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0.0
        self.now_s += seconds + self._late_s
        await asyncio.sleep(0)

    def publish(self, publication: Publication) -> None:
        self.sent.append((self.now_s - 1000.0, publication))
        if len(self.sent) == self._stop_after:
            raise asyncio.CancelledError

    async def replay(self, messages: Iterable[Message], **how: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await replay(
                messages,
                publish=self.publish,
                connected=self.connected,
                clock=self.clock,
                sleep=self.sleep,
                **how,
            )

    @property
    def times_s(self) -> list[float]:
        return [round(at_s, 9) for at_s, _ in self.sent]

    @property
    def batches(self) -> list[Any]:
        return [decoded(publication.payload) for _, publication in self.sent]


def decoded(payload: bytes) -> Any:
    return (msgspec.json if payload[:1] == b"{" else msgspec.msgpack).decode(payload)


def opaque(*arrivals_s: float) -> list[Message]:
    return [
        Message(START_S + at_s, f"imu/w{number}/samples", b"%d" % number)
        for number, at_s in enumerate(arrivals_s)
    ]


def native(
    at_s: float, *, codec: Any = msgspec.msgpack, topic: str = "imu/w/samples", **fields: Any
) -> Message:
    batch = {"schema": 1, "sampling_rate_hz": 50.0, "unit": "mg", "acc": [[0, 1, 1000]], **fields}
    return Message(START_S + at_s, topic, codec.encode(batch))


async def test_every_message_is_published_as_it_was_recorded_with_qos_0() -> None:
    watch = Watch()
    messages = opaque(0.0, 0.5, 0.5, 2.0)
    await watch.replay(messages)
    assert [publication for _, publication in watch.sent] == [
        Publication(message.topic, message.payload, qos=0, retain=False) for message in messages
    ]


@pytest.mark.parametrize("speed", [1.0, 0.5, 20.0])
async def test_messages_keep_their_distances_divided_by_the_speed(speed: float) -> None:
    watch = Watch()
    await watch.replay(opaque(0.0, 0.5, 0.5, 18.0, 18.25), speed=speed)
    assert watch.times_s == pytest.approx([at_s / speed for at_s in (0.0, 0.5, 0.5, 18.0, 18.25)], abs=1e-5)


async def test_the_beginning_can_be_left_out_and_is_not_waited_for() -> None:
    watch = Watch()
    await watch.replay(opaque(0.0, 2.0, 20.0, 21.5), start_s=20.0)
    assert watch.times_s == [0.0, 1.5]


async def test_a_recording_shorter_than_what_is_left_out_ends_at_once() -> None:
    watch = Watch()
    await watch.replay(opaque(0.0, 2.0), start_s=20.0, repeat=True)
    assert watch.sent == []


async def test_waiting_too_long_never_adds_up() -> None:
    watch = Watch(late_s=0.2)
    await watch.replay(opaque(*range(100)))
    assert watch.times_s == pytest.approx([number + 0.2 for number in range(100)], abs=1e-5)


async def test_nothing_is_published_before_the_connection_is_up() -> None:
    watch = Watch()
    watch.connected.clear()
    task = asyncio.create_task(watch.replay(opaque(0.0)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert watch.sent == []
    watch.now_s += 60.0
    watch.connected.set()
    await task
    assert watch.times_s == [60.0]


async def test_an_outage_does_not_stop_the_watch() -> None:
    watch = Watch()
    messages = opaque(0.0, 1.0, 2.0)

    def disconnecting() -> Iterator[Message]:
        yield messages[0]
        watch.connected.clear()
        yield from messages[1:]

    await watch.replay(disconnecting())
    assert watch.times_s == [0.0, 1.0, 2.0]


async def test_another_topic_takes_the_place_of_every_own() -> None:
    watch = Watch()
    await watch.replay(opaque(0.0, 1.0), topic="imu/other/samples")
    assert {publication.topic for _, publication in watch.sent} == {"imu/other/samples"}


async def test_without_repeat_payloads_are_not_looked_into() -> None:
    watch = Watch()
    message = native(0.0, sequence=1, times_s=[0.5])
    await watch.replay([message])
    assert watch.sent[0][1].payload is message.payload


@pytest.mark.parametrize("codec", [msgspec.msgpack, msgspec.json], ids=["MessagePack", "JSON"])
async def test_a_repeated_native_stream_goes_on_after_a_pause(codec: Any) -> None:
    first = [
        native(10.0, codec=codec, sequence=7, times_s=[0.25, 0.5], device="w"),
        native(12.5, codec=codec, sequence=8, times_s=[2.75, 3.0], device="w"),
    ]
    watch = Watch(stop_after=6)
    await watch.replay(first, repeat=True)
    # 2.5 s of recording and at least a second, in whole seconds.
    assert watch.times_s == [0.0, 2.5, 4.0, 6.5, 8.0, 10.5]
    assert [publication.payload for _, publication in watch.sent[:2]] == [m.payload for m in first]
    assert [batch["sequence"] for batch in watch.batches] == [7, 8, 9, 10, 11, 12]
    assert [batch["times_s"] for batch in watch.batches] == [
        [0.25, 0.5], [2.75, 3.0], [4.25, 4.5], [6.75, 7.0], [8.25, 8.5], [10.75, 11.0],
    ]  # fmt: skip
    for batch in watch.batches:
        assert batch | {"sequence": 0, "times_s": []} == decoded(first[0].payload) | {
            "sequence": 0,
            "times_s": [],
        }


async def test_ticks_are_moved_exactly() -> None:
    messages = [
        native(0.0, sequence=0, first_tick=0, tick_rate_hz=32768),
        native(1.2, sequence=1, first_tick=39322, tick_rate_hz=32768),
    ]
    watch = Watch(stop_after=6)
    await watch.replay(messages, repeat=True, speed=10.0)
    assert [batch["first_tick"] for batch in watch.batches] == [
        tick + lap * 3 * 32768 for lap in range(3) for tick in (0, 39322)
    ]
    assert watch.times_s == pytest.approx([0.0, 0.12, 0.3, 0.42, 0.6, 0.72])


async def test_every_topic_counts_its_own_batches() -> None:
    messages = [
        native(0.0, topic="imu/left/samples", sequence=100, times_s=[0.0]),
        native(0.1, topic="imu/right/samples", sequence=5, times_s=[0.0]),
        native(0.5, topic="imu/left/samples", sequence=101, times_s=[0.5]),
    ]
    watch = Watch(stop_after=6)
    await watch.replay(messages, repeat=True)
    assert [batch["sequence"] for batch in watch.batches] == [100, 5, 101, 102, 6, 103]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"{",
        b"[" * 5000,
        b"\x91" * 5000,
        b"{}",
        msgspec.json.encode({"schema": 2, "acc": [], "sequence": 1}),
        msgspec.json.encode({"schema": 1, "sequence": 1, "times_s": [1.0]}),
        msgspec.json.encode({"schema": 1, "acc": [], "sequence": "1"}),
        msgspec.json.encode({"schema": 1, "acc": [], "times_s": [[1.0]]}),
        msgspec.msgpack.encode({"schema": 1, "acc": [], "first_tick": 1, "tick_rate_hz": math.inf}),
        msgspec.msgpack.encode({"schema": 1, "acc": [], "first_tick": 1, "tick_rate_hz": math.nan}),
        msgspec.msgpack.encode({"schema": 1, "acc": [], "sequence": 2**64 - 1}),
        msgspec.json.encode({"schema": 1, "acc": [0] * 2**20, "sequence": 1}),
    ],
    ids=lambda payload: ascii(payload[:40]),
)
async def test_what_is_no_native_batch_is_repeated_as_it_is(payload: bytes) -> None:
    watch = Watch(stop_after=3)
    await watch.replay([Message(START_S, "t", payload)], repeat=True)
    assert [publication.payload for _, publication in watch.sent] == [payload] * 3
    assert watch.times_s == [0.0, LEAST_PAUSE_S, 2 * LEAST_PAUSE_S]


async def test_an_empty_recording_ends_even_when_repeated() -> None:
    watch = Watch()
    await watch.replay([], repeat=True)
    assert watch.sent == []


async def test_cancelling_ends_a_replay_that_waits() -> None:
    watch = Watch()
    waiting = asyncio.Event()

    async def sleep_for_ever(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        replay(opaque(0.0), publish=watch.publish, connected=watch.connected, sleep=sleep_for_ever)
    )
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watch.sent == []


async def test_a_damaged_recording_is_replayed_up_to_the_damage(tmp_path: Path) -> None:
    source = recording.read(recording.resolve("demo"))
    path = tmp_path / "cut.vskdrec"
    recording.write(path, source.header, [message for message, _ in zip(source, range(5), strict=False)])
    path.write_bytes(path.read_bytes()[:-1])
    watch = Watch()
    with pytest.raises(RecordingError, match="cut off"):
        await watch.replay(recording.read(path))
    assert len(watch.sent) == 4


async def test_two_laps_of_the_shipped_demo_are_one_stream() -> None:
    demo = recording.read(recording.resolve("demo"))
    laps = 2 * sum(1 for _ in demo)
    watch = Watch(stop_after=laps)
    await watch.replay(demo, repeat=True, speed=1000.0)
    batches = watch.batches
    assert [batch["sequence"] for batch in batches] == list(range(laps))
    times_s = [t_s for batch in batches for t_s in batch["times_s"]]
    assert all(a < b for a, b in pairwise(times_s))


async def test_what_came_over_bluetooth_is_not_published():
    published: list[Publication] = []
    connected = asyncio.Event()
    connected.set()
    messages = [Message(1.0, "$ble/chest/polar/session", b"{}"), Message(1.0, "imu/left/samples", b"x")]
    await replay(messages, publish=published.append, connected=connected)
    assert [each.topic for each in published] == ["imu/left/samples"]
