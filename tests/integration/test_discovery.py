"""The daemon announces itself and its devices to Home Assistant, on a real broker; nobody listens but us."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.brokers import Mosquitto, Observer, retained
from tests.processes import DaemonProcess, write_config
from tests.wearer import day

RULES = Draft202012Validator(
    json.loads((Path(__file__).parents[1] / "reference" / "home_assistant_discovery.json").read_text())
)
GATEWAY = "homeassistant/device/vskd_test/config"
LEFT = "homeassistant/device/vskd_test/left/config"


@pytest.fixture
def config(mosquitto, model, tmp_path):
    def written(**keys: Any) -> Path:
        defaults = {
            "broker": {"host": "127.0.0.1", "port": mosquitto.port},
            "model": str(model),
            "home_assistant": {"enabled": True, "moving": ["moving"]},
            "no_data_after_s": 3600,
        }
        return write_config(tmp_path / "c.yaml", **(defaults | keys))

    return written


async def entry(observer: Observer, topic: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((await observer.next(topic)).payload)
    RULES.validate(value)
    return value


async def test_gateway_and_device_are_announced_and_again_when_home_assistant_starts(mosquitto, config):
    async with Observer(mosquitto.port, "homeassistant/#") as observer, DaemonProcess(config()) as daemon:
        await entry(observer, GATEWAY)
        for payload in day(seconds=4):
            await observer.publish("imu/left/samples", payload)
        left = await entry(observer, LEFT)
        assert left["components"]["moving"]["device_class"] == "moving"
        await observer.publish("homeassistant/status", b"online")
        for topic in (GATEWAY, LEFT):
            await entry(observer, topic)
        assert await daemon.stop() == 0
        # What Home Assistant made of the entries stays, unavailable.
        assert await retained(mosquitto.port, LEFT) is not None


async def test_nothing_is_published_outside_our_topics_unless_asked_for(mosquitto, config):
    path = config(home_assistant={"enabled": False})
    async with Observer(mosquitto.port, "#") as observer, DaemonProcess(path) as daemon:
        await daemon.event("connected")
        for payload in day(seconds=8):
            await observer.publish("imu/left/samples", payload)
        await daemon.event("still start")
        await daemon.stop()
        topics = set()
        while not observer.messages.empty():
            topics.add((await observer.next()).topic.split("/")[0])
        assert topics <= {"vskd", "imu"}


async def test_a_label_that_the_model_does_not_have_is_told_at_the_start(mosquitto, config):
    async with DaemonProcess(config(home_assistant={"enabled": True, "moving": ["flying"]})) as daemon:
        assert await daemon.ended() == 65
        assert "home_assistant.moving names flying; the model's labels are still, moving" in daemon.raw[-1]


ACL = """
user admin
topic readwrite #
user vskd
topic read imu/+/samples
topic readwrite vskd/test/#
topic readwrite homeassistant/device/vskd_test/#
topic read homeassistant/status
"""
"""As the documentation shows it."""


async def test_four_lines_of_an_acl_are_enough_for_all_of_it(model, tmp_path):
    stale = "homeassistant/device/vskd_test/sold/config"
    others = ["homeassistant/device/vskd_other/sold/config", "homeassistant/sensor/vskd_test/sold/config"]
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o600)
    async with Mosquitto(acl=ACL, passwords={"admin": "admin", "vskd": "secret"}) as mosquitto:
        broker = {
            "host": "127.0.0.1",
            "port": mosquitto.port,
            "username": "vskd",
            "password_file": "password",
        }
        config = write_config(
            tmp_path / "c.yaml", broker=broker, model=str(model), home_assistant={"enabled": True}
        )
        async with Observer(
            mosquitto.port, "homeassistant/#", username="admin", password="admin"
        ) as observer:
            for topic in (stale, *others):
                await observer.publish(topic, b"{}", retain=True)
            async with DaemonProcess(config) as daemon:
                await entry(observer, GATEWAY)
                for payload in day(seconds=8):
                    await observer.publish("imu/left/samples", payload)
                await entry(observer, LEFT)
                await observer.until(stale, b"")
                await observer.publish("homeassistant/status", b"online")
                await entry(observer, GATEWAY)
                assert await daemon.stop() == 0
                assert not any(key.startswith("dropped_refused") for key in daemon.log[-1])
                assert not any(line["event"] == "subscription refused" for line in daemon.log)
        for topic in others:
            assert await retained(mosquitto.port, topic, username="admin", password="admin") == b"{}"


async def test_what_a_killed_daemon_has_announced_outlives_a_restart_on_a_broker_that_keeps_it(
    model, tmp_path
):
    async with Mosquitto(persistence=True) as broker, Observer(broker.port, "homeassistant/#") as observer:
        config = write_config(
            tmp_path / "c.yaml",
            broker={"host": "127.0.0.1", "port": broker.port},
            model=str(model),
            home_assistant={"enabled": True},
            log={"level": "debug"},
        )
        async with DaemonProcess(config) as daemon:
            await daemon.event("connected")
            for payload in day(seconds=8):
                await observer.publish("imu/left/samples", payload)
            await entry(observer, LEFT)
        async with DaemonProcess(config) as daemon:
            # The watch is silent, its entry is looked at, and stays: it was announced, if nothing else.
            await daemon.event("looked for stale home assistant entries")
            assert await retained(broker.port, LEFT) is not None


async def test_two_hundred_devices_are_back_within_five_seconds_and_without_a_burst(mosquitto, config):
    devices = [f"watch-{number}" for number in range(200)]
    path = config(limits={"max_devices": 200}, log={"level": "warning"})
    async with DaemonProcess(path) as daemon:
        async with Observer(mosquitto.port, "vskd/test/status") as observer:
            await observer.next()
        async with Observer(mosquitto.port, "vskd/test/+/state") as observer:
            for payload in day(seconds=5):
                for device in devices:
                    await observer.publish(f"imu/{device}/samples", payload)
            told: set[str] = set()
            while len(told) < 200:
                told.add((await observer.next()).topic)
        await mosquitto.kill()
        await mosquitto.start()
        began_s = time.monotonic()
        wanted = {GATEWAY, "vskd/test/status"}
        wanted |= {f"homeassistant/device/vskd_test/{device}/config" for device in devices}
        wanted |= {f"vskd/test/{device}/state" for device in devices}
        times: list[float] = []
        async with Observer(mosquitto.port, "vskd/#", "homeassistant/#") as observer:
            while wanted:
                message = await observer.next()
                wanted.discard(message.topic)
                times.append(message.timestamp)
        took_s = time.monotonic() - began_s
        most = max(sum(start <= each < start + 1.0 for each in times) for start in times)
        print(f"\n402 messages after {took_s:.2f} s, at most {most} in a second")
        assert took_s < 5.0
        assert most <= 500
        assert daemon.process.returncode is None
