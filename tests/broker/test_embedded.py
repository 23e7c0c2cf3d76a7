from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Observer, embedded_broker, free_port
from vskd_stream.broker.embedded import EmbeddedBroker
from vskd_stream.errors import BrokerError
from vskd_stream.settings import EmbeddedBroker as Spec


def is_served(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def refusal(spec: Spec) -> str:
    with pytest.raises(BrokerError) as caught:
        await EmbeddedBroker(spec).start()
    return str(caught.value)


async def test_it_serves_when_started_and_its_port_is_free_when_stopped() -> None:
    spec = Spec(port=free_port())
    broker = EmbeddedBroker(spec)
    for _ in range(2):
        await broker.start()
        assert broker.listeners == (f"127.0.0.1:{spec.port}",)
        assert is_served(spec.port)
        await broker.stop()
        assert not is_served(spec.port)


async def test_it_listens_on_loopback_only_unless_told_otherwise() -> None:
    async with embedded_broker() as broker:
        port = int(broker.listeners[0].rpartition(":")[2])
        own = socket.gethostbyname(socket.gethostname())
        if own.startswith("127."):
            pytest.skip("this machine has no address but loopback")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own, port), timeout=1)


@pytest.mark.parametrize("listen", ["0.0.0.0", "::1"])
async def test_it_listens_where_it_is_told(listen: str) -> None:
    spec = Spec(listen=listen, port=free_port())
    try:
        async with EmbeddedBroker(spec) as broker:
            assert broker.listeners == (f"{'[::1]' if listen == '::1' else listen}:{spec.port}",)
    except BrokerError as error:
        if "this machine has no address" in error.reason:
            pytest.skip("no IPv6 here")
        raise


async def test_a_large_payload_passes() -> None:
    async with embedded_broker() as broker:
        port = int(broker.listeners[0].rpartition(":")[2])
        async with Observer(port, "imu/+/samples") as observer:
            await observer.publish("imu/watch/samples", bytes(1_000_000), qos=0)
            assert len((await observer.next()).payload) == 1_000_000


async def test_a_client_that_announces_an_absurd_payload_is_shut_out() -> None:
    async with embedded_broker() as broker:
        port = int(broker.listeners[0].rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        # A PUBLISH with 256 MiB to follow.
        writer.write(b"\x30\xff\xff\xff\x7f\x00\x01a")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read(1) == b""
        writer.transport.abort()


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = await refusal(Spec(port=port))
    assert text == (
        f"MQTT broker 127.0.0.1:{port}: port {port} is taken. If a broker runs there, use it:"
        " `broker: {host: 127.0.0.1}`; otherwise choose another `port` for the embedded one"
    )


async def test_a_taken_port_for_mqtt_5_is_found_as_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = await refusal(Spec(port=free_port(), mqtt5_port=port))
    assert f"port {port} is taken" in text


async def test_an_address_of_another_machine_is_refused_in_words() -> None:
    text = await refusal(Spec(listen="192.0.2.1", port=free_port()))
    assert "this machine has no address 192.0.2.1; write 127.0.0.1, or 0.0.0.0 for all it has" in text


async def test_a_name_to_listen_on_is_refused_in_words() -> None:
    text = await refusal(Spec(listen="localhost", port=free_port()))
    assert "the embedded broker listens on an address, not on a name; write 127.0.0.1 or 0.0.0.0" in text


async def test_its_death_is_noticed() -> None:
    async with embedded_broker() as broker:
        watch = asyncio.create_task(broker.watch())
        process_of(broker).kill()
        with pytest.raises(BrokerError, match="the embedded broker ended by itself, with code -9"):
            await watch


async def test_its_orderly_end_is_no_death() -> None:
    async with embedded_broker() as broker:
        watch = asyncio.create_task(broker.watch())
        await asyncio.sleep(0)
    await watch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_whole_service_does_not_end_it_before_its_time(number: signal.Signals) -> None:
    async with embedded_broker() as broker:
        process_of(broker).send_signal(number)
        port = int(broker.listeners[0].rpartition(":")[2])
        async with Observer(port, "a") as observer:
            await observer.publish("a", b"alive")
            assert (await observer.next()).payload == b"alive"
        assert process_of(broker).returncode is None


async def test_the_terminals_signals_do_not_reach_it() -> None:
    async with embedded_broker() as broker:
        assert os.getsid(process_of(broker).pid) != os.getsid(0)


async def test_it_leaves_no_file_behind() -> None:
    def left() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("vskd-broker-*"))

    before = left()
    async with embedded_broker():
        assert left() == before


async def test_one_that_does_not_answer_is_ended_all_the_same() -> None:
    async with embedded_broker() as broker:
        process_of(broker).send_signal(signal.SIGSTOP)
        async with asyncio.timeout(5):
            await broker.stop()


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    spec = Spec(port=free_port())
    broker = EmbeddedBroker(spec)
    starting = asyncio.create_task(broker.start())
    await eventually(lambda: broker._process is not None)
    process = process_of(broker)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert process.returncode is not None


def test_it_goes_when_the_daemon_is_killed() -> None:
    port = free_port()
    program = """
        import asyncio, sys
        from vskd_stream.broker.embedded import EmbeddedBroker
        from vskd_stream.settings import EmbeddedBroker as Spec

        async def main() -> None:
            async with EmbeddedBroker(Spec(port=int(sys.argv[1]))):
                print("serving", flush=True)
                await asyncio.sleep(60)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        assert is_served(port)
        process.kill()
    asyncio.run(eventually(lambda: not is_served(port)))


def process_of(broker: EmbeddedBroker) -> Any:
    assert broker._process is not None
    return broker._process
