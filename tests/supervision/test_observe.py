from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from tests.configured import configured
from tests.test_devices import NOW_S, payload
from vskd_stream.broker.connection import Traffic
from vskd_stream.devices import Devices
from vskd_stream.payloads import Origin
from vskd_stream.supervision.liveness import HUNG_AFTER_S, Progress
from vskd_stream.supervision.observe import Observer
from vskd_stream.tally import Tally


class FakeConnection:
    """What an observer asks a connection for."""

    def __init__(self):
        self.connected = asyncio.Event()
        self.traffic = Traffic(connections=2, received=10)
        self.waiting, self.stored_bytes, self.replayed = 3, 400, 5


class Room:
    """An observer with what it observes."""

    def __init__(self, loaded, *, is_durable=False, **keys: Any):
        self.settings = configured(**keys)
        self.tally = Tally()
        self.devices = Devices(self.settings, bundle=loaded, tally=self.tally)
        self.connection = cast(Any, FakeConnection())
        self.progress = Progress()
        self.origin = Origin("test", "tiny", "ab" * 32, "1.0")
        self.bluetooth: Any = None
        self.now_s = 0.0
        self.observer = Observer(
            devices=self.devices,
            connection=self.connection,
            tally=self.tally,
            progress=self.progress,
            origin=lambda: self.origin,
            settings=lambda: self.settings,
            bluetooth=lambda: self.bluetooth,
            is_durable=lambda: is_durable,
            monotonic_s=lambda: self.now_s,
            utc_s=lambda: NOW_S + 1.0,
        )

    def hear(self, device, **fields):
        return list(self.devices.receive(f"imu/{device}/samples", payload(**fields), arrival_s=NOW_S))

    async def ask(self, path):
        return await self.observer.routes[path]()

    async def metrics(self):
        answer = await self.ask("/metrics")
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }


async def test_ready_is_who_has_a_broker(loaded):
    room = Room(loaded)
    answer = await room.ask("/readyz")
    assert (answer.status, json.loads(answer.body)["ready"]) == (503, False)
    assert "no broker" in json.loads(answer.body)["troubles"][0]
    room.connection.connected.set()
    answer = await room.ask("/readyz")
    assert (answer.status, json.loads(answer.body)) == (200, {"ready": True, "troubles": []})


async def test_ready_is_whose_outbox_takes_events_while_the_broker_is_away(loaded):
    assert (await Room(loaded, is_durable=True).ask("/readyz")).status == 200
    assert (await Room(loaded, is_durable=False).ask("/readyz")).status == 503


async def test_alive_is_whose_windows_come_out_of_the_model(loaded):
    room = Room(loaded)
    room.progress.went_in(0.0)
    assert (await room.ask("/healthz")).status == 200
    room.now_s = HUNG_AFTER_S
    answer = await room.ask("/healthz")
    assert (answer.status, json.loads(answer.body)["alive"]) == (503, False)
    room.progress.came_out(room.now_s)
    assert (await room.ask("/healthz")).status == 200


async def test_metrics_are_what_others_count(loaded):
    room = Room(loaded, limits={"max_devices": 2})
    for device in ("a", "b", "c"):
        room.hear(device)
    room.hear("a")
    told = await room.metrics()
    assert told["vskd_device_samples_total", "a"] == 400
    assert told["vskd_device_samples_dropped_total", "a", "duplicate"] == 200
    assert told["vskd_device_online", "a"] == 1
    assert told["vskd_device_nominal_rate_hertz", "b"] == 50
    assert told["vskd_dropped_total", "duplicate"] == 1
    assert (told["vskd_devices",], told["vskd_devices_limit",]) == (2, 2)
    assert told["vskd_unserved_samples_total",] == 200
    assert told["vskd_broker_connections_total",] == 2
    assert (told["vskd_outbox_messages",], told["vskd_outbox_bytes",]) == (3, 400)
    assert told["vskd_outbox_replayed_total",] == 5


async def test_a_reload_shows_in_the_next_scrape(loaded):
    room = Room(loaded, limits={"max_devices": 2})
    room.hear("a")
    assert (await room.metrics())["vskd_devices_limit",] == 2
    room.settings = configured(limits={"max_devices": 3}, no_data_after_s=1.0)
    room.origin = Origin("test", "other", "cd" * 32, "1.0")
    room.bluetooth = SimpleNamespace(statuses=[SimpleNamespace(device="chest", counts={"connected": 4})])
    told = await room.metrics()
    assert told["vskd_devices_limit",] == 3
    assert told["vskd_device_online", "a"] == 0
    assert told["vskd_bundle_info", "other", "cd" * 32] == 1
    assert not any("tiny" in key for key in told)
    assert told["vskd_bluetooth_connections_total", "chest"] == 4


async def test_strangers_make_no_series(loaded):
    room = Room(loaded, limits={"max_devices": 2})
    room.hear("a")
    room.hear("b")
    before = {key[0] for key in await room.metrics()}, len(await room.metrics())
    for number in range(50):
        room.hear(f"stranger{number}")
        list(room.devices.receive(f"junk/{number}", b"junk", arrival_s=NOW_S))
        list(room.devices.receive("imu/a/samples", b"{" * number, arrival_s=NOW_S))
    told = await room.metrics()
    assert {key[0] for key in told} == before[0] | {"vskd_dropped_total"}
    assert len(told) <= before[1] + 6
    assert not any("stranger" in part for key in told for part in key)


async def test_of_a_silenced_device_nothing_is_told(loaded):
    room = Room(loaded, devices={"mute": {"silence": True}})
    room.hear("mute")
    room.hear("a")
    told = await room.metrics()
    assert told["vskd_device_samples_total", "a"] == 200
    assert not any("mute" in part for key in told for part in key)


async def test_scrapes_wait_for_each_other_and_all_are_answered(loaded):
    room = Room(loaded)
    for number in range(45):
        room.hear(f"d{number}", seconds=0.5)
    async with asyncio.timeout(30.0):
        answers = await asyncio.gather(*(room.ask("/metrics") for _ in range(4)))
    assert all(answer.body.count(b"vskd_device_online{") == 45 for answer in answers)


async def test_the_lag_of_the_event_loop_is_measured(loaded):
    room = Room(loaded)
    room.observer._lag.observe(0.0, 0.5)
    assert (await room.metrics())["vskd_event_loop_lag_seconds",] == 0.5
