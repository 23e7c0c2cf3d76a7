from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal, Self

import paho.mqtt.client as paho
import pytest
from structlog.testing import capture_logs

from tests.brokers import Mosquitto, Observer, Proxy, certificates, embedded_broker, free_port, retained
from vskd_stream.backoff import Backoff
from vskd_stream.broker._wire import Incoming
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.publication import Publication
from vskd_stream.tally import Tally

STATUS = "vskd/gw/status"
ONLINE = Publication(STATUS, b"online", retain=True)
OFFLINE = Publication(STATUS, b"offline", retain=True)
STOPPED = Publication(STATUS, b"stopped", retain=True)
SAMPLES = "imu/watch/samples"
EVENT = "vskd/gw/watch/event"
PROTOCOLS: list[Literal["5", "3.1.1"]] = ["5", "3.1.1"]


def event(number: int) -> Publication:
    return Publication(EVENT, str(number).encode())


def at(port: int, **options: Any) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port, client_id="vskd-gw", **options)


def insist() -> Backoff:
    return Backoff(base_s=0.02, cap_s=0.1)


class Gateway:
    """A connection that runs, and what came over it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        subscriptions: Sequence[str] = ("imu/+/samples",),
        birth: Callable[[], Sequence[Publication]] = lambda: [ONLINE],
        handler: Callable[[str, bytes], None] | None = None,
        **options: Any,
    ) -> None:
        self.inbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.tally = Tally()
        self.connection = MqttConnection(
            endpoint,
            will=OFFLINE,
            subscriptions=subscriptions,
            on_message=handler or (lambda topic, payload: self.inbox.put_nowait((topic, payload))),
            birth=birth,
            tally=self.tally,
            **{"max_queued": 1000, "backoff": insist(), **options},
        )

    @property
    def drops(self) -> dict[str, int]:
        return dict(self.tally.counts)

    async def connected(self) -> None:
        async with asyncio.timeout(10):
            await self.connection.connected.wait()

    async def disconnected(self) -> None:
        await eventually(lambda: not self.connection.connected.is_set())

    async def connected_times(self, count: int) -> None:
        await eventually(lambda: self.connection.traffic.connections >= count)
        await self.connected()

    async def all_acknowledged(self) -> None:
        await eventually(lambda: self.connection.waiting == 0)

    async def receive(self) -> tuple[str, bytes]:
        async with asyncio.timeout(10):
            return await self.inbox.get()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.connection.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def eventually(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """For what no event announces."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


_AT_ONCE_S = 5.0
"""Far less than the waits that are not to happen (10 s and more), far more than a busy machine adds."""


@contextlib.contextmanager
def lasting_no_longer_than(limit_s: float) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < limit_s


@contextlib.asynccontextmanager
async def mosquitto_5() -> AsyncIterator[Endpoint]:
    async with Mosquitto() as broker:
        yield at(broker.port)


@contextlib.asynccontextmanager
async def mosquitto_311() -> AsyncIterator[Endpoint]:
    async with Mosquitto() as broker:
        yield at(broker.port, protocol="3.1.1")


@contextlib.asynccontextmanager
async def embedded_5() -> AsyncIterator[Endpoint]:
    async with embedded_broker(mqtt5=True) as broker:
        yield at(int(broker.listeners[1].rpartition(":")[2]))


@contextlib.asynccontextmanager
async def embedded_311() -> AsyncIterator[Endpoint]:
    async with embedded_broker() as broker:
        yield at(int(broker.listeners[0].rpartition(":")[2]), protocol="3.1.1")


every_broker = pytest.mark.parametrize("broker", [mosquitto_5, mosquitto_311, embedded_5, embedded_311])
Broker = Callable[[], contextlib.AbstractAsyncContextManager[Endpoint]]


def observing(endpoint: Endpoint, *subscriptions: str) -> Observer:
    return Observer(endpoint.port, *subscriptions, protocol=endpoint.protocol)


