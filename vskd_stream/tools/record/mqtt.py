"""Records what a broker lets us hear: nothing is changed and nothing chosen.

What the daemon would have received is what a replay receives; only messages that the daemon would not
take either are left out, and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from vskd_stream.backoff import Backoff
from vskd_stream.broker.connection import MAX_PACKET_BYTES
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.broker.link import Link
from vskd_stream.errors import BrokerError
from vskd_stream.recording import Message
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tools.record.harvest import Taker

if TYPE_CHECKING:
    from vskd_stream.broker._wire import Incoming

_RECONNECT_CAP_S = 2.5

_log = structlog.get_logger()


async def record(
    taker: Taker,
    *,
    endpoint: Endpoint,
    filters: Sequence[str],
    reader: MqttReader,
    begun: Callable[[], None] = lambda: None,
    backoff: Backoff | None = None,
    utc_s: Callable[[], float] = time.time,
) -> None:
    """Record what comes on ``filters`` until ``taker.stop`` is set, also beyond losses of the broker.

    Args:
        taker: Takes the messages.
        endpoint: The broker, under an id that nobody else has.
        filters: Topic filters to subscribe to.
        reader: Tells whose payloads these are.
        begun: Called when the broker has first let us in.
        backoff: Pauses between attempts to reconnect.
        utc_s: The host's clock, in UTC seconds.

    Raises:
        BrokerError: The first connection failed, or every filter was refused.
    """
    harvest = taker.harvest
    backoff = backoff or Backoff(cap_s=_RECONNECT_CAP_S)

    def received(message: Incoming) -> None:
        # Nothing is raised: paho would take that for a fault of the connection.
        if taker.stop.is_set():
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            harvest.left_out["bad_topic"] += 1
            return
        if message.retain:
            # Older than the recording: the daemon would not take it for a sample of now either.
            harvest.left_out["retained"] += 1
            return
        payload = bytes(message.payload)
        if taker.take(Message(utc_s(), topic, payload)):
            taker.count(lambda: reader.read(topic, payload))

    def entered(refused: dict[str, str]) -> None:
        for topic_filter, reason in refused.items():
            _log.warning("subscription refused", topic=topic_filter, reason=reason)
        if harvest.connections == 0 and len(refused) == len(set(filters)):
            raise BrokerError(str(endpoint), "it lets us hear none of " + ", ".join(filters))
        harvest.connections += 1
        backoff.reset()
        if harvest.connections == 1:
            begun()
        _log.info("recording", broker=str(endpoint))

    async def keep() -> None:
        while True:
            try:
                reason = await _listen(endpoint, filters, received=received, entered=entered)
            except BrokerError as error:
                if harvest.connections == 0:
                    raise
                reason = error.reason
            _log.warning("connection lost", broker=str(endpoint), reason=reason)
            await asyncio.sleep(backoff.next_s())

    keeping = asyncio.create_task(keep(), name="record")
    stopped = asyncio.create_task(taker.stop.wait(), name="stop")
    try:
        await asyncio.wait({keeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
    finally:
        stopped.cancel()
        keeping.cancel()
        await asyncio.wait({keeping, stopped})


async def _listen(
    endpoint: Endpoint,
    filters: Sequence[str],
    *,
    received: Callable[[Incoming], None],
    entered: Callable[[dict[str, str]], None],
) -> str:
    """One connection; why it ended."""
    link = Link(
        endpoint,
        will=None,
        on_message=received,
        on_acknowledged=lambda _, __: None,
        max_packet_bytes=MAX_PACKET_BYTES,
    )
    try:
        entered(await link.open(filters))
        return await link.live()
    finally:
        await link.goodbye()
