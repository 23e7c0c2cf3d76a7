"""No event is lost, whoever is killed: daemon and broker are processes, the disk is one.

Short here. An hour with 50 kills, and an outage in which 46,080 events come (an hour of 64 devices that tell
something every 5 s):

    VSKD_KILLS=50 VSKD_OUTAGE_ROUNDS=480 pytest tests/integration/test_durability.py -s -o timeout=1800
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jsonschema
import paho.mqtt.client as paho

from tests.brokers import Mosquitto, Observer, Proxy
from tests.disks import SmallDisk
from tests.messages import activity_id, disorders, event, key, state
from tests.processes import DaemonProcess, LogLine, write_config
from tests.wearer import BATCH_S, batch
from tests.witness import Witness
from vskd_stream import bundle, config
from vskd_stream.backoff import Backoff
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker._store import Store
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.broker.journal import Journal
from vskd_stream.classify import Classifier
from vskd_stream.events import EventType
from vskd_stream.payloads import schema
from vskd_stream.publication import Publication
from vskd_stream.recording import Message
from vskd_stream.tally import Tally
from vskd_stream.tools import offline

REWIND_S = 90.0
"""From so far back a daemon that knows nothing agrees with one that has heard all, long before the kill."""
WITHHELD = 60
"""For so many batches before some of the kills no acknowledgement arrives: events pile up."""
ON_THEIR_WAY = 3
"""Batches that the daemon need not have heard when the next is sent, and that a kill may cost: of less than
the two seconds for which what is missing is awaited, however slow the machine is."""
TOPIC = "imu/left/samples"


def stream(*, seconds: float, seed: int = 7) -> list[bytes]:
    """A wearer who rests and moves in turn, for 6 to 16 s each."""
    chance = random.Random(seed)
    batches: list[bytes] = []
    strength = 0.0
    while len(batches) * BATCH_S < seconds:
        for _ in range(chance.randrange(12, 32)):
            batches.append(batch(len(batches), strength))
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


def _keep_a_copy(path: Path) -> None:
    """Have the file itself remember all that was ever written to it."""
    Store(path, max_bytes=10**9, max_age_s=1e9).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE copy (payload BLOB);"
            "CREATE TRIGGER keep AFTER INSERT ON event BEGIN INSERT INTO copy VALUES (NEW.payload); END;"
        )


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
        self._file = tmp_path / "state" / "outbox.sqlite3"
        _keep_a_copy(self._file)
        self.seen: list[dict[str, Any]] = []
        self._onlines: set[str] = set()
        self.at = 0
        """The next batch that the watch sends."""
        self._heard = -1
        """The last one that the daemon has."""
        self._numbers = {batch: number for number, batch in enumerate(self.batches)}
        self.witness.on_heard = self._note
        self._arrived = asyncio.Event()
        self._exits = contextlib.AsyncExitStack()
        self.daemon: DaemonProcess | None = None
        self.logs: list[list[LogLine]] = []
        """Of every daemon so far."""

    def stored(self) -> list[dict[str, Any]]:
        """Every event that was ever in the file; to be asked when no daemon has it."""
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            return [json.loads(payload) for (payload,) in connection.execute("SELECT payload FROM copy")]

    @property
    def onlines(self) -> int:
        """How often the gateway has said that it runs."""
        return len(self._onlines)

    async def start_daemon(self) -> None:
        self.daemon = DaemonProcess(self.config)
        self.logs.append(self.daemon.log)
        await self.daemon.__aenter__()

    async def stop_daemon(self) -> None:
        """In order; what it says last has arrived then."""
        assert self.daemon is not None
        ended = len(self.seen)
        assert await self.daemon.stop() == 0
        await self.until(lambda: any(one["reason"] == "stopped" for one in self.seen[ended:]))
        self.daemon = None

    async def kill_daemon(self) -> None:
        assert self.daemon is not None
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
            await self.until(lambda: self._heard >= self.at - 1 - ON_THEIR_WAY)

    def rewind(self, batches: int) -> None:
        """Have the last batches sent again."""
        self.at = max(0, self.at - batches)
        self._heard = self.at - 1

    def _note(self, heard: bytes) -> None:
        self._heard = self._numbers.get(heard, self._heard)
        self._arrived.set()

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
        try:
            if self.daemon is not None:
                await self.kill_daemon()
        finally:
            await self._exits.aclose()

    async def _watch(self) -> None:
        while True:
            message: paho.MQTTMessage = await self.observer.messages.get()
            payload = json.loads(message.payload)
            if message.topic.endswith("/event"):
                self.seen.append(payload)
            elif payload["state"] == "online" and not message.retain:
                # By its time: what is delivered again is no news.
                self._onlines.add(payload["published_utc"])
            self._arrived.set()


def message_of(event: dict[str, Any]) -> tuple[object, ...]:
    return *key(event), event["published_utc"]


async def disturbed(stage: Stage, *, kills: int, seed: int, pause_s: float) -> dict[str, Any]:
    """Play it all, killing broker and daemon in turn, at moments when an event is on its way."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(stage.expected[4:-4], kills), key=lambda one: one["at_s"])
    for number, one in enumerate(moments):
        moment = int(one["at_s"] / BATCH_S) + 1
        if number % 3 == 1:
            await stage.play(moment - WITHHELD, pause_s=pause_s)
            stage.witness.withholds = True
        await stage.play(moment, pause_s=pause_s)
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
            stage.witness.withholds = False
            await stage.start_daemon()
        if kills_broker:
            stage.witness.withholds = False
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await stage.broker.start()
        await stage.online(after=onlines)
        stage.rewind(int(REWIND_S / BATCH_S) if kills_daemon else ON_THEIR_WAY)
    await stage.play(len(stage.batches), pause_s=pause_s)
    last = key(stage.expected[-1])
    await stage.until(lambda: any(key(event) == last for event in stage.seen))
    await stage.stop_daemon()
    # A broker that is killed forgets what it has taken and not yet passed on. Only the witness can tell.
    arrived = {message_of(event) for event in stage.seen}
    forgotten = [event for event in stage.witness.taken if message_of(event) not in arrived]
    excused = {event["id"] for event in forgotten}
    wrong = [
        *disorders(stage.witness.published),
        *disorders(event for event in stage.seen if event["id"] not in excused),
    ]
    told_of = {key(event) for event in (*stage.seen, *forgotten)}
    taken = {message_of(event) for event in stage.witness.taken}
    stored = stage.stored()
    return {
        "kills": kills,
        "expected": len(stage.expected),
        "arrived": len(stage.seen),
        "different": len({key(event) for event in stage.seen}),
        "replayed": sum(event["replayed"] for event in stage.seen),
        "ended after a crash": sum(event["reason"] == "stopped" for event in stage.seen),
        "stored": len(stored),
        "stored but never taken": [key(event) for event in stored if message_of(event) not in taken],
        "sent but never stored": len({message_of(event) for event in stage.witness.published})
        - len({message_of(event) for event in stored}),
        "forgotten by the broker": len(forgotten),
        "never arrived": [key(event) for event in stage.expected if key(event) not in told_of],
        "told instead": told_instead(stage),
        "disorders": wrong,
    }


