"""HTTP for whoever looks after the gateway: one GET a connection, bounded in bytes, time and number.

h11 reads the protocol, and refuses what is none; nothing that a request contains is ever used but its
method, its path, its host and its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import h11
import structlog

from vskd_stream.errors import HttpError

MAX_REQUEST_BYTES: Final = 8192
"""Of request line and headers together, give or take what is read at once."""
MAX_CONNECTIONS: Final = 16
"""At once; further ones are closed unread."""
REQUEST_S: Final = 5.0
ANSWER_S: Final = 10.0
_READ_BYTES: Final = 4096
_LINGER_S: Final = 0.5
_LINGER_BYTES: Final = 2**16
_BACKLOG: Final = 32

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[], Awaitable[Answer]]
"""Answers one path; on the event loop."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and a port, or a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    socket: Path | None = None


class HttpServer:
    """Serves ``routes`` between ``__aenter__`` and ``__aexit__``; with a ``token`` only to who knows it."""

    def __init__(
        self,
        address: Address,
        routes: Mapping[str, Handler],
        *,
        token: str | None = None,
        request_s: float = REQUEST_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        """``request_s`` and ``answer_s`` bound how long a connection may take to ask, and to be answered."""
        self._address = address
        self._routes = routes
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._request_s = request_s
        self._answer_s = answer_s
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port: int | None = None
        """The TCP port that it listens on; None on a Unix socket."""

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            HttpError: The address is taken, not ours, or not allowed.
        """
        try:
            if self._address.socket is None:
                self._server = await asyncio.start_server(
                    self._connected, self._address.host, self._address.port, backlog=_BACKLOG
                )
                self.port = self._server.sockets[0].getsockname()[1]
            else:
                # Nobody connects before the rights are what they should be.
                self._server = await asyncio.start_unix_server(
                    self._connected, self._address.socket, backlog=_BACKLOG, start_serving=False
                )
                self._address.socket.chmod(0o660)
                await self._server.start_serving()
        except OSError as error:
            where = self._address.socket or f"{self._address.host} port {self._address.port}"
            raise HttpError(str(where), error.strerror or str(error)) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._address.socket is not None:
            with contextlib.suppress(OSError):
                self._address.socket.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (TimeoutError, OSError):
            # Too slow, or gone: there is nobody to tell.
            pass
        except Exception:  # noqa: BLE001 (one request must not cost the others)
            # asyncio would tell it to a handler that nobody reads.
            _log.exception("fault while answering a request")
        finally:
            self._connections.discard(task)
            # What was answered is with the system by then; what was not would wait for ever.
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        try:
            async with asyncio.timeout(self._request_s):
                request = await _request(protocol, reader)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            await self._send(protocol, writer, Answer(status, f"{status.phrase}\n".encode()))
            await self._linger(reader)
            return
        if request is not None:
            answer = await self._answer(request)
            await self._send(protocol, writer, answer, with_body=request.method != b"HEAD")
            await self._linger(reader)

    async def _answer(self, request: h11.Request) -> Answer:
        headers: dict[bytes, bytes] = dict(request.headers)
        if self._expected is not None:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                return _refusal(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", "Bearer"))
        elif self._address.socket is None and not is_literal_host(headers.get(b"host", b"")):
            # A web page whose name was made to point at this machine: its visitor's browser asks, not they.
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST)
        handler = self._routes.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
        if handler is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        return await handler()

    async def _send(
        self,
        protocol: h11.Connection,
        writer: asyncio.StreamWriter,
        answer: Answer,
        *,
        with_body: bool = True,
    ) -> None:
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
            *answer.headers,
        ]
        response = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)
        parts = [protocol.send(response)]
        if with_body:
            parts.append(protocol.send(h11.Data(answer.body)))
        writer.writelines(part for part in parts if part)
        async with asyncio.timeout(self._answer_s):
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    async def _linger(self, reader: asyncio.StreamReader) -> None:
        """Read what the other side had under way: else the system would take the answer back with a reset."""
        left = _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_LINGER_S, self._answer_s)):
                while left > 0 and (data := await reader.read(_READ_BYTES)):
                    left -= len(data)


async def _request(protocol: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request without its body, which nobody wants; None if the other side leaves before."""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ_BYTES)
            if not data:
                return None
            protocol.receive_data(data)
        elif isinstance(event, h11.Request):
            return event
        else:
            return None


def _refusal(status: HTTPStatus, *headers: tuple[str, str]) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode(), headers=headers)


def is_literal_host(host: bytes) -> bool:
    """Whether a ``Host`` header names this machine by an address or as localhost, or does not name any."""
    text = host.decode("ascii", "replace")
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]{2,64}\]|[A-Za-z0-9.-]{0,253})(:[0-9]{1,5})?", text)
    if found is None:
        return False
    name = found[1].strip("[]")
    if name.lower() in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
