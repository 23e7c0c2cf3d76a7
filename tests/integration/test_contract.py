"""What others build on: properties, availability, health and commands, on a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
from dataclasses import dataclass
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.brokers import Observer
from tests.heard import events_until, kept, started
from tests.processes import DaemonProcess, write_config
from tests.wearer import batch, day
from vskd_stream.payloads import SchemaName, schema

PROTOCOLS = ("3.1.1", "5")


def configured(tmp_path, model, port: int, *, protocol: str = "5", **keys: Any):
    broker = {"host": "127.0.0.1", "port": port, "protocol": protocol}
    return write_config(tmp_path / "c.yaml", broker=broker, model=str(model), **keys)


def checked(name: SchemaName, message: paho.MQTTMessage) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(message.payload)
    jsonschema.validate(value, schema(name))
    return value


async def status(observer: Observer, state: str) -> dict[str, Any]:
    while True:
        told = json.loads((await observer.next("vskd/test/left/status")).payload)
        if told["state"] == state:
            return dict(told)


@dataclass
class Asker:
    """Someone who sends commands and waits for what comes of them."""

    observer: Observer
    protocol: str

    async def ask(
        self, name: str, payload: bytes = b"", *, retain: bool = False, properties: Properties | None = None
    ) -> None:
        topic = f"vskd/test/cmd/{name}"
        info = self.observer._client.publish(topic, payload, 1, retain, properties)
        await asyncio.to_thread(info.wait_for_publish, 10.0)

    async def answer(self, name: str, payload: bytes = b"") -> dict[str, Any]:
        await self.ask(name, payload)
        while True:
            message = await self.observer.next()
            if message.topic.startswith("vskd/test/response/"):
                return checked("response", message)


def properties_of(message: paho.MQTTMessage) -> Any:
    """What MQTT 5 says beside topic and payload."""
    return message.properties


def reply_to(topic: str, correlation: bytes) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = topic
    properties.CorrelationData = correlation
    return properties


async def test_mqtt_5_tells_schema_bundle_content_and_when_an_event_is_no_news(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, publish={"scores": True, "event_expiry_s": 600})
    async with Observer(mosquitto.port, "vskd/#", protocol="5") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        seen: dict[str, paho.MQTTMessage] = {}
        while {"status", "event", "state", "scores"} - seen.keys():
            message = await observer.next()
            seen[message.topic.rpartition("/")[2]] = message
        for message in seen.values():
            said = json.loads(message.payload)
            properties = dict(properties_of(message).UserProperty)
            assert properties["schema"] == said["schema"]
            assert len(properties["bundle"]) == 64
            assert properties_of(message).ContentType == "application/json"
            expires = getattr(properties_of(message), "MessageExpiryInterval", None)
            assert expires == (600 if message.topic.endswith("/event") else None)
        # The will carries them too: the broker publishes it for us.
        await daemon.stop(signal.SIGKILL)
        will = await observer.next("vskd/test/status")
        assert json.loads(will.payload)["state"] == "offline"
        assert dict(properties_of(will).UserProperty)["schema"] == "vskd.status/1"


async def test_mqtt_3_tells_the_same_without_properties(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, protocol="3.1.1")
    async with Observer(mosquitto.port, "vskd/#", protocol="5") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        while True:
            message = await observer.next()
            assert properties_of(message).isEmpty()
            if message.topic.endswith("/event"):
                break


async def test_an_event_that_is_no_news_any_more_is_not_delivered(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, publish={"event_expiry_s": 1})
    async with DaemonProcess(config) as daemon:
        await daemon.event("connected")
        async with Observer(mosquitto.port, "vskd/#", session="sleeper"):
            pass
        async with Observer(mosquitto.port, "vskd/#") as awake:
            for payload in day(seconds=6):
                await awake.publish("imu/left/samples", payload)
            await events_until(awake, started("still"))
        # mosquitto counts whole seconds, and nothing tells of an expiry.
        await asyncio.sleep(3.0)
        async with Observer(mosquitto.port, "vskd/test/end", session="sleeper") as observer:
            await observer.publish("vskd/test/end", b"")
            late = await observer.until("vskd/test/end", b"")
        words = {message.topic.rpartition("/")[2] for message in late}
        assert "state" in words
        assert "event" not in words


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_device_is_online_silent_and_offline_with_its_gateway(mosquitto, model, tmp_path, protocol):
    config = configured(tmp_path, model, mosquitto.port, protocol=protocol, no_data_after_s=1.0)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        online = await status(observer, "online")
        jsonschema.validate(online, schema("device_status"))
        silent = await status(observer, "silent")
        assert silent["heard_utc"] >= online["heard_utc"]
        health = checked("health", await observer.next("vskd/test/left/health"))
        assert (health["quality"], health["reasons"]) == ("unusable", ["no_data", "gaps"])
        assert (await kept(mosquitto.port, "vskd/test/left/status"))["state"] == "silent"
        assert await daemon.stop() == 0
        assert (await kept(mosquitto.port, "vskd/test/left/status"))["state"] == "offline"
        assert (await kept(mosquitto.port, "vskd/test/status"))["state"] == "stopped"


async def test_a_broker_that_forgot_is_told_of_every_device_again(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, no_data_after_s=600.0)
    async with DaemonProcess(config) as daemon:
        async with Observer(mosquitto.port, "vskd/#") as observer:
            await daemon.event("connected")
            for payload in day(seconds=2):
                await observer.publish("imu/left/samples", payload)
            await status(observer, "online")
        await mosquitto.kill()
        await mosquitto.start()
        async with Observer(mosquitto.port, "vskd/#") as observer:
            await status(observer, "online")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_commands_are_done_and_answered(mosquitto, model, tmp_path, protocol):
    config = configured(tmp_path, model, mosquitto.port, protocol=protocol)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        asker = Asker(observer, protocol)
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, started("still"))
        listed = await asker.answer("devices", b'{"id": "a1"}')
        assert (listed["id"], listed["ok"]) == ("a1", True)
        assert [(each["device"], each["state"]) for each in listed["result"]["devices"]] == [
            ("left", "online")
        ]

        await asker.ask("pause", b'{"device": "left"}')
        ended = (await events_until(observer, lambda event: event["event_type"] == "end"))[-1]
        assert ended["reason"] == "paused"
        await observer.publish("imu/left/samples", batch(12, 0.0))
        await daemon.dropped("paused")
        while not json.loads((await observer.next("vskd/test/left/status")).payload)["paused"]:
            pass
        state = await kept(mosquitto.port, "vskd/test/left/state")
        assert (state["label"], state["reason"]) == ("no_data", "paused")

        assert (await asker.answer("resume", b'{"device": "left"}'))["ok"]
        for payload in day(start=13, seconds=6):
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, lambda event: event["event_type"] == "start")

        assert (await asker.answer("log_level", b'{"level": "debug"}'))["ok"]
        assert (await asker.answer("states"))["ok"]
        while (await observer.next()).topic != "vskd/test/left/state":
            pass


HOSTILE = [
    ("devices", b"{", "not what devices takes"),
    ("pause", b'{"device": "../x"}', "matching regex"),
    ("pause", b"x" * 4097, "at most 4096"),
    ("reboot", b"{}", "there is no command"),
    ("broker url", b'{"host": "evil"}', "there is no command"),
    ("d\u00e9vices", b"{}", "there is no command"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_no_command_is_answered_in_words(mosquitto, model, tmp_path, protocol):
    config = configured(tmp_path, model, mosquitto.port, protocol=protocol)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for name, payload, words in HOSTILE:
            told = await Asker(observer, protocol).answer(name, payload)
            assert not told["ok"]
            assert words in told["error"]
        await daemon.dropped("bad_command")


async def test_an_answer_goes_to_the_response_topic_with_its_correlation_data(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port)
    async with (
        Observer(mosquitto.port, "asker/#", "vskd/test/response/#", protocol="5") as observer,
        DaemonProcess(config) as daemon,
    ):
        await daemon.event("connected")
        asker = Asker(observer, "5")
        await asker.ask("devices", properties=reply_to("asker/answers", b"\x00\x07"))
        message = await observer.next()
        assert message.topic == "asker/answers"
        assert properties_of(message).CorrelationData == b"\x00\x07"
        assert checked("response", message)["result"] == {"devices": []}
        # Our rights are not the asker's: nobody is answered on another gateway's or Home Assistant's topics.
        for hostile in ("vskd/other/cmd/pause", "homeassistant/device/x/config", "vskd/test/left/state"):
            await asker.ask("devices", properties=reply_to(hostile, b"1"))
            message = await observer.next()
            assert message.topic == "vskd/test/response/devices"
            assert "no answer can go to" in checked("response", message)["error"]


async def test_a_command_that_is_to_be_retained_is_ignored_and_counted(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port)
    async with Observer(mosquitto.port, "vskd/test/response/#") as observer:
        asker = Asker(observer, "5")
        await asker.ask("states", b'{"id": "old"}', retain=True)
        async with DaemonProcess(config) as daemon:
            await daemon.event("connected")
            await daemon.dropped("retained")
            # Neither is one that arrives live, where the broker tells (MQTT 5).
            await asker.ask("devices", b'{"id": "new"}', retain=True)
            told = await asker.answer("devices", b'{"id": "plain"}')
            assert told["id"] == "plain"


async def test_a_flood_of_commands_is_cut_off_and_samples_go_on(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        observer.publish_many("vskd/test/cmd/devices", b"{}", count=500)
        await daemon.dropped("command_limit")
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        answers = 0
        while True:
            message = await observer.next()
            answers += message.topic.startswith("vskd/test/response/")
            if message.topic.endswith("/event"):
                break
        assert answers <= 30


async def test_a_device_called_cmd_is_a_device_like_any_other(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, protocol="3.1.1")
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        for payload in day(seconds=6):
            await observer.publish("imu/cmd/samples", payload)
        (event,) = await events_until(observer, started("still"))
        assert event["device"] == "cmd"
        told = await Asker(observer, "3.1.1").answer("pause", b'{"device": "cmd"}')
        assert told["ok"]
        assert not [line for line in daemon.log if line.get("reason") in {"bad_command", "command_limit"}]


async def test_commands_can_be_switched_off(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port, commands=False)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        await Asker(observer, "5").ask("devices")
        for payload in day(seconds=6):
            await observer.publish("imu/left/samples", payload)
        while not (message := await observer.next()).topic.endswith("/event"):
            assert "/response/" not in message.topic


async def test_a_subscriber_that_never_acknowledges_does_not_hold_up_the_others(mosquitto, model, tmp_path):
    config = configured(tmp_path, model, mosquitto.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", mosquitto.port)
    # CONNECT and SUBSCRIBE (QoS 1) of MQTT 3.1.1 by hand; no PUBACK ever follows.
    writer.write(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04mute")
    writer.write(b"\x82\x0b\x00\x01\x00\x06vskd/#\x01")
    await writer.drain()
    assert (await reader.readexactly(4))[:2] == b"\x20\x02"
    assert struct.unpack("!BB", (await reader.readexactly(5))[:2]) == (0x90, 3)
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        # More messages than mosquitto has in flight for one client (20), and all of them at once.
        for payload in day(seconds=120):
            await observer.publish("imu/left/samples", payload)
        ends = 0
        while ends < 10:
            message = await observer.next()
            ends += message.topic.endswith("/event") and json.loads(message.payload)["event_type"] == "end"
        assert (await Asker(observer, "5").answer("devices"))["ok"]
        assert await daemon.stop() == 0
        assert (await kept(mosquitto.port, "vskd/test/status"))["state"] == "stopped"
    writer.close()
