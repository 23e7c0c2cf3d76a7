from __future__ import annotations

import asyncio

import pytest

from tests.brokers import Mosquitto, Observer, embedded_broker, free_port
from vskd_stream.broker import retained
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.errors import BrokerError
from vskd_stream.publication import Publication

PROTOCOLS = ["5", "3.1.1"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(retained, "_QUIET_S", 0.3)


def at(port: int, **options) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port, client_id="vskd-home", **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_kept_is_read_and_what_is_live_is_not(protocol):
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        for number in range(50):
            await observer.publish(f"a/{number}/config", b"x", retain=True)
        await observer.publish("a/live/config", b"x")
        await observer.publish("b/0/config", b"y", retain=True)
        kept = await retained.read(at(broker.port, protocol=protocol), ["a/+/config", "b/#"])
        assert kept == {f"a/{number}/config": b"x" for number in range(50)} | {"b/0/config": b"y"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_kept_can_be_taken_away(protocol):
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        await observer.publish("a/config", b"x", retain=True)
        endpoint = at(broker.port, protocol=protocol)
        assert await retained.publish(endpoint, [Publication("a/config", b"", retain=True)]) == {}
        assert await retained.read(endpoint, ["#"]) == {}


async def test_the_embedded_broker_keeps_things_as_well():
    async with embedded_broker() as broker:
        port = int(broker.listeners[0].rpartition(":")[2])
        async with Observer(port) as observer:
            await observer.publish("a/config", b"x", retain=True)
        assert await retained.read(at(port, protocol="3.1.1"), ["a/+"]) == {"a/config": b"x"}


async def test_the_daemons_own_connection_is_left_alone():
    async with Mosquitto() as broker, Observer(broker.port, session="vskd-home") as daemon:
        assert await retained.read(at(broker.port), ["#"]) == {}
        await daemon.publish("still/there", b"")


async def test_however_much_is_kept_nobody_listens_for_ever(monkeypatch):
    monkeypatch.setattr(retained, "_AT_MOST_S", 0.0)
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        await observer.publish("a", b"x", retain=True)
        assert await retained.read(at(broker.port), ["#"]) == {}


async def test_a_flood_of_kept_messages_is_taken_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(retained, "MAX_BYTES", 1000)
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        for number in range(20):
            await observer.publish(f"a/{number}", b"x" * 96, retain=True)
        assert len(await retained.read(at(broker.port), ["a/+"])) <= 10


async def test_what_the_broker_refuses_is_told():
    acl = "topic readwrite allowed/#\n"
    async with Mosquitto(acl=acl) as broker:
        publications = [Publication(topic, b"", retain=True) for topic in ("allowed/a", "other/b", "a/+")]
        refused = await retained.publish(at(broker.port), publications)
        assert refused.keys() == {"other/b", "a/+"}
        assert refused["other/b"] == "Not authorized"


async def test_without_a_broker_there_is_one_sentence():
    port = free_port()
    with pytest.raises(BrokerError, match=str(port)):
        await retained.read(at(port), ["#"])
    with pytest.raises(BrokerError, match=str(port)):
        await retained.publish(at(port), [])


async def test_a_connection_that_ends_while_reading_is_no_answer(monkeypatch):
    monkeypatch.setattr(retained, "_QUIET_S", 5.0)
    async with Mosquitto() as broker, Observer(broker.port) as observer:
        await observer.publish("a", b"x", retain=True)
        reading = asyncio.create_task(retained.read(at(broker.port), ["#"]))
        await asyncio.sleep(0.3)
        await broker.kill()
        with pytest.raises(BrokerError):
            await reading