def told_instead(stage: Stage) -> list[str]:
    """Events that nobody expected and no kill or stop ended, and what the daemons say of losses."""
    expected = {key(event) for event in stage.expected}
    strange = [
        f"{one['event_type']} of {one['label']} at {one['at_s']} s, {one['id']}"
        for one in stage.seen
        if key(one) not in expected and one["reason"] != "stopped"
    ]
    dropped = [
        f"daemon {number}: {line}"
        for number, log in enumerate(stage.logs)
        for line in log
        if line["event"] in {"dropped", "connection lost", "the model cannot keep up"}
    ]
    return strange + dropped


async def test_whoever_is_killed_every_event_arrives_and_each_start_before_its_end(tmp_path, model):
    kills = int(os.environ.get("VSKD_KILLS", "5"))
    async with Stage(tmp_path, model, seconds=72.0 * kills) as stage:
        told = await disturbed(stage, kills=kills, seed=1, pause_s=0.004)
    print({name: value if isinstance(value, int) else len(value) for name, value in told.items()})
    assert told["never arrived"] == [], told["told instead"]
    assert told["disorders"] == []
    assert told["stored but never taken"] == []
    assert told["sent but never stored"] == 0
    assert told["replayed"] > 0
    assert told["ended after a crash"] > 0


class Gateway:
    """The part of a daemon that sends: one connection, and its journal."""

    def __init__(self, port: int, path: Path, *, max_bytes: int = 10**8) -> None:
        self.tally = Tally()
        self.journal = Journal(Keeper(path, Bounds(max_bytes, 1e9, max_in_memory=100)), max_pending=10_000)
        self.connection = MqttConnection(
            Endpoint(host="127.0.0.1", port=port, client_id="vskd-gw"),
            will=Publication("vskd/gw/status", b"offline", retain=True),
            subscriptions=(),
            on_message=lambda *_: None,
            birth=list,
            max_queued=1000,
            tally=self.tally,
            journal=self.journal,
            backoff=Backoff(base_s=0.02, cap_s=0.1),
        )

    async def all_stored(self) -> None:
        async with asyncio.timeout(30):
            while not self.journal.is_stored(self.journal.last_seq):  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def all_sent(self) -> None:
        async with asyncio.timeout(120):
            while self.connection.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        await self.journal.open()
        self.task = asyncio.create_task(self.connection.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.journal.close()


@contextlib.contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """What is in use of all that is made from now on, in bytes: what waits for the collector is not.

    When that comes is the process's business, and follows from all else that it does.
    """
    gc.collect()
    # What is there already is not looked through each time.
    gc.freeze()
    tracemalloc.start()

    def in_use() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    try:
        yield in_use
    finally:
        tracemalloc.stop()
        gc.unfreeze()


async def outage(path: Path, *, devices: int, rounds: int, max_bytes: int) -> dict[str, Any]:
    """Every device tells a start, four updates and an end in each round, and nobody is there to hear it."""
    types: list[EventType] = ["start", "update", "update", "update", "update", "end"]
    sizes: list[int] = []
    async with (
        Mosquitto() as broker,
        Observer(broker.port, "vskd/gw/+/event") as observer,
        Gateway((proxy := Proxy(broker.port)).port, path, max_bytes=max_bytes) as gateway,
    ):
        with traced_memory() as in_use:
            for number in range(rounds):
                for step, type_ in enumerate(types):
                    for device in range(devices):
                        name = f"watch{device}"
                        one = event(type_, f"{name} {number}", at=6 * number + step, device=name)
                        gateway.connection.publish(one)
                        gateway.connection.publish(state(number, device=name))
                    await gateway.all_stored()
                sizes.append(in_use())
        files_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
        async with proxy:
            await gateway.all_sent()
            await observer.publish("vskd/gw/marker/event", b"")
            seen = await observer.until("vskd/gw/marker/event", b"")
    arrived = [json.loads(one.payload) for one in seen[:-1]]
    names = [activity_id(f"watch{device} {number}") for device in range(devices) for number in range(rounds)]
    edges = {(name, type_) for name in names for type_ in ("start", "end")}
    return {
        "made": len(names) * len(types),
        "arrived": len(arrived),
        "starts and ends missing": len(edges - {(one["id"], one["event_type"]) for one in arrived}),
        "disorders": list(disorders(arrived)),
        "all flagged": all(one["replayed"] for one in arrived),
        "dropped": dict(gateway.tally.counts),
        "memory": sizes,
        "files_bytes": files_bytes,
    }


async def test_an_outage_costs_updates_at_most_and_no_memory(tmp_path):
    rounds = int(os.environ.get("VSKD_OUTAGE_ROUNDS", "60"))
    # Room for every start and end, and for few updates.
    max_bytes = rounds * 52_000
    told = await outage(tmp_path / "state" / "outbox.sqlite3", devices=16, rounds=rounds, max_bytes=max_bytes)
    print({name: value for name, value in told.items() if name != "memory"})
    assert told["starts and ends missing"] == 0
    assert told["disorders"] == []
    assert told["all flagged"]
    assert told["dropped"] == {"outbox_full_update": told["made"] - told["arrived"]}
    assert told["dropped"]["outbox_full_update"] > 1000
    assert told["files_bytes"] < 2 * max_bytes + 1.5 * 2**20
    memory = told["memory"][10:]
    assert max(memory[-20:]) - max(memory[:20]) < 50_000


def configured(tmp_path: Path, model: Path, port: int, **keys: Any) -> Path:
    broker = {"host": "127.0.0.1", "port": port}
    outbox = {"directory": str(tmp_path / "state")}
    return write_config(
        tmp_path / "c.yaml", **{"broker": broker, "model": str(model), "outbox": outbox, **keys}
    )


async def until_moving(daemon: DaemonProcess, observer: Observer) -> None:
    await daemon.event("connected")
    for number in range(30):
        await observer.publish(TOPIC, batch(number, 0.0 if number < 16 else 1.5))
    await daemon.event("moving start")


async def next_state(observer: Observer, label: str) -> dict[str, Any]:
    while True:
        told: dict[str, Any] = json.loads((await observer.next("vskd/test/left/state")).payload)
        if told["label"] == label:
            return told


async def next_end(observer: Observer) -> dict[str, Any]:
    while True:
        told: dict[str, Any] = json.loads((await observer.next("vskd/test/left/event")).payload)
        if told["event_type"] == "end" and told["reason"] == "stopped":
            return told


async def test_what_goes_on_when_the_daemon_is_killed_has_ended_when_it_is_back(mosquitto, model, tmp_path):
    path = configured(tmp_path, model, mosquitto.port)
    async with (
        Observer(mosquitto.port, "vskd/+/+/event") as observer,
        Observer(mosquitto.port, "vskd/+/+/state") as states,
    ):
        async with DaemonProcess(path) as daemon:
            assert (await daemon.event("events wait on disk"))["events"] == 0
            await until_moving(daemon, observer)
            state = await next_state(states, "moving")
            await daemon.stop(signal.SIGKILL)
        async with DaemonProcess(path) as daemon:
            end = await next_end(observer)
            assert (end["id"], end["label"], end["replayed"]) == (state["id"], "moving", True)
            jsonschema.validate(end, schema("event"))
            state = await next_state(states, "no_data")
            assert (state["id"], state["reason"]) == (None, "stopped")
            jsonschema.validate(state, schema("state"))
            assert (await daemon.event("ended what was cut off"))["device"] == "left"


async def test_what_no_broker_took_from_a_daemon_that_stopped_the_next_one_sends(model, tmp_path):
    async with Mosquitto(persistence=True) as broker:
        path = configured(tmp_path, model, broker.port)
        async with Observer(broker.port, "vskd/test/left/#", session="steady") as observer:
            async with DaemonProcess(path) as daemon:
                await until_moving(daemon, observer)
                await broker.stop()
                await daemon.event("connection lost")
                assert await daemon.stop() == 0
                # States and the farewell are lost with the connection, and told anew at the next one.
                assert not any("outbox" in str(line.get("who")) for line in daemon.log)
            await broker.start()
            async with DaemonProcess(path) as daemon:
                assert (await daemon.event("events wait on disk"))["events"] >= 1
                end = await next_end(observer)
                assert (end["label"], end["replayed"]) == ("moving", True)
                assert not any(line["event"] == "ended what was cut off" for line in daemon.log)


async def test_two_daemons_do_not_share_an_outbox(mosquitto, model, tmp_path):
    path = configured(tmp_path, model, mosquitto.port)
    async with DaemonProcess(path) as daemon:
        await daemon.event("connected")
        async with DaemonProcess(path) as second:
            assert await second.ended() == 75
            file = tmp_path / "state" / "outbox.sqlite3"
            words = "another daemon has it open; give each gateway its own outbox.directory"
            assert second.raw[-1] == f"outbox {file}: {words}\n"
        assert await daemon.stop() == 0


async def test_a_damaged_outbox_is_set_aside_and_the_daemon_serves(mosquitto, model, tmp_path):
    path = configured(tmp_path, model, mosquitto.port)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "outbox.sqlite3").write_bytes(b"damaged" * 1000)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(path) as daemon:
        line = await daemon.event("outbox damaged: begun anew")
        assert line["moved_to"] == str(tmp_path / "state" / "outbox.sqlite3.damaged")
        await until_moving(daemon, observer)
        assert await daemon.stop() == 0
        assert (await next_end(observer))["replayed"] is False


async def test_a_full_disk_costs_durability_and_nothing_else(mosquitto, model, tmp_path):
    with SmallDisk(tmp_path / "state") as disk:
        disk.fill()
        path = configured(tmp_path, model, mosquitto.port)
        async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(path) as daemon:
            assert (await daemon.event("events wait in memory only"))["level"] == "warning"
            await until_moving(daemon, observer)
            assert await daemon.stop() == 0
            assert (await next_end(observer))["label"] == "moving"
            told = [line for line in daemon.log if line["event"] == "events wait in memory only"]
            assert len(told) == 1


async def test_systemd_says_where_the_outbox_is_and_without_a_place_it_is_said_that_there_is_none(
    mosquitto, model, tmp_path
):
    path = configured(tmp_path, model, mosquitto.port, outbox={})
    state = tmp_path / "var"
    async with DaemonProcess(path, environ={"STATE_DIRECTORY": f"{state}:/elsewhere"}) as daemon:
        line = await daemon.event("events wait on disk")
        assert line["outbox"] == str(state / "outbox.sqlite3")
    async with DaemonProcess(path, environ={"STATE_DIRECTORY": ""}) as daemon:
        line = await daemon.event("events wait in memory only")
        assert line["reason"] == "the configuration has no outbox.directory"
