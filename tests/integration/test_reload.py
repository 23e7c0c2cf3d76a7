"""A running daemon whose configuration changes."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import math
import os
import pty
import signal
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.brokers import Observer, retained
from tests.heard import events_until, kept, started
from tests.models import tiny_bundle
from tests.processes import DaemonProcess, command, write_config
from tests.supervisors import ServiceManager
from tests.test_bundle import rewritten
from tests.wearer import batch, day


@pytest.fixture
def configure(mosquitto, model, tmp_path):
    """Writes the configuration anew, with other keys."""

    def write(**keys: Any) -> Path:
        broker = {"host": "127.0.0.1", "port": mosquitto.port}
        return write_config(tmp_path / "c.yaml", **{"broker": broker, "model": str(model), **keys})

    return write


def refused(line):
    return line["event"].startswith("reload refused")


async def scores_of(observer: Observer, device: str, *, last_sample: int) -> list[dict[str, Any]]:
    scores: list[dict[str, Any]] = []
    while not scores or scores[-1]["end_sample"] < last_sample:
        message = await observer.next(f"vskd/test/{device}/scores")
        scores.append(json.loads(message.payload))
    return scores


async def test_a_model_is_exchanged_under_load_and_no_window_is_lost(configure, mosquitto, tmp_path):
    config = configure(publish={"scores": True})
    other = tiny_bundle(tmp_path / "other.onnx", name="other")
    devices = [f"d{number}" for number in range(8)]
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        seen: dict[str, list[dict[str, Any]]] = {device: [] for device in devices}
        events: list[dict[str, Any]] = []
        # Batches are of half a second; how many there will be is not known before the model is exchanged.
        sent, last = 0, math.inf

        async def look():
            # Windows of 2 s every 0.5 s; the last half second waits for the sample behind it.
            # On a busy machine the last ones may be skipped, of one in four hops.
            while any(not each or each[-1]["end_s"] < last / 2 - 2.5 for each in seen.values()):
                message = await observer.next()
                _, _, device, *word = message.topic.split("/")
                if word == ["scores"]:
                    seen[device].append(json.loads(message.payload))
                elif word == ["event"]:
                    events.append(json.loads(message.payload))

        looking = asyncio.create_task(look())
        reloaded = asyncio.create_task(daemon.event("reloaded"))
        while sent < last:
            if sent == 40:
                configure(publish={"scores": True}, model=str(other))
                daemon.process.send_signal(signal.SIGHUP)
            if sent > 40:
                # The loop goes on while the model is loaded, and so does the load.
                await asyncio.sleep(0.02)
            if reloaded.done() and last == math.inf:
                last = sent + 40
            for device in devices:
                await observer.publish(f"imu/{device}/samples", batch(sent, 1.5 * (sent // 16 % 2)))
            sent += 1
        line = await reloaded
        assert (line["bundle"], line["new_model"], line["changed"]) == ("other", True, ["model"])
        async with asyncio.timeout(60):
            await looking
        for scores in seen.values():
            ends = [each["end_sample"] for each in scores]
            assert ends == sorted(set(ends))
            names = [each["bundle"]["name"] for each in scores]
            assert names == sorted(names, reverse=True)
            assert set(names) == {"tiny", "other"}
        for device in devices:
            of = [event for event in events if event["device"] == device and event["event_type"] != "update"]
            (end,) = [number for number, event in enumerate(of) if event["reason"] == "model"]
            assert {event["bundle"]["name"] for event in of[: end + 1]} == {"tiny"}
            assert {event["bundle"]["name"] for event in of[end + 1 :]} == {"other"}
        assert (await kept(mosquitto.port, "vskd/test/status"))["bundle"]["name"] == "other"
        assert await daemon.stop() == 0
        await observer.publish("vskd/test/all/seen", b"")
        while (message := await observer.next()).topic != "vskd/test/all/seen":
            if message.topic.endswith("/scores"):
                seen[message.topic.split("/")[2]].append(json.loads(message.payload))
        # Every window was decided on, or skipped under its name where this machine is too busy for it.
        summary = daemon.log[-1]
        skipped = summary.get("dropped_hop_widened", 0) + summary.get("dropped_overload", 0)
        assert sum(map(len, seen.values())) + skipped == len(devices) * len(range(50, 10 * sent, 10))
        strange = {key for key in summary if key.startswith("dropped_")}
        assert strange <= {"dropped_hop_widened", "dropped_overload"}


async def test_sources_change_on_the_connection_that_is_there(configure, mosquitto):
    config = configure(sources=[{"topic": "imu/+/samples"}, {"topic": "old/+"}])
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        stream = day(seconds=24)
        for payload in stream[:20]:
            await observer.publish("imu/left/samples", payload)
        configure(sources=[{"topic": "new/+"}, {"topic": "imu/+/samples"}])
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.event("reloaded")
        # What is subscribed to last is heard last: whatever reached us before shows that it came about.
        while True:
            await observer.publish("new/right", batch(0, 0.0))
            message = await observer.next()
            if message.topic == "vskd/test/right/status":
                break
        for payload in stream[20:]:
            await observer.publish("imu/left/samples", payload)
        for _ in range(3):
            await observer.publish("old/nobody", batch(0, 0.0))
        events = await events_until(observer, lambda event: event["at_s"] >= 20 and event["device"] == "left")
        assert "gap" not in {event["reason"] for event in events}
        assert await daemon.stop() == 0
        assert sum(line["event"] == "connected" for line in daemon.log) == 1
        assert not any(line.get("who", "").startswith("old/") for line in daemon.log)


async def test_what_cannot_be_taken_over_is_refused_in_words_and_the_old_serves_on(
    configure, mosquitto, model, tmp_path
):
    sound = model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(sound[:-100])
    (tmp_path / "golden.onnx").write_bytes(rewritten(model, golden=swap_probabilities))
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"gateway": "other"}, "`gateway` cannot change while the daemon runs; restart it"),
        ({"outbox": {"directory": "elsewhere"}}, "`outbox` cannot change"),
        ({"http": {"port": 9464}}, "`http` cannot change while the daemon runs; restart it"),
        ({"limits": {"max_queued_events": 100}}, "`limits.max_queued_events` cannot change"),
        ({"devices": {"left": {"hold_s": {"swimming": 1.0}}}}, "the model knows no swimming"),
        ({"no_data_after_s": "soon"}, "no_data_after_s: `soon` is not a number"),
        ({"model": str(tmp_path / "missing.onnx")}, "cannot be read"),
        ({"model": str(tmp_path / "cut.onnx")}, "copy"),
        ({"model": str(tmp_path / "golden.onnx")}, "golden window"),
        ({"model": {"bundle": str(model), "sha256": "0" * 64}}, "not the pinned"),
        ({"bluetooth": [{"device": "chest", "profile": "nonesuch"}]}, "profile nonesuch is not known"),
        ({"replay": [{"recording": "./missing.vskdrec"}]}, "missing.vskdrec"),
    ]
    config = configure()
    with ServiceManager(tmp_path / "notify") as manager:
        async with (
            Observer(mosquitto.port, "vskd/#") as observer,
            DaemonProcess(config, environ=manager.environ) as daemon,
        ):
            await manager.until("READY")
            await daemon.event("connected")
            for number, (keys, words) in enumerate(refusals):
                configure(**keys)
                await observer.publish("vskd/test/cmd/reload", b'{"id": "%d"}' % number)
                answer = json.loads((await observer.next("vskd/test/response/reload")).payload)
                assert (answer["ok"], answer["id"]) == (False, str(number))
                assert words in answer["error"]
                assert words in (await daemon.logged(refused, count=number + 1))["reason"]
                await manager.until("RELOADING")
                assert "reload refused" in (await manager.until("READY"))["STATUS"]
                # Two commands a second are taken.
                await asyncio.sleep(0.5)
            for payload in day(seconds=12):
                await observer.publish("imu/left/samples", payload)
            events = await events_until(observer, started("moving"))
            assert events[-1]["bundle"]["name"] == "tiny"
            configure()
            daemon.process.send_signal(signal.SIGHUP)
            await manager.until("RELOADING")
            assert "refused" not in (await manager.until("READY"))["STATUS"]
            assert await daemon.stop() == 0


def swap_probabilities(golden):
    shape = golden["probabilities"]["shape"]
    values = np.frombuffer(base64.b64decode(golden["probabilities"]["float32"]), "<f4").reshape(shape)
    golden["probabilities"]["float32"] = base64.b64encode(values[::-1].tobytes()).decode()


async def options(port: int, entry: str) -> list[str]:
    """What Home Assistant expects of the activity."""
    wanted: list[str] = (await kept(port, entry))["components"]["activity"]["options"]
    return wanted


async def test_who_is_opted_out_vanishes_at_once_and_comes_back_when_wanted(configure, mosquitto):
    announce = {"home_assistant": {"enabled": True}}
    config = configure(**announce)
    entry = "homeassistant/device/vskd_test/left/config"
    async with (
        Observer(mosquitto.port, "vskd/#", "homeassistant/#") as observer,
        DaemonProcess(config) as daemon,
    ):
        await daemon.event("connected")
        stream = day(seconds=60)
        for payload in stream[:30]:
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, started("moving"))
        assert "moving" in await options(mosquitto.port, entry)
        configure(**announce, devices={"left": {"silence": ["moving"]}})
        daemon.process.send_signal(signal.SIGHUP)
        events = await events_until(observer, lambda event: event["event_type"] == "end")
        assert events[-1]["reason"] == "silenced"
        while "moving" in await options(mosquitto.port, entry):
            await observer.next(entry)
        configure(**announce, devices={"left": {"silence": True}})
        daemon.process.send_signal(signal.SIGHUP)
        while (await observer.next(entry)).payload:
            pass
        await daemon.logged(lambda line: line["event"] == "reloaded", count=2)
        for payload in stream[30:60]:
            await observer.publish("imu/left/samples", payload)
        assert (await kept(mosquitto.port, "vskd/test/left/state"))["label"] == "silenced"
        assert await retained(mosquitto.port, "vskd/test/left/status") is None
        assert await retained(mosquitto.port, entry) is None
        configure(**announce)
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.logged(lambda line: line["event"] == "reloaded", count=3)
        for payload in stream[60:]:
            await observer.publish("imu/left/samples", payload)
        while not (await observer.next(entry)).payload:
            pass


async def test_the_log_level_preferences_and_limits_change_without_a_restart(configure, mosquitto):
    config = configure(limits={"max_devices": 1})
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for device in ("left", "right"):
            for payload in day(seconds=8):
                await observer.publish(f"imu/{device}/samples", payload)
        await daemon.dropped("device_limit")
        configure(limits={"max_devices": 2}, log={"level": "debug"}, devices={"left": {"wrist": "left"}})
        daemon.process.send_signal(signal.SIGHUP)
        line = await daemon.event("reloaded")
        assert (line["changed"], line["new_model"]) == (["devices", "limits.max_devices", "log"], False)
        for device in ("left", "right"):
            for payload in day(start=8, seconds=16):
                await observer.publish(f"imu/{device}/samples", payload)
        heard: set[str] = set()

        def both(event):
            heard.add(event["device"])
            return heard == {"left", "right"}

        await events_until(observer, both)
        await daemon.logged(lambda line: line["level"] == "debug")


async def test_a_terminal_that_is_closed_ends_the_daemon_that_was_started_on_it(configure):
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(command("vskd-streamd"), "--config", str(configure())),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        seen = b""
        while b"connected" not in seen:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        # Whoever asks for a reload from elsewhere gets it, terminal or not.
        process.send_signal(signal.SIGHUP)
        while b"reloaded" not in seen:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        os.close(ours)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
