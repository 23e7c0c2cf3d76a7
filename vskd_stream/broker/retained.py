"""What a broker keeps: read and changed over a short connection of its own.

The daemon's connection takes no retained messages, which would pass for live ones; whoever wants to
look at what is kept comes, listens until it is quiet, and goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from vskd_stream.broker.link import Link
from vskd_stream.errors import BrokerError

if TYPE_CHECKING:
    from vskd_stream.broker._wire import Incoming
    from vskd_stream.broker.endpoint import Endpoint
    from vskd_stream.publication import Publication

MAX_BYTES = 64 * 2**20
"""Of topics and payloads; what comes after them is not taken."""
_MAX_PACKET_BYTES = 2**20
_QUIET_S = 1.0
_AT_MOST_S = 5.0
"""A topic that is busy never falls quiet; what a broker keeps comes first, and soon."""
_ANSWERED_S = 5.0

OnAcknowledged = Callable[[int, str | None], None]


async def read(endpoint: Endpoint, filters: Sequence[str]) -> dict[str, bytes]:
    """What the broker keeps, by topic; of topics that it keeps from us it does not tell.

    Raises:
        BrokerError: There is no connection, or it ended too early.
    """
    kept: dict[str, bytes] = {}
    room = MAX_BYTES

    def take(message: Incoming) -> None:
        nonlocal room
        with contextlib.suppress(UnicodeDecodeError):
            room -= len(message.topic) + len(message.payload)
            if message.retain and room >= 0:
                kept[message.topic] = bytes(message.payload)

    async with _link(endpoint, on_message=take) as link:
        await link.open(filters)
        loop = asyncio.get_running_loop()
        end_s, heard = loop.time() + _AT_MOST_S, -1
        while len(kept) > heard and loop.time() < end_s:
            heard = len(kept)
            await asyncio.wait((link.lost,), timeout=_QUIET_S)
        if link.lost.done():
            raise BrokerError(str(endpoint), link.lost.result())
    return kept


async def publish(endpoint: Endpoint, publications: Iterable[Publication]) -> dict[str, str]:
    """Publish with QoS 1, each when the broker has answered the one before; returns what it refused, and why.

    Raises:
        BrokerError: There is no connection, or no answer.
    """
    refused: dict[str, str] = {}
    answers: asyncio.Queue[str | None] = asyncio.Queue()
    async with _link(endpoint, on_acknowledged=lambda _, refusal: answers.put_nowait(refusal)) as link:
        await link.open(())
        for publication in publications:
            try:
                link.send(msgspec.structs.replace(publication, qos=1))
                async with asyncio.timeout(_ANSWERED_S):
                    refusal = await answers.get()
            except ValueError as error:
                refusal = str(error)
            except TimeoutError:
                reason = f"no answer to a message within {_ANSWERED_S:g} s"
                raise BrokerError(str(endpoint), reason) from None
            if refusal is not None:
                refused[publication.topic] = refusal
    return refused


@contextlib.asynccontextmanager
async def _link(
    endpoint: Endpoint,
    *,
    on_message: Callable[[Incoming], None] = lambda _: None,
    on_acknowledged: OnAcknowledged = lambda _, __: None,
) -> AsyncIterator[Link]:
    # Under the daemon's own id the broker would end the daemon's connection.
    visitor = replace(endpoint, client_id=f"{endpoint.client_id}-visitor")
    link = Link(
        visitor,
        will=None,
        on_message=on_message,
        on_acknowledged=on_acknowledged,
        max_packet_bytes=_MAX_PACKET_BYTES,
    )
    try:
        yield link
        await link.goodbye()
    finally:
        link.abort("no longer wanted")
