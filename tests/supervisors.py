"""What a service manager hears: the other end of ``NOTIFY_SOCKET``."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Self


class ServiceManager:
    """A datagram socket, as systemd has one; tests wait for what is said on it."""

    def __init__(self, path: Path | None = None, *, watchdog_s: float | None = None) -> None:
        """``path``: where its socket is; None: an abstract one."""
        self._name = f"@vskd-test-{os.getpid()}-{id(self)}" if path is None else str(path)
        self._watchdog_s = watchdog_s
        self.heard: list[dict[str, str]] = []

    @property
    def environ(self) -> dict[str, str]:
        """What it gives to a service."""
        environ = {"NOTIFY_SOCKET": self._name}
        if self._watchdog_s is not None:
            environ["WATCHDOG_USEC"] = str(round(self._watchdog_s * 1e6))
        return environ

    async def next(self) -> dict[str, str]:
        """The next message, as assignments."""
        async with asyncio.timeout(60):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
        message = dict(line.split("=", 1) for line in data.decode().splitlines())
        self.heard.append(message)
        return message

    async def until(self, key: str, containing: str = "") -> dict[str, str]:
        """The next message with this variable (whose value has these words)."""
        while True:
            message = await self.next()
            if key in message and containing in message[key]:
                return message

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0.0)
        self._socket.bind(f"\0{self._name[1:]}" if self._name.startswith("@") else self._name)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
