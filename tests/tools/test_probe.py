from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.brokers import Mosquitto, Observer, embedded_broker, free_port
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.tools import probe
from vskd_stream.tools.diagnosis.broker import BrokerFacts

FILTER = "imu/+/samples"


def endpoint(port: int, **options: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port, client_id="vskd-home", **options)


async def asked(port: int, *, listen_s: float = 0.3, **options: Any) -> BrokerFacts:
    return await probe.ask(
        endpoint(port, **options),
        gateway="home",
        filters=[FILTER],
        refusal_of=lambda _, payload: "" if payload == b"good" else "bad",
        listen_s=listen_s,
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_an_open_broker_lets_us_do_everything(protocol):
    async with Mosquitto() as broker:
        facts = await asked(broker.port, protocol=protocol)
    assert (facts.error, facts.refused, facts.publish_refusal) == ("", {}, "")
    assert facts.echoed
    assert facts.status is None


async def test_what_is_published_says_what_it_is_and_stays_nowhere():
    async with Mosquitto() as broker, Observer(broker.port, "#") as observer:
        await asked(broker.port)
        message = await observer.next()
        assert message.topic == "vskd/home/doctor"
        assert json.loads(message.payload)["schema"] == "vskd.doctor/1"
        await observer.publish("last", b"")
        assert [each.topic for each in await observer.until("last", b"")] == ["last"]
        async with Observer(broker.port, "vskd/#", "late") as late:
            await observer.publish("late", b"")
            assert (await late.next()).topic == "late"


async def test_an_acl_that_forbids_to_publish_shows_in_mqtt_5():
    acl = "topic read #\n"
    async with Mosquitto(acl=acl) as broker:
        facts = await asked(broker.port)
    assert "Not authorized" in facts.publish_refusal


async def test_an_acl_that_forbids_to_publish_shows_in_mqtt_311_by_what_does_not_return():
    async with Mosquitto(acl="topic read #\n") as broker:
        facts = await asked(broker.port, protocol="3.1.1")
    assert (facts.publish_refusal, facts.echoed) == ("", False)


@pytest.mark.parametrize("password", ["wrong-secret", None])
async def test_credentials_that_are_not_accepted_are_told_and_not_shown(password):
    async with Mosquitto(passwords={"vskd": "right-secret"}) as broker:
        facts = await asked(broker.port, username="vskd", password=password)
        good = await asked(broker.port, username="vskd", password="right-secret")
    assert "Not authorized" in facts.error
    assert "secret" not in repr(facts)
    assert good.error == ""


async def test_no_broker_is_a_fact_and_no_exception():
    assert "refused" in (await asked(free_port())).error


async def test_samples_that_come_meanwhile_are_counted_and_what_is_kept_is_read():
    status = json.dumps({"schema": "vskd.status/1", "state": "online"}).encode()
    async with Mosquitto() as broker, Observer(broker.port, "vskd/home/doctor") as observer:
        await observer.publish("vskd/home/status", status, retain=True)
        await observer.publish("imu/left/samples", b"old", retain=True)
        asking = asyncio.create_task(asked(broker.port, listen_s=5.0))
        await observer.next("vskd/home/doctor")
        await observer.publish("imu/left/samples", b"good")
        await observer.publish("imu/left/samples", b"evil")
        facts = await asking
    assert facts.heard >= 1
    assert facts.heard - sum(facts.unread.values()) == 1
    assert facts.status == "online"


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[]", b'{"state": 7}', b'{"state": "secret"}', b"[" * 9999]
)
async def test_a_status_that_is_none_is_not_repeated(payload):
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        await observer.publish("vskd/home/status", payload, retain=True)
        facts = await asked(broker.port, listen_s=0.1)
    assert facts.status in (None, "not to be understood")


async def test_the_embedded_broker_answers_too():
    async with embedded_broker() as broker:
        facts = await asked(int(broker.listeners[0].rpartition(":")[2]), protocol="3.1.1")
    assert (facts.error, facts.echoed) == ("", True)


async def test_a_daemon_is_not_disturbed():
    async with Mosquitto() as broker, Observer(broker.port, session="vskd-home") as daemon:
        await asked(broker.port)
        await daemon.publish("still/here", b"")