class TestWithEveryBroker:
    @every_broker
    async def test_the_birth_is_published_and_kept(self, broker: Broker) -> None:
        async with broker() as endpoint, Gateway(endpoint) as gateway:
            await gateway.connected()
            await gateway.all_acknowledged()
            assert await retained(endpoint.port, STATUS, protocol=endpoint.protocol) == b"online"

    @every_broker
    async def test_it_listens_elsewhere_on_the_same_connection(self, broker: Broker) -> None:
        async with broker() as endpoint, Gateway(endpoint) as gateway, observing(endpoint) as observer:
            await gateway.connected()
            will = Publication(STATUS, b"lost", retain=True)
            await gateway.connection.follow(endpoint=endpoint, will=will, subscriptions=("new/+",))
            await observer.publish("new/1", b"1")
            assert await gateway.receive() == ("new/1", b"1")
            await observer.publish(SAMPLES, b"2")
            await observer.publish("new/3", b"3")
            assert await gateway.receive() == ("new/3", b"3")
            assert gateway.connection.traffic.connections == 1

    async def test_what_it_follows_holds_on_every_later_connection(self) -> None:
        async with mosquitto_5() as endpoint, Proxy(endpoint.port) as proxy:
            async with Gateway(proxied(endpoint, proxy)) as gateway, observing(endpoint) as observer:
                await gateway.connected()
                will = Publication(STATUS, b"lost", retain=True)
                here = proxied(endpoint, proxy)
                await gateway.connection.follow(endpoint=here, will=will, subscriptions=("new/+",))
                for count in (2, 3):
                    proxy.cut()
                    await gateway.connected_times(count)
                await observer.publish("new/1", b"1")
                assert await gateway.receive() == ("new/1", b"1")
            # The broker notices in its own time that nobody is there any more.
            async with observing(endpoint, STATUS) as witness:
                await witness.until(STATUS, b"lost")

    @every_broker
    async def test_messages_pass_both_ways(self, broker: Broker) -> None:
        async with broker() as endpoint, Gateway(endpoint) as gateway, observing(endpoint, EVENT) as observer:
            await gateway.connected()
            for qos in (0, 1):
                await observer.publish(SAMPLES, b"\x00\xff", qos=qos)
                assert await gateway.receive() == (SAMPLES, b"\x00\xff")
            for sent in (Publication(EVENT, b"0", qos=0), Publication(EVENT, b"1", qos=1)):
                gateway.connection.publish(sent)
                assert (await observer.next()).payload == sent.payload
            await gateway.all_acknowledged()
            assert gateway.connection.traffic.received == 2
            assert gateway.connection.traffic.published == 3
            assert gateway.connection.traffic.acknowledged == 2

    @every_broker
    async def test_the_farewell_replaces_the_last_will(self, broker: Broker) -> None:
        async with (
            broker() as endpoint,
            observing(endpoint, STATUS) as observer,
            Gateway(endpoint) as gateway,
        ):
            await gateway.connected()
            with lasting_no_longer_than(_AT_ONCE_S):
                await gateway.connection.close(STOPPED)
                await gateway.task
            seen = await observer.until(STATUS, b"stopped")
            assert [one.payload for one in seen] == [b"online", b"stopped"]
            assert await retained(endpoint.port, STATUS, protocol=endpoint.protocol) == b"stopped"

    @every_broker
    async def test_a_connection_that_ends_without_farewell_leaves_the_last_will(self, broker: Broker) -> None:
        async with broker() as endpoint, observing(endpoint, STATUS) as observer:
            async with Gateway(endpoint) as gateway:
                await gateway.connected()
            await observer.until(STATUS, b"offline")

    @every_broker
    async def test_what_waits_leaves_before_the_farewell(self, broker: Broker) -> None:
        async with (
            broker() as endpoint,
            observing(endpoint, "vskd/#") as observer,
            Gateway(endpoint) as gateway,
        ):
            await gateway.connected()
            for number in range(200):
                gateway.connection.publish(event(number))
            await gateway.connection.close(STOPPED)
            seen = await observer.until(STATUS, b"stopped")
            assert [one.payload for one in seen if one.topic == EVENT] == [b"%d" % n for n in range(200)]
            assert gateway.drops == {}

    @every_broker
    async def test_a_retained_message_never_passes_for_a_live_one(self, broker: Broker) -> None:
        async with broker() as endpoint, observing(endpoint) as observer:
            await observer.publish(SAMPLES, b"yesterday", retain=True)
            async with Gateway(endpoint) as gateway:
                await gateway.connected()
                # Sent to a standing subscription it is live, and no broker sets the flag.
                await observer.publish(SAMPLES, b"now", retain=True)
                assert await gateway.receive() == (SAMPLES, b"now")
                assert gateway.drops == {"retained": 1}


