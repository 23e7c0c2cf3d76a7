"""The daemon under a service manager: what it says of itself, and when."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace

from structlog.testing import capture_logs

from tests.brokers import Mosquitto, Observer
from tests.configured import configured
from tests.heard import events_until, kept, started
from tests.processes import DaemonProcess, write_config
from tests.supervisors import ServiceManager
from tests.wearer import day
from tests.witness import Witness
from vskd_stream import bundle, recording
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker.endpoint import endpoint_of
from vskd_stream.broker.journal import Journal
from vskd_stream.classify import Classifier
from vskd_stream.daemon import Daemon
from vskd_stream.equipment import Equipment
from vskd_stream.payloads import Origin
from vskd_stream.settings import Replay


async def test_it_is_ready_with_the_broker_alive_while_it_serves_and_stops_in_order(
    mosquitto, model, tmp_path
):
    config = write_config(
        tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": mosquitto.port}, model=str(model)
    )
    with ServiceManager(tmp_path / "notify", watchdog_s=2.0) as manager:
        async with DaemonProcess(config, environ=manager.environ) as process:
            ready = await manager.until("READY")
            connected = f"0 devices; connected to mqtt://127.0.0.1:{mosquitto.port}"
            assert ready["STATUS"].startswith(connected)
            async with Observer(mosquitto.port) as watch:
                for payload in day(seconds=8):
                    await watch.publish("imu/left/samples", payload)
            await manager.until("STATUS", "1 device;")
            await manager.until("WATCHDOG")
            assert await process.stop() == 0
        assert (await manager.until("STOPPING"))["STATUS"] == "stopping"


async def test_without_a_broker_and_an_outbox_it_is_not_ready(model, tmp_path):
    async with Mosquitto() as broker:
        await broker.stop()
        config = write_config(
            tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": broker.port}, model=str(model)
        )
        with ServiceManager(tmp_path / "notify") as manager:
            async with DaemonProcess(config, environ=manager.environ) as process:
                await process.event("no connection")
                await manager.until("EXTEND_TIMEOUT_USEC")
                assert "waiting for mqtt://" in manager.heard[-1]["STATUS"]
                assert not any("READY" in message for message in manager.heard)
                await broker.start()
                await manager.until("READY")


async def test_with_an_outbox_it_is_ready_before_there_is_a_broker(model, tmp_path):
    async with Mosquitto() as broker:
        await broker.stop()
        config = write_config(
            tmp_path / "c.yaml",
            broker={"host": "127.0.0.1", "port": broker.port},
            model=str(model),
            outbox={"directory": str(tmp_path / "state")},
        )
        with ServiceManager(tmp_path / "notify") as manager:
            async with DaemonProcess(config, environ=manager.environ):
                assert "waiting for mqtt://" in (await manager.until("READY"))["STATUS"]


class Hanging(Classifier):
    """A model that does not answer while its gate is shut."""

    def __init__(self, loaded):
        self.gate, self.asked = threading.Event(), threading.Event()
        self.gate.set()
        super().__init__(loaded)

    def classify(self, windows):
        self.asked.set()
        assert self.gate.wait(60)
        return super().classify(windows)


def served_by(classifier, loaded, *, port, max_queued_windows=2, **options) -> Daemon:
    settings = configured(
        broker={"host": "127.0.0.1", "port": port},
        # The queue runs over soon, and so the hop is widened: neither is a sign of life.
        limits={"max_queued_windows": max_queued_windows},
    )
    origin = Origin("test", "tiny", loaded.sha256, "1.0")
    equipment = Equipment(settings, loaded, classifier, endpoint_of(settings), origin, None)
    return Daemon(equipment, **options)


async def test_a_model_that_hangs_starves_the_watchdog(mosquitto, model, monkeypatch):
    with ServiceManager(watchdog_s=0.4) as manager:
        for name, value in manager.environ.items():
            monkeypatch.setenv(name, value)
        loaded = bundle.load(model)
        classifier = Hanging(loaded)
        served = served_by(classifier, loaded, port=mosquitto.port)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks, Observer(mosquitto.port) as watch:
            tasks.create_task(served.run(stop))
            await manager.until("READY")
            await manager.until("WATCHDOG")
            classifier.gate.clear()
            stream = iter(day(seconds=60))

            async def wear():
                for payload in stream:
                    await watch.publish("imu/left/samples", payload)
                    await asyncio.sleep(0.05)

            wearing = tasks.create_task(wear())
            await manager.until("STATUS", "the model does not answer")
            wearing.cancel()
            classifier.gate.set()
            await manager.until("WATCHDOG")
            stop.set()


@contextlib.asynccontextmanager
async def asked_in_vain(port, loaded, **options):
    """A daemon whose model was asked and does not answer; it, the model's gate, its stop, its tasks."""
    classifier = Hanging(loaded)
    served = served_by(classifier, loaded, port=port, **options)
    stop = asyncio.Event()
    classifier.gate.clear()
    try:
        async with (
            asyncio.timeout(60),
            asyncio.TaskGroup() as tasks,
            Observer(port, "vskd/test/status") as watch,
        ):
            tasks.create_task(served.run(stop))
            await watch.next()
            for payload in day(seconds=8):
                await watch.publish("imu/left/samples", payload)
            assert await asyncio.to_thread(classifier.asked.wait, 30)
            yield served, classifier.gate, stop, tasks
    finally:
        classifier.gate.set()


