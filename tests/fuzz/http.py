"""Whatever comes over a connection to the HTTP server is answered in HTTP, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, cast

from vskd_stream.supervision.http import Address, Answer, HttpServer

_BODY = b"hello\n"


class _Writer:
    """What a server asks of the other direction."""

    def __init__(self) -> None:
        self.sent = b""

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.sent += b"".join(parts)

    async def drain(self) -> None:
        """There is always room."""

    def can_write_eof(self) -> bool:
        return False


async def _hello() -> Answer:
    return Answer(HTTPStatus.OK, _BODY)


_LOOP = asyncio.new_event_loop()
_SERVERS = (
    HttpServer(Address(), {"/metrics": _hello}),
    HttpServer(Address(), {"/metrics": _hello}, token="s3cret"),
)


def run(data: bytes) -> None:
    """The first byte says whether there is a token; the rest comes over the connection."""
    if not data:
        return
    server, writer = _SERVERS[data[0] % 2], _Writer()

    async def serve() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data[1:])
        reader.feed_eof()
        await server._serve(reader, cast(Any, writer))

    _LOOP.run_until_complete(serve())
    if not writer.sent:
        return
    head, separator, body = writer.sent.partition(b"\r\n\r\n")
    assert separator
    assert head.startswith(b"HTTP/1.1 ")
    status = int(head[9:12])
    assert status in {200, 400, 401, 404, 405, 413, 414, 421, 431, 501}, head
    assert b"s3cret" not in writer.sent
    if status == HTTPStatus.OK:
        assert body in (_BODY, b"")
        assert b"/metrics" in data
        assert data[0] % 2 == 0 or b"s3cret" in data


def seeds() -> Iterator[bytes]:
    """Good requests."""
    for method in (b"GET", b"HEAD", b"POST"):
        start = method + b" /metrics?a=b HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n"
        yield b"\0" + start + b"\r\n"
        yield b"\1" + start + b"Authorization: Bearer s3cret\r\n\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    yield b"\0POST /metrics HTTP/1.1\r\nHost: [::1]\r\n" + chunked
    yield b"\0GET /metrics HTTP/1.0\r\n\r\n"
