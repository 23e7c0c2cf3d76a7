"""The daemon as a process of its own, on real brokers, with a tiny model."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time

import jsonschema
import msgspec
import numpy as np
import pytest

from tests.brokers import Mosquitto, Observer, free_port
from tests.heard import events_until, kept, started, told
from tests.models import acceleration
from tests.processes import DaemonProcess, command, write_config
from tests.wearer import RATE_HZ, batch, day
from vskd_stream.payloads import schema
from vskd_stream.recording import Header, Message, write


async def test_a_payload_comes_in_and_an_event_goes_out(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        publish={"scores": True},
    )
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        status = await observer.next("vskd/test/status")
        while json.loads(status.payload)["state"] != "online":
            status = await observer.next("vskd/test/status")
        for payload in day(seconds=12):
            await observer.publish("imu/left/samples", payload)
        events = await events_until(observer, started("moving"))
        assert told(events) == [("start", "still"), ("end", "still"), ("start", "moving")]
        for event in events:
            jsonschema.validate(event, schema("event"))
            assert event["device"] == "left"
            assert event["latency_ms"] >= 0
        state = await kept(mosquitto.port, "vskd/test/left/state")
        assert (state["label"], state["id"]) == ("moving", events[-1]["id"])

        began_s = time.monotonic()
        assert await daemon.stop() == 0
        # Two are promised, and a busy machine is given three more.
        assert time.monotonic() - began_s < 5.0
        assert (await kept(mosquitto.port, "vskd/test/status"))["state"] == "stopped"
        state = await kept(mosquitto.port, "vskd/test/left/state")
        assert (state["label"], state["reason"]) == ("no_data", "stopped")


async def test_of_too_many_windows_at_once_the_oldest_give_way_by_name_and_the_next_ones_are_classified(
    mosquitto, model, tmp_path
):
    config = write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        publish={"scores": True},
        limits={"max_queued_windows": 5},
    )
    acc = acceleration(0.0, samples=1000, sampling_rate_hz=RATE_HZ)
    async with Observer(mosquitto.port, "vskd/+/+/scores") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        # Twenty seconds in one message: its windows are cut before any of them can be classified.
        await observer.publish("imu/left/samples", batch(0, 0.0, acc=acc.tolist(), unit="g", sequence=39))
        ends = [json.loads((await observer.next()).payload)["end_sample"] for _ in range(5)]
        for number in range(40, 50):
            await observer.publish("imu/left/samples", batch(number, 0.0))
            ends.append(json.loads((await observer.next()).payload)["end_sample"])
        await daemon.stop()
        summary = await daemon.event("stopped")
    # Of the twenty seconds the last five windows are left; all that came after are there.
    assert ends == list(range(350, 500, 10))
    whole = range(50, 500, 10)
    assert summary["dropped_overload"] == len(whole) - len(ends)
    assert not {name for name in summary if name.startswith("dropped_")} - {"dropped_overload"}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_daemon_that_is_killed_is_offline(mosquitto, model, tmp_path, protocol):
    broker = {"host": "127.0.0.1", "port": mosquitto.port, "protocol": protocol}
    config = write_config(tmp_path / "c.yaml", broker=broker, model=str(model))
    async with Observer(mosquitto.port, "vskd/test/status") as observer, DaemonProcess(config) as daemon:
        assert json.loads((await observer.next()).payload)["state"] == "online"
        await daemon.stop(signal.SIGKILL)
        message = json.loads((await observer.next()).payload)
        assert message["state"] == "offline"
        jsonschema.validate(message, schema("status"))


async def test_live_equals_replay(mosquitto, model, tmp_path):
    # A hole in the stream, but no silence: how long that lasts depends on the speed of the replay.
    payloads = [*day(seconds=20), *day(start=60, seconds=10)]
    messages = [Message(1.79e9 + i * 0.5, "imu/left/samples", data) for i, data in enumerate(payloads)]
    recording = tmp_path / "day.vskdrec"
    write(recording, Header(created="2026-01-01T00:00:00Z"), messages)
    config = write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        replay=[{"recording": str(recording), "speed": 50}],
        no_data_after_s=2,
    )
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        live = await events_until(observer, started("no_data"))
        await daemon.stop()
    replayed = await asyncio.create_subprocess_exec(
        *(command("vskd"), "replay", str(recording), "--bundle", str(model), "--config", str(config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await replayed.communicate()
    assert replayed.returncode == 0, err.decode()
    offline = [json.loads(line) for line in out.splitlines()]

    def stream_side(event):
        # What the schema says depends on the moment of arrival.
        return {k: v for k, v in event.items() if not k.endswith("_utc") and k != "latency_ms"}

    assert len(offline) > 8
    assert [stream_side(event) for event in live] == [stream_side(event) for event in offline]


async def test_bad_input_is_told_by_name_and_disturbs_nobody(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        limits={"max_devices": 2, "max_payload_bytes": 1_000_000},
    )
    good = day(seconds=14)
    nan_batch = msgspec.msgpack.encode({**msgspec.json.decode(good[0]), "acc": [[float("nan"), 0.0, 1.0]]})
    infinite = msgspec.msgpack.encode({**msgspec.json.decode(good[0]), "acc": [[float("inf"), 0.0, 1.0]]})
    bad = [
        (good[0][: len(good[0]) // 2], "malformed"),
        (msgspec.msgpack.encode(msgspec.json.decode(good[0]))[:-7], "malformed"),
        (batch(0, 0.0, acc="none"), "malformed"),
        (nan_batch, "not_finite"),
        (infinite, "not_finite"),
        (batch(0, 0.0, sampling_rate_hz=1e12), "bad_rate"),
        (batch(0, 0.0, first_tick=2**53, tick_rate_hz=1e-3), "bad_rate"),
        (batch(0, 0.0, unit="furlong"), "unknown_unit"),
        (b"x" * 10_000_000, "too_large"),
        (batch(0, 0.0, acc=[[0, 0, 1000]] * 10_000), "too_many_samples"),
        (good[0], "duplicate"),
    ]
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for number, payload in enumerate(good):
            await observer.publish("imu/left/samples", payload)
            if number < len(bad):
                await observer.publish("imu/left/samples", bad[number][0])
        for device in ("second", "third"):
            await observer.publish(f"imu/{device}/samples", good[0])
        await observer.publish("imu/bad device/samples", good[0])
        events = await events_until(observer, started("moving"))
        assert told(events) == [("start", "still"), ("end", "still"), ("start", "moving")]
        for reason in {reason for _, reason in bad}:
            assert "left" in (await daemon.dropped(reason))["who"]
        assert (await daemon.dropped("device_limit"))["who"] == "third"
        assert "bad device" in (await daemon.dropped("bad_device"))["who"]
        assert await daemon.stop() == 0
        summary = daemon.log[-1]
        assert summary["dropped_malformed"] == 3
        assert summary["dropped_not_finite"] == 2


async def test_order_repetition_and_clock_jumps_are_survived(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": mosquitto.port}, model=str(model)
    )
    stream = day(seconds=12)
    shuffled = [*stream[:4], stream[5], stream[4], stream[4], *stream[6:]]
    years_later = [batch(10**10 + i, 0.0) for i in range(16)]
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for payload in (*shuffled, *years_later):
            await observer.publish("imu/left/samples", payload)
        events = await events_until(observer, lambda event: event["start_s"] > 1e9)
        assert told(events) == [
            ("start", "still"),
            ("end", "still"),
            ("start", "moving"),
            ("end", "moving"),
            ("start", "still"),
        ]
        assert events[-2]["reason"] == "gap"
        await daemon.dropped("duplicate")
        await daemon.logged(lambda line: line["event"] == "gap" and line["reason"] == "clock_jump")
        assert not any(line.get("reason") in {"late", "restart"} for line in daemon.log)


async def test_a_broker_that_comes_late_and_goes_for_a_while_loses_no_event(model, tmp_path):
    async with Mosquitto(persistence=True) as broker:
        await broker.stop()
        config = write_config(
            tmp_path / "c.yaml",
            broker={"host": "127.0.0.1", "port": broker.port},
            model=str(model),
            no_data_after_s=2,
        )
        async with DaemonProcess(config) as daemon:
            await daemon.event("no connection")
            await broker.start()
            await daemon.event("connected")
            async with Observer(broker.port, "vskd/#", session="steady") as publisher:
                for payload in day(seconds=12):
                    await publisher.publish("imu/left/samples", payload)
                await daemon.event("moving start")
                # Silence while the broker is away makes an event that nobody can take yet.
                await broker.stop()
                await daemon.event("no_data start")
            await broker.start()
            async with Observer(broker.port, "vskd/#", session="steady") as observer:
                events = await events_until(observer, started("no_data"))
                assert told(events)[-2:] == [("end", "moving"), ("start", "no_data")]
                for payload in day(start=112, seconds=6):
                    await observer.publish("imu/left/samples", payload)
                await events_until(observer, started("moving"))
            assert await daemon.stop() == 0


async def test_the_embedded_broker_needs_nothing_else(model, tmp_path):
    port = free_port()
    config = write_config(tmp_path / "c.yaml", broker={"embedded": {"port": port}}, model=str(model))
    async with DaemonProcess(config) as daemon:
        await daemon.event("connected")
        async with Observer(port, "vskd/#") as observer:
            for payload in day(seconds=12):
                await observer.publish("imu/left/samples", payload)
            await events_until(observer, started("moving"))
        assert await daemon.stop(signal.SIGINT) == 0


async def test_a_port_that_is_taken_is_one_sentence(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml", broker={"embedded": {"port": mosquitto.port}}, model=str(model)
    )
    async with DaemonProcess(config) as daemon:
        assert await daemon.ended() == 69
        assert f"port {mosquitto.port} is taken" in daemon.raw[-1]


async def test_nowhere_to_cache_kernels_costs_time_and_nothing_else(mosquitto, model, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a directory")
    nowhere = {
        name: str(occupied)
        for name in ("HOME", "NUMBA_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "TMPDIR")
    }
    config = write_config(
        tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": mosquitto.port}, model=str(model)
    )
    async with (
        Observer(mosquitto.port, "vskd/#") as observer,
        DaemonProcess(config, environ=nowhere) as daemon,
    ):
        await daemon.event("connected")
        for payload in day(seconds=12):
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, started("moving"))


async def test_a_terminal_gets_words_and_a_pipe_gets_json(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": mosquitto.port}, model=str(model)
    )
    async with DaemonProcess(config) as daemon:
        await daemon.event("connected")
        await daemon.stop()
        assert len(daemon.log) == len(daemon.raw)
    assert np.all([{"event", "level", "timestamp"} <= line.keys() for line in daemon.log])