async def test_a_model_that_hangs_keeps_no_stop_waiting(mosquitto, model, tmp_path):
    path, bounds = tmp_path / "outbox.sqlite3", Bounds(2**20, 3600.0, max_in_memory=100)
    journal = Journal(Keeper(path, bounds), max_pending=100)
    with capture_logs() as logs:
        async with asked_in_vain(mosquitto.port, bundle.load(model), journal=journal) as (_, _, stop, _):
            stop.set()
    assert [line["event"] for line in logs if "model" in line["event"]] == [
        "the model has not answered in time"
    ]
    assert logs[-1]["event"] == "stopped"
    assert (await kept(mosquitto.port, "vskd/test/status"))["state"] == "stopped"
    # The outbox was closed in order: another may have it.
    again = Journal(Keeper(path, bounds), max_pending=100)
    await again.open()
    await again.close()


async def test_a_stop_in_the_middle_of_a_reload_ends_what_the_reload_begins(mosquitto, model):
    endless = Replay(recording="demo", speed=1.0, repeat=True)
    messages = recording.read(recording.resolve(endless.recording))
    async with asked_in_vain(mosquitto.port, bundle.load(model)) as (served, gate, stop, tasks):
        after = replace(served._exchange.equipment, replays=((endless, messages),))
        tasks.create_task(served._exchange.to(after))
        # It waits for the model now.
        await asyncio.sleep(0)
        stop.set()
        gate.set()


async def test_nothing_begins_while_the_end_of_what_went_on_is_on_its_way(mosquitto, model):
    loaded = bundle.load(model)
    stop = asyncio.Event()
    events = "vskd/test/left/event"
    async with (
        asyncio.timeout(60),
        Witness(mosquitto.port) as witness,
        Observer(mosquitto.port, "vskd/test/status", events) as watch,
        asyncio.TaskGroup() as tasks,
    ):
        served = served_by(Classifier(loaded), loaded, port=witness.port, max_queued_windows=100)
        running = tasks.create_task(served.run(stop))
        await watch.next("vskd/test/status")
        for payload in day(seconds=12):
            await watch.publish("imu/left/samples", payload)
        await events_until(watch, started("moving"))
        # The broker has these, and hands them over while its acknowledgement of the end is waited for.
        witness.hold_answers()
        for payload in day(start=24, seconds=16):
            await watch.publish("imu/left/samples", payload)
        stop.set()
        await events_until(watch, lambda event: event["reason"] == "stopped")
        witness.withholds = True
        witness.release_answers()
        await running
        await watch.publish(events, b"")
        assert [one.payload for one in await watch.until(events, b"") if one.topic == events] == [b""]
