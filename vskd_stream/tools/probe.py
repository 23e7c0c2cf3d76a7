"""Asks a broker what the daemon would be allowed, without being taken for it.

One message is published, not retained, on ``vskd/<gateway>/doctor``: no topic of the daemon's, and of
three levels, so nobody takes it for a device's. It says itself what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from vskd_stream.broker.connection import MAX_PACKET_BYTES
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.broker.link import Link
from vskd_stream.errors import BrokerError
from vskd_stream.publication import Publication
from vskd_stream.tools.diagnosis.broker import BrokerFacts
from vskd_stream.topics import doctor_topic, status_topic

if TYPE_CHECKING:
    from vskd_stream.broker._wire import Incoming

LISTEN_S = 3.0
_ANSWERED_S = 5.0


async def ask(
    endpoint: Endpoint,
    *,
    gateway: str,
    filters: Sequence[str],
    refusal_of: Callable[[str, bytes], str],
    listen_s: float = LISTEN_S,
) -> BrokerFacts:
    """Connect, subscribe, publish and listen, under an id of our own; never raises for a broker's sake.

    Args:
        endpoint: The daemon's.
        gateway: Whose topics.
        filters: What the sources subscribe to.
        refusal_of: Why the daemon would refuse a message; empty if it would not.
        listen_s: How long samples are waited for; no longer than until some came and our own message did.
    """
    endpoint = replace(endpoint, client_id=f"{endpoint.client_id}-doctor-{os.getpid()}")
    own = doctor_message(gateway)
    unread: Counter[str] = Counter()
    status: str | None = None
    heard = 0
    echoed = asyncio.Event()
    spoken = asyncio.Event()
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def take(message: Incoming) -> None:
        nonlocal status, heard
        with contextlib.suppress(UnicodeDecodeError):
            if message.topic == own.topic:
                echoed.set()
            elif message.topic == status_topic(gateway):
                status = _state(bytes(message.payload))
            elif not message.retain:
                heard += 1
                if refusal := refusal_of(message.topic, bytes(message.payload)):
                    unread[refusal] += 1
                spoken.set()

    def acknowledged(_: int, refusal: str | None) -> None:
        if not answer.done():
            answer.set_result(refusal or "")

    link = Link(
        endpoint,
        will=None,
        on_message=take,
        on_acknowledged=acknowledged,
        max_packet_bytes=MAX_PACKET_BYTES,
    )
    facts = BrokerFacts(address=str(endpoint), protocol=endpoint.protocol)
    try:
        refused = await link.open((*filters, status_topic(gateway), own.topic))
        began_s = asyncio.get_running_loop().time()
        publish_refusal = await _publish(link, own, answer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(listen_s):
                await asyncio.gather(spoken.wait(), echoed.wait())
        return replace(
            facts,
            refused={each: refused[each] for each in filters if each in refused},
            publish_refusal=publish_refusal,
            echoed=echoed.is_set(),
            heard=heard,
            unread=dict(unread),
            listened_s=asyncio.get_running_loop().time() - began_s,
            status=status,
        )
    except BrokerError as error:
        return replace(facts, error=error.reason)
    finally:
        await link.goodbye()


def doctor_message(gateway: str) -> Publication:
    """What is published to learn whether one may: nobody's event, state or status."""
    note = "vskd doctor tries whether this gateway may publish; this can be ignored"
    payload = msgspec.json.encode({"schema": "vskd.doctor/1", "gateway": gateway, "note": note})
    return Publication(doctor_topic(gateway), payload)


async def _publish(link: Link, publication: Publication, answer: asyncio.Future[str]) -> str:
    """Why the broker did not take it; empty if it did."""
    if link.send(publication) is None:
        return "the connection had ended"
    await asyncio.wait((answer, link.lost), timeout=_ANSWERED_S, return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        return answer.result()
    return link.lost.result() if link.lost.done() else f"no answer within {_ANSWERED_S:g} s"


def _state(payload: bytes) -> str:
    try:
        state = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])["state"]
        text = msgspec.json.decode(state, type=str)
    except (ValueError, KeyError, RecursionError):
        return "not to be understood"
    return text if text in ("online", "stopped", "offline") else "not to be understood"
