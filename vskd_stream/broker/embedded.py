"""A broker of our own in a child process: there while the daemon runs, gone however the daemon ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from vskd_stream import settings
from vskd_stream.broker.endpoint import reachable
from vskd_stream.errors import BrokerError

_CHILD = Path(__file__).with_name("_embedded_child.py")
_START_S = 10.0
_POLL_S = 0.02
_STOP_S = 2.0
_LEAST_PAYLOAD_BYTES = 2**20

_ROUTER = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
"""
"""Small segments: with those that rumqttd would choose it grows to several hundred megabytes."""

_LISTENER = """\
[{version}.1]
name = "{version}"
listen = "{address}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 5000
max_payload_size = {max_payload_bytes}
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker, and MQTT 5 on a second port if asked for; it keeps nothing over a restart.

    An asynchronous context manager; ``start`` and ``stop`` do the same.
    """

    def __init__(self, spec: settings.EmbeddedBroker, *, max_payload_bytes: int = 0) -> None:
        """``max_payload_bytes``: what it must take at least; never less than 1 MiB."""
        self._ports = {"v4": spec.port} | ({"v5": spec.mqtt5_port} if spec.mqtt5_port else {})
        self._listen = spec.listen
        self._max_payload_bytes = max(max_payload_bytes, _LEAST_PAYLOAD_BYTES)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def listeners(self) -> tuple[str, ...]:
        """``address:port`` of each listener, MQTT 3.1.1 first."""
        host = f"[{self._listen}]" if ":" in self._listen else self._listen
        return tuple(f"{host}:{port}" for port in self._ports.values())

    async def start(self) -> None:
        """Start the broker, and return when it accepts connections.

        Raises:
            BrokerError: a port is taken or not ours to open, or the broker does not come up.
        """
        for port in self._ports.values():
            _require_free(self._listen, port)
        # A session of its own, so that the terminal's signals do not reach it.
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_CHILD), self._config()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_START_S):
                for port in self._ports.values():
                    await self._accepting(self._process, port)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise BrokerError(self._name, f"not listening within {_START_S:g} s") from None
            raise

    async def watch(self) -> None:
        """Return when ``stop`` has ended the broker.

        Raises:
            BrokerError: it has ended by itself.
        """
        if (process := self._process) is not None:
            code = await process.wait()
            if self._process is process:
                raise BrokerError(self._name, f"the embedded broker ended by itself, with code {code}")

    async def stop(self) -> None:
        """End the broker; its ports are free afterwards."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _name(self) -> str:
        return " and ".join(self.listeners)

    def _config(self) -> str:
        return _ROUTER + "".join(
            _LISTENER.format(version=version, address=address, max_payload_bytes=self._max_payload_bytes)
            for version, address in zip(self._ports, self.listeners, strict=True)
        )

    async def _accepting(self, process: asyncio.subprocess.Process, port: int) -> None:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(reachable(self._listen), port)
            except OSError:
                await asyncio.sleep(_POLL_S)
            else:
                writer.close()
                return
        raise BrokerError(
            self._name, f"the embedded broker does not start: it ended with code {process.returncode}"
        )


def _require_free(listen: str, port: int) -> None:
    address = f"{listen}:{port}"
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(listen).version == 6 else socket.AF_INET
    except ValueError:
        reason = "the embedded broker listens on an address, not on a name; write 127.0.0.1 or 0.0.0.0"
        raise BrokerError(address, reason) from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
            probe.listen()
        except OSError as error:
            raise BrokerError(address, _why_not(error, listen, port)) from None


def _why_not(error: OSError, listen: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is taken. If a broker runs there, use it: `broker: {{host: {reachable(listen)}}}`; "
            "otherwise choose another `port` for the embedded one"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for root; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {listen}; write 127.0.0.1, or 0.0.0.0 for all it has"
    return os.strerror(error.errno or 0)