class TestOutgoing:
    async def test_what_was_queued_while_there_was_no_broker_arrives_in_order_after_the_birth(self) -> None:
        async with Mosquitto() as broker, Observer(broker.port, "vskd/#") as observer:
            proxy = Proxy(broker.port)
            async with Gateway(at(proxy.port)) as gateway:
                for number in range(100):
                    gateway.connection.publish(event(number))
                assert gateway.connection.waiting == 100
                async with proxy:
                    seen = await observer.until(EVENT, b"99")
                    await gateway.all_acknowledged()
            assert [one.payload for one in seen] == [b"online", *(b"%d" % number for number in range(100))]

    async def test_a_broker_that_was_killed_and_comes_back_gets_everything(self) -> None:
        async with Mosquitto() as broker, Gateway(at(broker.port)) as gateway:
            await gateway.connected()
            await gateway.all_acknowledged()
            await broker.kill()
            await gateway.disconnected()
            for number in range(100):
                gateway.connection.publish(Publication(f"vskd/gw/watch{number}/state", b"", retain=True))
                gateway.connection.publish(
                    Publication(f"vskd/gw/watch{number}/state", b"walking", retain=True)
                )
            await broker.start()
            await gateway.connected()
            await gateway.all_acknowledged()
            assert await retained(broker.port, STATUS) == b"online"
            async with Observer(broker.port, "vskd/gw/+/state") as observer:
                assert {(await observer.next()).topic for _ in range(100)} == {
                    f"vskd/gw/watch{number}/state" for number in range(100)
                }
                await observer.publish(SAMPLES, b"again")
                assert await gateway.receive() == (SAMPLES, b"again")
            assert gateway.connection.traffic.connections == 2
            assert gateway.drops == {}

    async def test_nothing_is_lost_or_overtaken_however_often_the_connection_is_cut(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port, EVENT) as observer,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port), max_queued=10_000) as gateway,
        ):
            for number in range(2000):
                gateway.connection.publish(event(number))
                if number % 20 == 0:
                    await asyncio.sleep(0)
                if number % 250 == 125:
                    await gateway.connected_times(number // 250 + 1)
                    proxy.cut()
            seen = [int(one.payload) for one in await observer.until(EVENT, b"1999")]
            await gateway.all_acknowledged()
            assert list(dict.fromkeys(seen)) == list(range(2000))
            assert gateway.connection.traffic.connections == 9
            assert gateway.drops == {}

    async def test_what_was_sent_but_not_acknowledged_is_sent_again(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port, EVENT) as observer,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port)) as gateway,
        ):
            await gateway.connected()
            await gateway.all_acknowledged()
            proxy.hold_answers()
            gateway.connection.publish(event(1))
            await observer.until(EVENT, b"1")
            assert gateway.connection.waiting == 1
            proxy.cut()
            proxy.release_answers()
            await observer.until(EVENT, b"1")
            await gateway.all_acknowledged()

    async def test_each_connection_has_its_own_birth_and_none_is_repeated(self) -> None:
        births = iter(range(100))
        async with (
            Mosquitto() as broker,
            Observer(broker.port, "vskd/#") as observer,
            Proxy(broker.port) as proxy,
            Gateway(
                at(proxy.port), birth=lambda: [Publication("vskd/gw/birth", b"%d" % next(births))]
            ) as gateway,
        ):
            for number in range(3):
                await observer.until("vskd/gw/birth", b"%d" % number)
                proxy.cut()
            await observer.until("vskd/gw/birth", b"3")
            await gateway.all_acknowledged()

    async def test_a_later_part_of_the_birth_overtakes_what_waits_and_is_not_repeated(self) -> None:
        entry = Publication("vskd/gw/entry", b"", retain=True)
        async with Mosquitto() as broker, Observer(broker.port, "vskd/gw/#") as observer:
            async with Proxy(broker.port) as proxy, Gateway(at(proxy.port)) as gateway:
                gateway.connection.greet(entry)  # To nobody.
                await gateway.connected()
                await gateway.all_acknowledged()
                proxy.hold_answers()
                for number in range(40):
                    gateway.connection.publish(event(number))
                gateway.connection.greet(entry)
                proxy.release_answers()
                seen = [one.topic for one in await observer.until(EVENT, b"39")]
                proxy.cut()
                await gateway.connected_times(2)
                await gateway.all_acknowledged()
            assert seen.count(entry.topic) == 1
            assert seen.index(entry.topic) < len(seen) - 10
            assert [one.payload for one in await observer.until(STATUS, b"online")] == [b"offline", b"online"]

    async def test_a_birth_of_qos_0_is_published_too(self) -> None:
        births = [Publication("vskd/gw/birth", b"", qos=0), ONLINE]
        async with Mosquitto() as broker, Observer(broker.port, "vskd/#") as observer:
            async with Gateway(at(broker.port), birth=lambda: births) as gateway:
                seen = await observer.until(STATUS, b"online")
                await gateway.all_acknowledged()
            assert [one.topic for one in seen] == ["vskd/gw/birth", STATUS]

    async def test_beyond_its_bound_the_queue_drops_the_oldest_and_counts(self) -> None:
        async with Mosquitto() as broker, Observer(broker.port, EVENT) as observer:
            proxy = Proxy(broker.port)
            async with Gateway(at(proxy.port), max_queued=10) as gateway:
                for number in range(25):
                    gateway.connection.publish(event(number))
                assert gateway.connection.waiting == 10
                assert gateway.drops == {"queue_full": 15}
                async with proxy:
                    seen = await observer.until(EVENT, b"24")
            assert [int(one.payload) for one in seen] == list(range(15, 25))

    async def test_qos_0_is_dropped_and_counted_while_there_is_no_broker(self) -> None:
        async with Gateway(at(free_port())) as gateway:
            gateway.connection.publish(Publication("vskd/gw/watch/scores", b"", qos=0))
            assert gateway.connection.waiting == 0
            assert gateway.drops == {"offline": 1}

    async def test_qos_0_is_dropped_and_counted_while_the_socket_takes_no_more(self) -> None:
        async with Mosquitto() as broker, Gateway(at(broker.port)) as gateway:
            await gateway.connected()
            broker.pause()
            for _ in range(3000):
                gateway.connection.publish(Publication("vskd/gw/watch/scores", bytes(10_000), qos=0))
                await asyncio.sleep(0)
            assert gateway.drops["congested"] > 0
            assert gateway.drops["congested"] + gateway.connection.traffic.published == 3000 + len([ONLINE])

    async def test_a_broker_that_takes_few_messages_at_once_is_obeyed(self) -> None:
        async with (
            Mosquitto(extra="max_inflight_messages 3") as broker,
            Observer(broker.port, EVENT) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            for number in range(100):
                gateway.connection.publish(event(number))
            seen = await observer.until(EVENT, b"99")
            await gateway.all_acknowledged()
            assert [int(one.payload) for one in seen] == list(range(100))

    async def test_a_message_that_the_broker_forbids_is_counted_and_does_not_block_the_next(self) -> None:
        acl = f"user vskd\ntopic readwrite {STATUS}\nuser dash\ntopic readwrite #\n"
        async with (
            Mosquitto(passwords={"vskd": "secret", "dash": "other"}, acl=acl) as broker,
            Gateway(at(broker.port, username="vskd", password="secret")) as gateway,
        ):
            gateway.connection.publish(event(1))
            gateway.connection.publish(STOPPED)
            await gateway.connected()
            await gateway.all_acknowledged()
            assert gateway.drops == {"refused_by_broker": 1}
            assert await retained(broker.port, STATUS, username="dash", password="other") == b"stopped"

    @pytest.mark.parametrize("qos", [0, 1])
    @pytest.mark.parametrize(
        ("topic", "payload_bytes"),
        [("vskd/+/event", 0), (EVENT, 3000), ("v" * 70_000, 0), ("vskd/\ud800", 0)],
    )
    async def test_a_message_that_no_broker_would_take_is_counted_and_does_not_block_the_next(
        self, topic: str, payload_bytes: int, qos: Literal[0, 1]
    ) -> None:
        async with (
            Mosquitto(extra="max_packet_size 2000") as broker,
            Observer(broker.port, EVENT) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            gateway.connection.publish(Publication(topic, bytes(payload_bytes), qos=qos))
            gateway.connection.publish(event(1))
            await observer.until(EVENT, b"1")
            await gateway.all_acknowledged()
            assert gateway.drops == {"unpublishable": 1}
            assert gateway.connection.traffic.connections == 1


class TestIncoming:
    async def test_what_a_handler_raises_is_counted_and_the_connection_lives(self) -> None:
        inbox: asyncio.Queue[bytes] = asyncio.Queue()

        def handle(_topic: str, payload: bytes) -> None:
            if payload == b"bad":
                raise ValueError(payload)
            inbox.put_nowait(payload)

        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port), handler=handle) as gateway,
        ):
            await gateway.connected()
            with capture_logs() as logs:
                for payload in (b"bad", b"bad", b"good"):
                    await observer.publish(SAMPLES, payload)
                assert await inbox.get() == b"good"
            assert gateway.drops == {"handler_error": 2}
            assert gateway.connection.traffic.connections == 1
            warnings = [one for one in logs if one["log_level"] == "warning"]
            assert len(warnings) == 1
            assert SAMPLES in warnings[0]["detail"]

    async def test_messages_that_gather_in_the_socket_are_all_taken_in_order(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            for number in range(5):
                # The first wakes it, and the others come while the socket is left alone.
                for _ in range(3):
                    await observer.publish(SAMPLES, b"%d" % number, qos=0)
                await observer.publish(SAMPLES, b"asks", qos=1)
                told = [(await gateway.receive())[1] for _ in range(4)]
                assert told == [b"%d" % number] * 3 + [b"asks"]
            assert not gateway.drops

    async def test_what_is_published_while_messages_gather_is_acknowledged_to_the_last(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            # Five times what may be in flight: each acknowledgement lets another one go.
            for number in range(100):
                gateway.connection.publish(Publication("vskd/gw/watch/event", b"%d" % number))
            await asyncio.to_thread(observer.publish_many, SAMPLES, bytes(600), count=500)
            await gateway.all_acknowledged()
            assert gateway.connection.traffic.acknowledged >= 100
            assert not gateway.drops

    async def test_a_connection_that_ends_while_messages_gather_is_made_again(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            await observer.publish(SAMPLES, b"1", qos=0)
            assert await gateway.receive() == (SAMPLES, b"1")
            link = gateway.connection._link
            assert link is not None
            link.abort("test")
            await gateway.connected_times(2)
            await observer.publish(SAMPLES, b"2", qos=0)
            assert await gateway.receive() == (SAMPLES, b"2")

    async def test_a_handler_may_publish(self) -> None:
        async with Mosquitto() as broker, Observer(broker.port, "vskd/gw/echo") as observer:
            connections: list[MqttConnection] = []

            def echo(_topic: str, payload: bytes) -> None:
                connections[0].publish(Publication("vskd/gw/echo", payload, qos=0))
                connections[0].publish(Publication("vskd/gw/echo", payload, qos=1))

            async with Gateway(at(broker.port), handler=echo) as gateway:
                connections.append(gateway.connection)
                await gateway.connected()
                await observer.publish(SAMPLES, b"1")
                assert [(await observer.next()).payload for _ in range(2)] == [b"1", b"1"]

    async def test_a_topic_that_is_no_utf_8_is_counted(self) -> None:
        async with Mosquitto() as broker, Gateway(at(broker.port)) as gateway:
            await gateway.connected()
            # mosquitto would not pass it on, so paho's own dispatcher is asked.
            gateway.connection._receive(Incoming(b"imu/\xff/samples", b""))
            assert gateway.drops == {"bad_topic": 1}

    async def test_an_mqtt_5_broker_keeps_absurd_payloads_to_itself(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port), max_packet_bytes=10_000) as gateway,
        ):
            await gateway.connected()
            await observer.publish(SAMPLES, bytes(20_000))
            await observer.publish(SAMPLES, b"small")
            assert await gateway.receive() == (SAMPLES, b"small")
            assert gateway.connection.traffic.connections == 1

    @pytest.mark.parametrize("payload_bytes", [600, 200_000])
    async def test_a_flood_over_tls_arrives_whole(self, payload_bytes: int) -> None:
        async with Mosquitto(tls=certificates()) as broker:
            endpoint = at(broker.port, tls=trusting(certificates().authority))
            async with (
                Observer(broker.port, tls=certificates()) as observer,
                Gateway(endpoint) as gateway,
            ):
                await gateway.connected()
                observer.publish_many(SAMPLES, bytes(payload_bytes), count=300, qos=1)
                for _ in range(300):
                    assert len((await gateway.receive())[1]) == payload_bytes
                assert gateway.connection.traffic.connections == 1

    async def test_a_flood_leaves_the_rest_of_the_loop_its_turn(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as observer,
            Gateway(at(broker.port)) as gateway,
        ):
            await gateway.connected()
            flood = asyncio.create_task(
                asyncio.to_thread(observer.publish_many, SAMPLES, bytes(600), count=5000)
            )
            most = 0
            while (before := gateway.connection.traffic.received) < 5000:
                await asyncio.sleep(0)
                most = max(most, gateway.connection.traffic.received - before)
            await flood
            # A read that was cut off at its bound, and the one that goes on with what is left.
            assert most <= 64


class TestTrouble:
    """Whatever is wrong is told once and in words, never as a traceback, and never the end."""

    async def test_a_broker_that_is_not_there_yet_is_awaited(self) -> None:
        broker = Mosquitto()
        with capture_logs() as logs:
            async with Gateway(at(broker.port)) as gateway:
                await eventually(lambda: bool(logs))
                async with broker:
                    await gateway.connected()
        assert [(one["event"], one["log_level"]) for one in logs][:2] == [
            ("no connection", "warning"),
            ("connected", "info"),
        ]
        assert logs[0]["broker"] == f"mqtt://127.0.0.1:{broker.port}"
        assert logs[0]["reason"] == "connection refused; is it running, and is this its port?"

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_a_wrong_password_is_told_once_and_tried_until_it_is_right(
        self, protocol: Literal["5", "3.1.1"]
    ) -> None:
        async with Mosquitto(passwords={"vskd": "other"}) as broker:
            endpoint = at(broker.port, protocol=protocol, username="vskd", password="secret")
            with capture_logs() as logs:
                async with Proxy(broker.port) as proxy, Gateway(proxied(endpoint, proxy)) as gateway:
                    await eventually(lambda: proxy.accepted > 3)
                    await broker.set_passwords({"vskd": "secret"})
                    await gateway.connected()
        assert [one["event"] for one in logs] == ["no connection", "connected"]
        assert logs[0]["reason"] == "refused: Not authorized (wrong username or password, or none given?)"
        assert "secret" not in str(logs)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_a_missing_password_is_told_once(self, protocol: Literal["5", "3.1.1"]) -> None:
        async with Mosquitto(passwords={"vskd": "other"}) as broker:
            reason = await trouble_with(at(broker.port, protocol=protocol), broker)
        assert reason == "refused: Not authorized (wrong username or password, or none given?)"

    async def test_an_unknown_authority_is_told_once(self) -> None:
        async with Mosquitto(tls=certificates()) as broker:
            reason = await trouble_with(at(broker.port, tls=trusting(certificates().stranger)), broker)
        assert reason.startswith("its certificate does not hold: ")
        assert reason.endswith("(is its authority in tls.ca_file?)")

    async def test_a_certificate_of_another_host_is_told_once(self) -> None:
        async with Mosquitto(tls=certificates(), certificate="elsewhere") as broker:
            endpoint = at(broker.port, tls=trusting(certificates().authority))
            reason = await trouble_with(dataclasses.replace(endpoint, host="localhost"), broker)
        assert reason.startswith("its certificate does not hold: Hostname mismatch")
        assert "localhost" in reason

    async def test_a_missing_client_certificate_is_told_once(self) -> None:
        async with Mosquitto(tls=certificates(), require_certificate=True) as broker:
            reason = await trouble_with(at(broker.port, tls=trusting(certificates().authority)), broker)
        assert reason == "TLS failed: tlsv13 alert certificate required"

    async def test_a_client_certificate_lets_us_in(self) -> None:
        files = certificates()
        async with Mosquitto(tls=files, require_certificate=True) as broker:
            context = trusting(files.authority)
            context.load_cert_chain(files.cert("client"), files.key("client"))
            async with Gateway(at(broker.port, tls=context)) as gateway:
                await gateway.connected()

    async def test_a_port_without_tls_is_told_once(self) -> None:
        async with Mosquitto() as broker:
            reason = await trouble_with(at(broker.port, tls=trusting(certificates().authority)), broker)
        assert reason.startswith("TLS failed: ")

    async def test_a_port_that_wants_tls_is_told_once(self) -> None:
        async with Mosquitto(tls=certificates()) as broker:
            reason = await trouble_with(at(broker.port), broker)
        assert (
            reason
            == "closed by the broker before it answered; does it speak MQTT 5 without TLS on this port?"
        )

    async def test_a_name_that_nobody_has_is_told(self) -> None:
        with capture_logs() as logs:
            async with Gateway(dataclasses.replace(at(1883), host="nobody.invalid")):
                await eventually(lambda: bool(logs))
        assert logs[0]["reason"].startswith("no such host: ")

    async def test_a_subscription_that_is_refused_is_told_and_the_others_live(self) -> None:
        script = {"CONNECT": ACCEPTED, "SUBSCRIBE": b"\x90\x05\x00\x01\x00\x01\x87"}
        with capture_logs() as logs:
            async with (
                scripted(script) as port,
                Gateway(at(port), subscriptions=("imu/+/samples", "secret/#")) as gateway,
            ):
                await gateway.connected()
        assert [one["event"] for one in logs] == ["connected", "subscription refused"]
        assert logs[1]["reason"] == "secret/#: Not authorized"

    async def test_a_broker_that_says_why_it_ends_the_connection_is_quoted(self) -> None:
        script = {"CONNECT": ACCEPTED, "SUBSCRIBE": SUBSCRIBED + b"\xe0\x02\x8e\x00"}
        with capture_logs() as logs:
            async with scripted(script) as port, Gateway(at(port)):
                await eventually(lambda: len(logs) > 1)
        assert logs[1]["reason"] == (
            "ended by the broker: Session taken over (does another gateway have the same name?)"
        )

    async def test_a_broker_that_speaks_gibberish_is_left_and_never_the_end(self) -> None:
        random = Random(7)
        gibberish = [b"\x30\x02\xff\xff", *(random.randbytes(random.randrange(1, 60)) for _ in range(40))]
        scripts = ({"CONNECT": ACCEPTED, "SUBSCRIBE": SUBSCRIBED + one} for one in gibberish)
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        for script in scripts:
            async with scripted(script, then_close=True) as port, Gateway(at(port)) as gateway:
                await gateway.connected_times(2)
                assert not gateway.task.done()
        assert failures == []

    async def test_a_broker_that_falls_silent_is_left_and_found_again(self) -> None:
        async with Mosquitto() as broker:
            with capture_logs() as logs:
                async with Gateway(at(broker.port, keepalive_s=1)) as gateway:
                    await gateway.connected()
                    broker.pause()
                    await gateway.disconnected()
                    broker.resume()
                    await gateway.connected()
                    await gateway.all_acknowledged()
                    assert await retained(broker.port, STATUS) == b"online"
        assert [one["event"] for one in logs] == ["connected", "connection lost", "connected"]
        assert logs[1]["reason"] == "no sign of life from the broker for 1 s"

    async def test_the_last_will_of_a_connection_that_died_unseen_never_belies_the_next_one(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port, STATUS) as observer,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port, keepalive_s=60)) as gateway,
        ):
            await observer.until(STATUS, b"online")
            proxy.cut_client()
            seen = await observer.until(STATUS, b"online")
            assert [one.payload for one in seen] == [b"offline", b"online"]
            await gateway.all_acknowledged()

    async def test_a_second_gateway_of_the_same_name_is_guessed(self) -> None:
        async with Mosquitto() as broker:
            with capture_logs() as logs:
                async with Gateway(at(broker.port)) as one:
                    await one.connected()
                    async with Gateway(at(broker.port)):
                        await eventually(lambda: any(log["event"] == "connection lost" for log in logs))
        reason = next(log["reason"] for log in logs if log["event"] == "connection lost")
        assert reason == "closed by the broker; if this repeats, someone else may be vskd-gw"

    async def test_a_connection_that_does_not_last_keeps_the_delays_growing(self) -> None:
        ceilings: list[float] = []

        def draw(_low: float, high: float) -> float:
            ceilings.append(high)
            return 0.0

        now_s = 0.0
        backoff = Backoff(base_s=1.0, cap_s=8.0, uniform=draw)
        async with (
            Mosquitto() as broker,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port), backoff=backoff, monotonic_s=lambda: now_s) as gateway,
        ):
            for count, lasted_s in enumerate((0.0, 1.0, 9.0, 11.0, 0.0), 1):
                await gateway.connected_times(count)
                now_s += lasted_s
                proxy.cut()
            await gateway.connected_times(6)
        assert ceilings == [1.0, 2.0, 4.0, 1.0, 2.0]

    async def test_the_same_trouble_is_told_again_when_it_lasts(self) -> None:
        now_s = 0.0
        port = free_port()
        with capture_logs() as logs:
            async with Gateway(at(port), monotonic_s=lambda: now_s):
                await eventually(lambda: len(logs) == 1)
                now_s = 601.0
                await eventually(lambda: len(logs) == 2)
        assert logs[0] == logs[1]


