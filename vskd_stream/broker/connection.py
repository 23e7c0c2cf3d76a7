"""The one MQTT connection: connect, reconnect, last will; nothing of QoS 1 is lost while the daemon lives.

With a journal no event is lost when it dies, either.

Incoming messages are handed on as they are read from the socket. There is no queue: what cannot be
read yet waits in the kernel and at the broker, both bounded, so ``on_message`` only has to be quick.
Sessions start clean: samples that came while we were away are not asked for, they would be late.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from vskd_stream.backoff import Backoff
from vskd_stream.broker.link import Link
from vskd_stream.broker.outbox import Outbox
from vskd_stream.errors import BrokerError
from vskd_stream.publication import Request

if TYPE_CHECKING:
    from vskd_stream.broker._keeper import Report
    from vskd_stream.broker._wire import Incoming
    from vskd_stream.broker.endpoint import Endpoint
    from vskd_stream.broker.journal import Journal
    from vskd_stream.publication import Publication
    from vskd_stream.tally import Tally

MAX_PACKET_BYTES = 17 * 2**20
"""An MQTT 5 broker is told never to send more: the largest payload that may be configured, and room for
its topic. MQTT 3.1.1 has no words for this; there only the broker's own limit holds."""

_STABLE_S = 10.0
"""A connection that lasted so long ends the distrust: delays are short again, troubles are news again."""
_REPEAT_AFTER_S = 600.0
_DRAIN_S = 1.0
_TROUBLES = 64
"""Different troubles that are remembered; a broker that invents more is told of again."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Traffic:
    """What went over the connection since the start; what did not is in the ``Tally``."""

    connections: int = 0
    """Times that a broker has let us in."""
    received: int = 0
    """Messages that came, dropped ones included."""
    published: int = 0
    """Messages handed to the network, repetitions included."""
    acknowledged: int = 0
    """Messages of QoS 1 that a broker has taken."""


class MqttConnection:
    """Publishes and receives, through whatever happens to the broker.

    ``on_message(topic, payload)`` runs on the event loop; what it raises is counted. What comes on the
    topics of ``requests``, a filter that ends in ``/+``, goes to ``on_request`` instead. A retained message
    is older than our subscription and would pass for a live one: it is dropped. ``birth()`` is asked on
    every connection, and goes out before all that waits.

    The tally counts, outgoing: ``offline`` and ``congested`` (QoS 0), ``queue_full``, ``refused_by_broker``
    and ``undelivered`` (QoS 1), ``unpublishable``, and what the journal gives up (``outbox_...``); incoming:
    ``retained``, ``bad_topic``, ``handler_error``, ``stopping``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        will: Publication,
        subscriptions: Sequence[str],
        on_message: Callable[[str, bytes], None],
        birth: Callable[[], Iterable[Publication]],
        requests: str | None = None,
        on_request: Callable[[Request], None] = lambda _: None,
        max_queued: int,
        tally: Tally,
        journal: Journal | None = None,
        max_packet_bytes: int = MAX_PACKET_BYTES,
        backoff: Backoff | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``max_queued`` bounds the messages of QoS 1 that wait in memory; events wait in ``journal``."""
        self.connected = asyncio.Event()
        """Set while messages flow both ways."""
        self.traffic = Traffic()
        self._endpoint = endpoint
        self._will = will
        self._subscriptions = (*subscriptions, requests) if requests else tuple(subscriptions)
        self._requests = requests
        # No topic that is heard has a wildcard.
        self._asked_under = requests.removesuffix("+") if requests else "+"
        self._on_request = on_request
        self._on_message = on_message
        self._birth = birth
        self._tally = tally
        self._max_packet_bytes = max_packet_bytes
        self._backoff = backoff or Backoff()
        self._monotonic_s = monotonic_s
        self._outbox = Outbox(max_queued=max_queued, journal=journal)
        self._journal = journal
        if journal is not None:
            journal.on_report = self._journal_reports
        self._link: Link | None = None
        self._quiet = asyncio.Event()
        """Set while nothing is left to do: all has been acknowledged, or there is nobody to do so."""
        self._quiet.set()
        self._has_left = self._is_deaf = False
        self._closing = asyncio.Event()
        self._told_s: dict[tuple[str, str], float] = {}
        self._is_news = True

    @property
    def waiting(self) -> int:
        """Messages of QoS 1 that no broker has acknowledged yet."""
        return len(self._outbox)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the events that wait in the journal; 0 without one."""
        return 0 if self._journal is None else self._journal.size_bytes

    @property
    def replayed(self) -> int:
        """Events that were sent flagged as replayed."""
        return self._outbox.replayed

    @property
    def described(self) -> str:
        """How it stands, for a person."""
        return f"{'connected to' if self.connected.is_set() else 'waiting for'} {self._endpoint}"

    async def run(self) -> None:
        """Keep the connection until ``close``; if this is cancelled instead, the last will is published."""
        while not self._closing.is_set():
            event, reason = await self._live_once()
            if self._closing.is_set():
                return
            self._tell(event, reason)
            with contextlib.suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 may swallow a cancellation.
                async with asyncio.timeout(self._backoff.next_s()):
                    await self._closing.wait()

    async def follow(self, *, endpoint: Endpoint, will: Publication, subscriptions: Sequence[str]) -> None:
        """Listen to these topics from now on; endpoint and will are those of every later connection.

        Of topics that stay nothing is missed: what is new is subscribed to before the rest is left.
        """
        self._endpoint, self._will = endpoint, will
        if self._has_left:
            return
        before = self._subscriptions
        self._subscriptions = (*subscriptions, self._requests) if self._requests else tuple(subscriptions)
        if self._link is not None and self.connected.is_set():
            try:
                await self._listen(self._link, before)
            except BrokerError as error:
                # The next connection subscribes to all of them.
                self._link.abort(error.reason)

    def publish(self, publication: Publication) -> None:
        """Send, never blocking: QoS 0 now or not at all, QoS 1 in order until the broker has acknowledged."""
        if publication.qos == 1:
            if gave_way := self._outbox.put(publication):
                self._drop("queue_full", gave_way.topic)
            self._pump()
        elif self._link is None or not self.connected.is_set():
            self._drop("offline", publication.topic)
        else:
            self._send_now(self._link, publication)

    def greet(self, birth: Publication) -> None:
        """Send a later part of the birth: before all that waits, on this connection or not at all."""
        if self.connected.is_set():
            self._outbox.greet(birth)
            self._pump()

    async def leave(self) -> None:
        """Ask for nothing any more, on no connection; returns when what was on its way is heard."""
        self._has_left = True
        before, self._subscriptions = self._subscriptions, ()
        if self._link is not None and self.connected.is_set():
            await self._link.leave(before)

    def deafen(self) -> None:
        """Hear nothing any more: what still comes is dropped."""
        self._is_deaf = True

    async def close(self, farewell: Publication) -> None:
        """Take no more messages, give what waits a second to leave, say farewell, and let ``run`` end.

        The broker forgets the last will. Without a connection there is nobody to tell.
        """
        self._closing.set()
        link, out_of_turn = self._link, False
        if link is not None and self.connected.is_set():
            link.unsubscribe(self._subscriptions)
            self.publish(farewell)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await self._quiet.wait()
            if out_of_turn := farewell in self._outbox:
                link.send(farewell)
            await link.goodbye()
        elif link is not None:
            link.abort("closing")
        if undelivered := self._outbox.unstored - out_of_turn:
            self._drop("undelivered", "when the daemon stopped", count=undelivered)

    async def _live_once(self) -> tuple[str, str]:
        """From dialling to the end of one connection; what to tell about it."""
        link = self._link = Link(
            self._endpoint,
            will=self._will,
            on_message=self._receive,
            on_acknowledged=self._acknowledged,
            max_packet_bytes=self._max_packet_bytes,
        )
        try:
            subscriptions = self._subscriptions
            self._enter(await link.open(subscriptions, as_published=self._requests))
            await self._listen(link, subscriptions)
            since_s = self._monotonic_s()
            reason = await link.live()
            if self._monotonic_s() - since_s >= _STABLE_S:
                self._backoff.reset()
                self._told_s.clear()
        except BrokerError as error:
            return "no connection", error.reason
        else:
            return "connection lost", reason
        finally:
            self._leave(link)

    def _enter(self, refused: dict[str, str]) -> None:
        self.traffic.connections += 1
        self.connected.set()
        if self._is_news:
            self._is_news = False
            _log.info("connected", broker=str(self._endpoint))
        self._tell_refused(refused)
        self._outbox.connected()
        for birth in self._birth():
            if birth.qos == 1:
                self._outbox.greet(birth)
            else:
                self.publish(birth)
        self._pump()

    async def _listen(self, link: Link, before: Sequence[str]) -> None:
        """Go over from the subscriptions ``before`` to those that are wanted now."""
        wanted = self._subscriptions
        self._tell_refused(await link.subscribe([one for one in wanted if one not in before]))
        link.unsubscribe([one for one in before if one not in wanted])

    def _tell_refused(self, refused: dict[str, str]) -> None:
        for subscription, reason in refused.items():
            self._tell("subscription refused", f"{subscription}: {reason}")

    def _leave(self, link: Link) -> None:
        link.abort("no longer wanted")
        self._link = None
        self.connected.clear()
        self._outbox.disconnected()
        self._quiet.set()

    def _pump(self) -> None:
        """Send what waits, as far as the broker takes it before it has acknowledged what came before."""
        link = self._link
        if link is None or not self.connected.is_set():
            return
        while self._outbox.in_flight < link.window and (head := self._outbox.head()) is not None:
            try:
                mid = link.send(head)
            except ValueError as error:
                self._drop("unpublishable", f"{self._outbox.discard().topic}: {error}")
                continue
            if mid is None:
                break
            self._outbox.sent(mid)
            self.traffic.published += 1
        if len(self._outbox):
            self._quiet.clear()
        else:
            self._quiet.set()

    def _send_now(self, link: Link, publication: Publication) -> None:
        try:
            mid = link.send(publication)
        except ValueError as error:
            self._drop("unpublishable", f"{publication.topic}: {error}")
            return
        if mid is None:
            self._drop("congested", publication.topic)
        else:
            self.traffic.published += 1

    def _acknowledged(self, mid: int, refusal: str | None) -> None:
        publication = self._outbox.acknowledged(mid)
        if publication is None:
            return
        if refusal is None:
            self.traffic.acknowledged += 1
        else:
            self._drop("refused_by_broker", f"{publication.topic}: {refusal}")
        self._pump()

    def _journal_reports(self, report: Report) -> None:
        for drop in self._outbox.take(report):
            self._drop(drop.reason, drop.detail, count=drop.count)
        self._pump()

    def _receive(self, message: Incoming) -> None:
        self.traffic.received += 1
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            self._drop("bad_topic", str(error))
            return
        if message.retain:
            self._drop("retained", topic)
            return
        if self._is_deaf:
            self._drop("stopping", topic)
            return
        try:
            if topic.startswith(self._asked_under) and "/" not in topic.removeprefix(self._asked_under):
                self._on_request(_request(topic, message))
            else:
                self._on_message(topic, message.payload)
        except Exception as error:  # noqa: BLE001 (one message must not cost the connection)
            self._drop("handler_error", f"{topic}: {error!r}")
            _log.debug("handler_error", topic=topic, exc_info=True)

    def _drop(self, reason: str, detail: str, *, count: int = 1) -> None:
        self._tally.drop(str(self._endpoint), reason, detail, count=count)

    def _tell(self, event: str, reason: str) -> None:
        """Warn of a trouble once, and of the same again only when it lasts."""
        now_s = self._monotonic_s()
        if now_s - self._told_s.get((event, reason), -math.inf) < _REPEAT_AFTER_S:
            return
        if len(self._told_s) >= _TROUBLES:
            self._told_s.clear()
        self._told_s[event, reason] = now_s
        self._is_news = True
        _log.warning(event, broker=str(self._endpoint), reason=reason)


def _request(topic: str, message: Incoming) -> Request:
    # On MQTT 3.1.1 there are no properties at all.
    told = message.properties
    response_topic = getattr(told, "ResponseTopic", None)
    return Request(topic, bytes(message.payload), response_topic, getattr(told, "CorrelationData", None))
