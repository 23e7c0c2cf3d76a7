"""No event is lost, whoever is killed: daemon and broker are processes, the disk is one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from pathlib import Path
from typing import Any, Self

import msgspec
import paho.mqtt.client as paho
import pytest

from tests.brokers import Mosquitto, Observer
from tests.messages import disorders, key
from tests.models import acceleration, tiny_bundle
from tests.processes import DaemonProcess, write_config
from tests.witness import Witness
from vskd_stream import bundle, config, offline
from vskd_stream.classify import Classifier
from vskd_stream.recording import Message
from vskd_stream.tally import Tally

RATE_HZ, BATCH_S = 50.0, 0.5
REWIND_S = 90.0
"""From so far back a daemon that knows nothing agrees with one that has heard all, long before the kill."""
RESENT = 40
"""Batches that may have been on their way when the broker was killed."""
TOPIC = "imu/left/samples"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny.onnx")


def stream(*, seconds: float, seed: int = 7) -> list[bytes]:
    """Native batches of a wearer who rests and moves in turn, for 6 to 16 s each."""
    chance = random.Random(seed)
    batches: list[bytes] = []
    strength = 0.0
    samples = int(BATCH_S * RATE_HZ)
    while len(batches) * BATCH_S < seconds:
        for _ in range(chance.randrange(12, 32)):
            first = len(batches) * samples
            acc = acceleration(strength, samples=samples, sampling_rate_hz=RATE_HZ, first_sample=first)
            fields = {
                "schema": 1,
                "sequence": len(batches),
                "sampling_rate_hz": RATE_HZ,
                "first_tick": first,
                "tick_rate_hz": RATE_HZ,
                "unit": "mg",
                "acc": (acc * 1000).round().astype(int).tolist(),
            }
            batches.append(msgspec.json.encode(fields))
        strength = 1.5 - strength
    return batches


def undisturbed(batches: list[bytes], path: Path) -> list[dict[str, Any]]:
    """The events of a run that nothing disturbs, without what its end adds."""
    settings = config.load(path)
    loaded = bundle.load(bundle.resolve(settings.model.bundle))
    messages = [Message(1.79e9 + i * BATCH_S, TOPIC, batch) for i, batch in enumerate(batches)]
    played = offline.play(
        messages, settings=settings, bundle=loaded, classifier=Classifier(loaded), tally=Tally()
    )
    told = [one for _, publications in played for one in publications if one.topic.endswith("/event")]
    return [json.loads(one.payload) for one in told[:-2]]


class Saved(Mosquitto):
    """A mosquitto that remembers a subscriber, however it ends."""

    def __init__(self) -> None:
        super().__init__(persistence=True, extra="autosave_interval 1")

    async def save(self) -> None:
        """Write down who subscribes; it does nothing else in between."""
        assert self._process is not None
        file = self._directory / "mosquitto.db"
        self._process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(10):
            while not file.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Stage:
    """A broker, a gateway behind a witness, a watch that plays, and a subscriber that is never forgotten."""

    def __init__(self, tmp_path: Path, model: Path, *, seconds: float) -> None:
        self.broker = Saved()
        self.witness = Witness(self.broker.port)
        self.config = write_config(
            tmp_path / "c.yaml",
            broker={"host": "127.0.0.1", "port": self.witness.port},
            model=str(model),
            outbox={"directory": str(tmp_path / "state")},
            no_data_after_s=3600,
        )
        self.batches = stream(seconds=seconds)
        self.expected = undisturbed(self.batches, self.config)
        self.seen: list[dict[str, Any]] = []
        self.onlines = 0
        self.at = 0
        """The next batch that the watch sends."""
        self._arrived = asyncio.Event()
        self._exits = contextlib.AsyncExitStack()
        self.daemon: DaemonProcess | None = None

    async def start_daemon(self) -> None:
        self.daemon = DaemonProcess(self.config)
        await self.daemon.__aenter__()

    async def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.process.kill()
        await self.daemon.__aexit__(None, None, None)

    async def online(self, *, after: int) -> None:
        """The gateway has said once more that it runs."""
        await self.until(lambda: self.onlines > after, within_s=60.0)

    async def until(self, holds: Any, *, within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                self._arrived.clear()
                await self._arrived.wait()

    async def play(self, to: int, *, pause_s: float) -> None:
        """Send batches up to ``to``; the last of them may still be on their way then."""
        while self.at < to:
            self.observer._client.publish(TOPIC, self.batches[self.at], 1)
            self.at += 1
            await asyncio.sleep(pause_s)

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self.broker)
        await self._exits.enter_async_context(self.witness)
        self.observer = Observer(self.broker.port, "vskd/test/status", "vskd/test/+/event", session="steady")
        self._task = asyncio.create_task(self._watch())
        await self._exits.enter_async_context(self.observer)
        await self.broker.save()
        await self.start_daemon()
        await self.online(after=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        if self.daemon is not None:
            await self.kill_daemon()
        await self._exits.aclose()

    async def _watch(self) -> None:
        while True:
            message: paho.MQTTMessage = await self.observer.messages.get()
            payload = json.loads(message.payload)
            if message.topic.endswith("/event"):
                self.seen.append(payload)
            elif payload["state"] == "online" and not message.retain:
                self.onlines += 1
            self._arrived.set()


def message_of(event: dict[str, Any]) -> tuple[object, ...]:
    return *key(event), event["published_utc"]


async def disturbed(stage: Stage, *, kills: int, seed: int, pause_s: float) -> dict[str, Any]:
    """Play it all, killing broker and daemon in turn, at moments when an event is on its way."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(stage.expected[4:-4], kills), key=lambda event: event["at_s"])
    furthest = 0
    for number, event in enumerate(moments):
        await stage.play(int(event["at_s"] / BATCH_S) + 1, pause_s=pause_s)
        furthest = max(furthest, stage.at)
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        onlines = stage.onlines
        kills_broker, kills_daemon = number % 2 == 0, number % 2 == 1
        # Now and then the daemon is killed as well while there is no broker, and comes back before it.
        if number % 6 == 4:
            kills_daemon = True
        if kills_broker:
            await stage.broker.kill()
        if kills_daemon:
            await stage.kill_daemon()
            await stage.start_daemon()
        if kills_broker:
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await stage.broker.start()
        await stage.online(after=onlines)
        back = REWIND_S / BATCH_S if kills_daemon else RESENT
        stage.at = max(0, stage.at - int(back))
    await stage.play(len(stage.batches), pause_s=pause_s)
    last = key(stage.expected[-1])
    await stage.until(lambda: any(key(event) == last for event in stage.seen))
    # A broker that is killed forgets what it has taken and not yet passed on. Only the witness can tell.
    arrived = {message_of(event) for event in stage.seen}
    forgotten = [event for event in stage.witness.taken if message_of(event) not in arrived]
    excused = {event["id"] for event in forgotten}
    wrong = [
        *disorders(stage.witness.published),
        *disorders(event for event in stage.seen if event["id"] not in excused),
    ]
    told_of = {key(event) for event in (*stage.seen, *forgotten)}
    return {
        "kills": kills,
        "expected": len(stage.expected),
        "arrived": len(stage.seen),
        "different": len({key(event) for event in stage.seen}),
        "replayed": sum(event["replayed"] for event in stage.seen),
        "ended after a crash": sum(event["reason"] == "stopped" for event in stage.seen),
        "forgotten by the broker": len(forgotten),
        "never arrived": [key(event) for event in stage.expected if key(event) not in told_of],
        "disorders": [one for one in wrong if "never ends" not in one],
        "left open": {one for one in wrong if "never ends" in one},
    }


async def test_whoever_is_killed_every_event_arrives_and_each_start_before_its_end(tmp_path, model):
    async with Stage(tmp_path, model, seconds=300) as stage:
        told = await disturbed(stage, kills=5, seed=1, pause_s=0.004)
    assert told["never arrived"] == []
    assert told["disorders"] == []
    # The daemon still runs, and the wearer still does something.
    assert len(told["left open"]) == 1
    assert told["replayed"] > 0
    assert told["ended after a crash"] > 0
