"""Real brokers for tests, what goes wrong between them and a client, and a client that looks on.

All of them are asynchronous context managers, listen on loopback only, and on ports that are free.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from vskd_stream import settings
from vskd_stream.broker.embedded import EmbeddedBroker

# Debian keeps it where only root's PATH looks.
_MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_PATIENCE_S = 30.0


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _accepting(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, who it signed for (``NAME.crt``, ``NAME.key``), and a second authority."""

    directory: Path

    @property
    def authority(self) -> Path:
        """Signed ``localhost`` (with 127.0.0.1), ``elsewhere`` (another name) and ``client``."""
        return self.directory / "authority.crt"

    @property
    def stranger(self) -> Path:
        """An authority that signed nothing here."""
        return self.directory / "stranger.crt"

    def cert(self, name: str) -> Path:
        """A signed certificate."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Its key."""
        return self.directory / f"{name}.key"


@cache
def certificates() -> Certificates:
    """Made once per test run; skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    holder = tempfile.TemporaryDirectory(prefix="vskd-certificates-")
    atexit.register(holder.cleanup)
    directory = Path(holder.name)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("authority", "stranger"):
        openssl(
            "req", "-x509", *new, "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.crt",
        )  # fmt: skip
    for name, alternative in {
        "localhost": "DNS:localhost,IP:127.0.0.1",
        "elsewhere": "DNS:elsewhere.example",
        "client": "DNS:client",
    }.items():
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (directory / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "authority.crt", "-CAkey", "authority.key",
            "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )  # fmt: skip
    return Certificates(directory)


class Mosquitto:
    """A real mosquitto, which can be killed, stopped, paused, and started again on the same port."""

    def __init__(
        self,
        *,
        tls: Certificates | None = None,
        certificate: str = "localhost",
        require_certificate: bool = False,
        passwords: Mapping[str, str] | None = None,
        acl: str | None = None,
        persistence: bool = False,
        extra: str = "",
    ) -> None:
        """``tls``: serve with ``certificate``; ``passwords``: user to password, nobody else gets in."""
        if _MOSQUITTO is None:
            pytest.skip("mosquitto is not installed")
        self.port = free_port()
        self._holder = tempfile.TemporaryDirectory(prefix="vskd-mosquitto-")
        self._directory = Path(self._holder.name)
        self._passwords = dict(passwords or {})
        self._process: asyncio.subprocess.Process | None = None
        lines = [f"allow_anonymous {'false' if passwords else 'true'}", "max_queued_messages 100000", extra]
        if os.getuid() == 0:
            lines.append("user root")
        if passwords:
            lines.append(f"password_file {self._directory / 'passwords'}")
        if acl is not None:
            (self._directory / "acl").write_text(acl)
            lines.append(f"acl_file {self._directory / 'acl'}")
        if persistence:
            lines += ["persistence true", f"persistence_location {self._directory}/"]
        lines.append(f"listener {self.port} 127.0.0.1")
        if tls is not None:
            lines += [f"certfile {tls.cert(certificate)}", f"keyfile {tls.key(certificate)}"]
            lines += [f"cafile {tls.authority}", f"require_certificate {str(require_certificate).lower()}"]
        (self._directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        """Of the process, while it runs."""
        assert self._process is not None
        return self._process.pid

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Replace the passwords, and have the broker read them if it runs."""
        path = self._directory / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in passwords.items()))
        path.chmod(0o600)
        hashing = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", str(path))
        assert await hashing.wait() == 0
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    async def start(self) -> None:
        """Start, and return when connections are accepted."""
        assert _MOSQUITTO is not None
        if self._passwords:
            await self.set_passwords(self._passwords)
        self._process = await asyncio.create_subprocess_exec(
            *(_MOSQUITTO, "-c", str(self._directory / "mosquitto.conf")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_PATIENCE_S):
            while not await _accepting(self.port):
                assert self._process.returncode is None, "mosquitto does not start"
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End it in order; what is persistent is saved."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Leave its connections open, but never answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._holder.cleanup()


@contextlib.asynccontextmanager
async def embedded_broker(*, mqtt5: bool = False) -> AsyncIterator[EmbeddedBroker]:
    """The daemon's own broker on free ports; ``listeners`` tells which."""
    spec = settings.EmbeddedBroker(port=free_port(), mqtt5_port=free_port() if mqtt5 else None)
    async with EmbeddedBroker(spec) as broker:
        yield broker


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.is_closing():
        return
    # With no time to linger a close is a reset.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """What lies between a client and a broker, and fails on demand."""

    def __init__(self, broker_port: int) -> None:
        self.port = free_port()
        self.accepted = 0
        self._broker_port = broker_port
        self._broker_learns = True
        self._server: asyncio.Server | None = None
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    def cut(self) -> None:
        """Reset the connections on both sides."""
        for pair in self._pairs:
            for writer in pair:
                _reset(writer)
        self._pairs.clear()

    def cut_client(self) -> None:
        """Reset the client's connections; the broker learns of it at no time."""
        self._broker_learns = False
        for client, _ in self._pairs:
            _reset(client)

    def hold_answers(self) -> None:
        """Let nothing pass from broker to client any more."""
        self._open.clear()

    def release_answers(self) -> None:
        """Let it pass again."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if (serving := asyncio.current_task()) is not None:
            self._tasks.add(serving)
            serving.add_done_callback(self._tasks.discard)
        try:
            upstream, out = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except (OSError, asyncio.CancelledError):
            # Also of a test that ends while somebody dials.
            writer.transport.abort()
            return
        self._pairs.append((writer, out))
        for source, sink, gate in ((reader, out, None), (upstream, writer, self._open)):
            task = asyncio.create_task(self._carry(source, sink, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                if gate is not None:
                    await gate.wait()
                sink.write(data)
                await sink.drain()
        if gate is not None or self._broker_learns:
            sink.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        await self._server.wait_closed()


class Observer:
    """Another client, over paho's own thread: sees what is published, and publishes."""

    def __init__(
        self,
        port: int,
        *subscriptions: str,
        protocol: str = "3.1.1",
        username: str | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
        host: str = "127.0.0.1",
        session: str | None = None,
    ) -> None:
        """``session``: its name, if the broker shall keep it and what comes while we are away (3.1.1)."""
        version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
        self.messages: asyncio.Queue[paho.MQTTMessage] = asyncio.Queue()
        self._address = (host, port)
        self._is_v5 = protocol == "5"
        self._subscriptions = subscriptions
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=session or "",
            clean_session=None if protocol == "5" else session is None,
            protocol=version,
        )
        self._client.max_inflight_messages = 0
        self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set(
                ca_certs=str(tls.authority), certfile=str(tls.cert("client")), keyfile=str(tls.key("client"))
            )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._tell(self._ready.set)
        self._client.on_message = lambda _, __, message: self._tell(self.messages.put_nowait, message)

    async def next(self, topic: str | None = None) -> paho.MQTTMessage:
        """The next message (on this topic)."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                message = await self.messages.get()
                if topic is None or message.topic == topic:
                    return message

    async def until(self, topic: str, payload: bytes) -> list[paho.MQTTMessage]:
        """Every message up to the first with this topic and payload."""
        seen = [await self.next()]
        while (seen[-1].topic, seen[-1].payload) != (topic, payload):
            seen.append(await self.next())
        return seen

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; returns when the broker has it."""
        info = self._client.publish(topic, payload, qos, retain)
        await asyncio.to_thread(info.wait_for_publish, _PATIENCE_S)

    def publish_many(self, topic: str, payload: bytes, *, count: int, qos: int = 0) -> None:
        """Publish without waiting."""
        for _ in range(count):
            self._client.publish(topic, payload, qos)

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure or not self._subscriptions:
            self._tell(self._ready.set)
        elif self._is_v5:
            self._client.subscribe([(one, SubscribeOptions(qos=1)) for one in self._subscriptions])
        else:
            self._client.subscribe([(one, 1) for one in self._subscriptions])

    def _tell(self, what: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The test's loop has ended.
            self._loop.call_soon_threadsafe(what, *arguments)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._client.connect, *self._address)
        self._client.loop_start()
        async with asyncio.timeout(_PATIENCE_S):
            await self._ready.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        # paho leaves the pair that woke its thread to the collector, which calls that a leak.
        self._client._reset_sockets(sockpair_only=True)


async def retained(port: int, topic: str, **options: Any) -> bytes | None:
    """The payload that the broker keeps for this topic; None if none."""
    # What is kept comes before the answer to a message sent after it was subscribed.
    marker = "test/marker"
    async with Observer(port, topic, marker, **options) as observer:
        await observer.publish(marker, b"")
        seen = await observer.until(marker, b"")
        return next((bytes(one.payload) for one in seen if one.topic == topic and one.retain), None)