class TestEnding:
    @pytest.mark.parametrize("how", ["close", "cancel"])
    @pytest.mark.parametrize("where", ["nobody", "black hole", "mute"])
    async def test_it_ends_at_once_wherever_it_is(self, how: str, where: str) -> None:
        with unfriendly(where) as port:
            async with Gateway(at(port), backoff=Backoff(base_s=30.0)) as gateway:
                await asyncio.sleep(0.05)
                gateway.connection.publish(event(1))
                with lasting_no_longer_than(_AT_ONCE_S):
                    if how == "close":
                        await gateway.connection.close(STOPPED)
                    else:
                        gateway.task.cancel()
                    await asyncio.wait((gateway.task,))
                if how == "close":
                    assert gateway.drops == {"undelivered": 1}

    def test_a_process_does_not_wait_for_a_dead_address(self) -> None:
        program = """
            import asyncio, sys
            from vskd_stream.broker.connection import MqttConnection
            from vskd_stream.broker.endpoint import Endpoint
            from vskd_stream.publication import Publication
            from vskd_stream.tally import Tally

            async def main(port):
                connection = MqttConnection(
                    Endpoint("127.0.0.1", port, "c"), will=Publication("s", b""), subscriptions=["a"],
                    on_message=print, birth=list, max_queued=9, tally=Tally(),
                )
                task = asyncio.create_task(connection.run())
                await asyncio.sleep(0.1)
                print("connecting", flush=True)
                task.cancel()

            asyncio.run(main(int(sys.argv[1])))
        """
        with unfriendly("black hole") as port:
            command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(port)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                assert process.stdout.readline() == b"connecting\n"
                with lasting_no_longer_than(_AT_ONCE_S):
                    assert process.wait() == 0
                assert process.stderr.read() == b""

    async def test_the_farewell_passes_a_broker_that_never_acknowledges(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port, STATUS) as observer,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port)) as gateway,
        ):
            await gateway.connected()
            await gateway.all_acknowledged()
            proxy.hold_answers()
            for number in range(100):
                gateway.connection.publish(event(number))
            with lasting_no_longer_than(_AT_ONCE_S):
                await gateway.connection.close(STOPPED)
                await gateway.task
            seen = await observer.until(STATUS, b"stopped")
            assert [one.payload for one in seen] == [b"online", b"stopped"]
            assert gateway.drops == {"undelivered": 100}
            assert await retained(broker.port, STATUS) == b"stopped"

    async def test_the_farewell_holds_in_a_flood_of_samples(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as watch,
            Gateway(at(broker.port), handler=lambda *_: None) as gateway,
        ):
            await gateway.connected()
            flood = asyncio.create_task(
                asyncio.to_thread(watch.publish_many, SAMPLES, bytes(600), count=20_000)
            )
            await eventually(lambda: gateway.connection.traffic.received > 1000)
            await gateway.connection.close(STOPPED)
            await flood
            assert await retained(broker.port, STATUS) == b"stopped"

    async def test_who_leaves_hears_what_was_on_its_way(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as watch,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port)) as gateway,
        ):
            await gateway.connected()
            proxy.hold_answers()
            for number in range(10):
                await watch.publish(SAMPLES, str(number).encode())
            leaving = asyncio.create_task(gateway.connection.leave())
            await asyncio.sleep(0)
            assert gateway.inbox.empty()
            proxy.release_answers()
            async with asyncio.timeout(30):
                await leaving
            assert gateway.inbox.qsize() == 10

    async def test_who_leaves_waits_for_no_broker_that_is_gone(self) -> None:
        async with Mosquitto() as broker, Proxy(broker.port) as proxy, Gateway(at(proxy.port)) as gateway:
            await gateway.connected()
            proxy.hold_answers()
            leaving = asyncio.create_task(gateway.connection.leave())
            await asyncio.sleep(0)
            proxy.cut()
            async with asyncio.timeout(30):
                await leaving

    async def test_who_has_left_asks_for_nothing_on_later_connections(self) -> None:
        async with (
            Mosquitto() as broker,
            Observer(broker.port) as watch,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port)) as gateway,
        ):
            await gateway.connected()
            await gateway.connection.leave()
            await gateway.connection.follow(
                endpoint=at(proxy.port), will=OFFLINE, subscriptions=("imu/+/samples",)
            )
            proxy.cut()
            await gateway.connected_times(2)
            await watch.publish(SAMPLES, b"late")
            gateway.connection.publish(event(0))
            await gateway.all_acknowledged()
            assert gateway.connection.traffic.received == 0

    async def test_what_comes_when_nothing_is_to_be_heard_any_more_is_dropped_by_name(self) -> None:
        async with Mosquitto() as broker, Observer(broker.port) as watch, Gateway(at(broker.port)) as gateway:
            await gateway.connected()
            gateway.connection.deafen()
            await watch.publish(SAMPLES, b"late")
            await eventually(lambda: gateway.drops == {"stopping": 1})
            assert gateway.inbox.empty()

    async def test_a_connection_lost_while_closing_is_no_reason_to_wait(self) -> None:
        async with (
            Mosquitto() as broker,
            Proxy(broker.port) as proxy,
            Gateway(at(proxy.port)) as gateway,
        ):
            await gateway.connected()
            await gateway.all_acknowledged()
            proxy.hold_answers()
            closing = asyncio.create_task(gateway.connection.close(STOPPED))
            await asyncio.sleep(0)
            proxy.cut()
            with lasting_no_longer_than(_AT_ONCE_S):
                await closing
                await gateway.task


