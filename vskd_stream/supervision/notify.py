"""Tells systemd what holds: ready when events can flow, alive only while they do (sd_notify(3)).

A datagram is all there is to the protocol. Nothing here waits and nothing fails: without a service
manager, or with one that does not listen, the daemon serves on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

import structlog

_STATUS_EVERY_S = 10.0
_PATIENCE_S = 60.0
"""So much longer the service manager is asked to wait for a broker that is away when we start."""
_MAX_STATUS = 400
"""Characters of a status; ``systemctl status`` shows a line."""

_log = structlog.get_logger()


class Notifier:
    """The service manager's socket; without ``NOTIFY_SOCKET`` every call does nothing."""

    watchdog_s: float | None
    """Seconds within which ``WATCHDOG=1`` is to come again; None: nobody watches this process."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        pid: int | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``environ`` is read now; ``pid`` is this process, whose own the watchdog must be."""
        self._monotonic_ns = monotonic_ns
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(0.0)
        self._is_told = False
        self.watchdog_s = _watchdog_s(environ, os.getpid() if pid is None else pid) if self._socket else None

    @property
    def is_listening(self) -> bool:
        """Whether a service manager wants to know."""
        return self._socket is not None

    def ready(self, status: str) -> bool:
        """That we serve, after a start or a reload; whether it was told."""
        return self._send("READY=1", _status(status))

    def waiting(self, status: str) -> bool:
        """That we are not ready through no fault of ours, and are to be given more time."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(_PATIENCE_S * 1e6)}", _status(status))

    def status(self, status: str) -> bool:
        """What goes on, in words."""
        return self._send(_status(status))

    def watchdog(self) -> bool:
        """That we work."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """That the configuration is being read again; ``ready`` ends it."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """That we are about to end."""
        return self._send("STOPPING=1", _status("stopping"))

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> bool:
        if self._socket is None or self._address is None:
            return False
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._is_told:
                _log.warning("the service manager cannot be told", reason=error.strerror or str(error))
                self._is_told = True
            return False
        self._is_told = False
        return True


class Supervision:
    """Tells a service manager when we are ready, that we work, and what we do; until cancelled."""

    def __init__(
        self,
        notifier: Notifier,
        *,
        can_serve: Callable[[], bool],
        works: Callable[[], bool],
        describe: Callable[[], str],
        status_every_s: float = _STATUS_EVERY_S,
    ) -> None:
        """Asked on the event loop: whether events can flow, whether they do, and for a line of words.

        ``works`` is asked at least once in every half of the watchdog's interval.
        """
        self._notifier = notifier
        self._can_serve = can_serve
        self._works = works
        self._describe = describe
        self._status_every_s = status_every_s
        self._is_ready = self._is_reloading = self._hangs = False
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Tell what is to be told, until cancelled."""
        if not self._notifier.is_listening:
            return
        while not (self._is_ready or self._become_ready()):
            self._notifier.waiting(self._describe())
            await self._pause(min(1.0, self._status_every_s))
        watchdog_s = self._notifier.watchdog_s
        every_s = self._status_every_s if watchdog_s is None else min(watchdog_s / 2, self._status_every_s)
        told = ""
        while True:
            # Asked even if nobody watches: the status tells it, too.
            self._hangs = not self._works()
            if not self._hangs and watchdog_s is not None:
                self._notifier.watchdog()
            words = self._words()
            if words != told and self._notifier.status(words):
                told = words
            # Once it works again that is to be told before the service manager has lost patience.
            await self._pause(min(every_s, 1.0) if self._hangs else every_s)

    def changed(self) -> None:
        """What ``can_serve`` and ``describe`` tell may have changed: look at once."""
        self._wake.set()

    def reloading(self) -> None:
        """A reload begins; nothing, while we are not ready at all."""
        self._is_reloading = self._is_ready
        if self._is_reloading:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """It has ended, well or not: ``describe`` says which."""
        if self._is_reloading:
            self._is_reloading = False
            self._notifier.ready(self._words())

    def _become_ready(self) -> bool:
        self._is_ready = self._can_serve() and self._notifier.ready(self._describe())
        return self._is_ready

    def _words(self) -> str:
        return f"the model does not answer; {self._describe()}" if self._hangs else self._describe()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return f"\0{text[1:]}"
    if text.startswith("/"):
        return text
    if text:
        _log.warning("NOTIFY_SOCKET is neither a path nor abstract: nobody is told", value=text[:100])
    return None


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    # The variables are inherited: another process may be the one that is watched.
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdecimal()) or int(text[:18]) == 0:
        return None
    return int(text[:18]) / 1e6


def _status(text: str) -> str:
    # A line break would begin another assignment.
    line = "; ".join(part.strip() for part in text.splitlines() if part.strip())
    return f"STATUS={line if len(line) <= _MAX_STATUS else line[: _MAX_STATUS - 3] + '...'}"