class TestPaho:
    """What we lean on beyond paho's documented interface."""

    async def test_the_socket_is_ours_to_make(self) -> None:
        assert "_create_socket" in vars(paho.Client)

    async def test_a_socket_error_reaches_the_logger_as_an_exception(self) -> None:
        async with Mosquitto() as broker, Proxy(broker.port) as proxy:
            with capture_logs() as logs:
                async with Gateway(at(proxy.port)) as gateway:
                    await gateway.connected()
                    proxy.cut()
                    await gateway.connected_times(2)
        lost = next(one for one in logs if one["event"] == "connection lost")
        assert lost["reason"] == "connection reset by peer"


ACCEPTED = b"\x20\x03\x00\x00\x00"
SUBSCRIBED = b"\x90\x04\x00\x01\x00\x01"
PACKETS = {1: "CONNECT", 8: "SUBSCRIBE"}


@contextlib.asynccontextmanager
async def scripted(answers: Mapping[str, bytes], *, then_close: bool = False) -> AsyncIterator[int]:
    """An MQTT 5 broker that has one answer for each kind of packet, and no understanding."""

    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, size = await reader.readexactly(2)
                await reader.readexactly(size)
                writer.write(answers.get(PACKETS.get(kind >> 4, ""), b""))
                await writer.drain()
                if then_close and kind >> 4 == 8:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    # Whoever still waits for a packet is not told that the test is over.
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def trusting(authority: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


def proxied(endpoint: Endpoint, proxy: Proxy) -> Endpoint:
    return dataclasses.replace(endpoint, port=proxy.port)


async def trouble_with(endpoint: Endpoint, broker: Mosquitto) -> str:
    """The one reason that is told over several attempts."""
    with capture_logs() as logs:
        async with Proxy(broker.port) as proxy, Gateway(proxied(endpoint, proxy)) as gateway:
            await eventually(lambda: proxy.accepted > 3)
            assert not gateway.connection.connected.is_set()
    assert [(one["event"], one["log_level"]) for one in logs] == [("no connection", "warning")]
    assert str(proxy.port) in logs[0]["broker"]
    return str(logs[0]["reason"])


@contextlib.contextmanager
def unfriendly(where: str) -> Iterator[int]:
    """A port where nobody listens, or nobody answers to TCP, or nobody answers to MQTT."""
    if where == "nobody":
        yield free_port()
        return
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        while where == "black hole":
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.1)
            try:
                filler.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
