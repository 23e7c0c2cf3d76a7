"""One connection to a broker, from dialling to its end: paho's protocol machine on our event loop.

paho is driven through the interface that it offers to foreign event loops. The socket is made here: paho
would block the loop for seconds while dialling, and never close one whose TLS failed. And messages
themselves pass it by (``_wire``), at a tenth of the cost; all else that MQTT says goes through paho.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from vskd_stream.broker import _paho, _wire
from vskd_stream.broker._properties import properties_of, subscribe_options
from vskd_stream.broker.dial import dial, explain
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.errors import BrokerError
from vskd_stream.publication import Publication

_WINDOW = 20
"""QoS 1 messages that may await their acknowledgement at once; a broker may ask for fewer."""
_MAX_UNSENT_BYTES = 2**20
"""What may wait for a slow socket before messages of QoS 0 are dropped."""
_DIALLED_S = 30.0
"""``dial`` minds its own time; this is for a resolver that never answers."""
_ANSWER_S = 10.0
_GOODBYE_S = 0.5
_TICK_S = 1.0
_FAILURE = 0x80
"""Reason codes from here on are refusals."""
_HEADER_BYTES = 16
"""What MQTT adds to topic and payload, at most."""
_READ_BYTES = 2**18
"""Asked of the socket at once: nearly always all that waits."""
_BURST = 32
"""Packets taken from what was read before the rest of the loop gets its turn."""
_GATHER_S, _GATHER_EACH_S, _GATHER_MOST_S = 0.020, 0.001, 0.040
"""For so long a socket that had messages of QoS 0 alone is not read again, for longer where it had many:
thirty at once cost three tenths less than four each time, whose code and data have left the caches meanwhile.
What comes more seldom than this is not kept waiting, nor is anybody who waits for an answer."""

_HINTS = {
    "Not authorized": " (wrong username or password, or none given?)",
    "Bad user name or password": " (wrong username or password?)",
    "Session taken over": " (does another gateway have the same name?)",
    "Unsupported protocol version": " (try the other `protocol`)",
}

_T = TypeVar("_T")


class Link:
    """A connection that lives once: ``open``, then ``live`` until it is ``lost``."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        will: Publication | None,
        on_message: Callable[[_wire.Incoming], None],
        on_acknowledged: Callable[[int, str | None], None],
        max_packet_bytes: int,
    ) -> None:
        """``on_acknowledged(id, refusal)`` tells that the broker has taken a QoS 1 message, or why not."""
        self.window = _WINDOW
        """QoS 1 messages that this broker takes at once."""
        self.max_publication_bytes = 2**28
        """The largest message that this broker takes; MQTT's own bound unless it said otherwise."""
        self._endpoint = endpoint
        self._is_v5 = endpoint.protocol == "5"
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._max_packet_bytes = max_packet_bytes
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Done when the connection has ended; why, for a person."""
        self._dialled: asyncio.Future[Exception | None] = self._loop.create_future()
        self._accepted: asyncio.Future[str | None] = self._loop.create_future()
        self._subscribed: asyncio.Future[Sequence[ReasonCode]] = self._loop.create_future()
        self._goes_on: asyncio.Handle | None = None
        self._gathering: asyncio.TimerHandle | None = None
        """While it is set, the socket tells nothing."""
        self._is_urgent = False
        """Whether what was read last asks for an answer, is one that others wait for, or is not all of it."""
        self._unacknowledged = 0
        """Messages of QoS 1 that were sent."""
        self._packets = _wire.Packets()
        self._taken = 0
        """Packets of what was read last."""
        self._has_more = False
        """Whether packets may be whole that were not taken."""
        self._unsent: list[bytes] = []
        """Messages of this turn of the loop: they leave together when it ends."""
        self._unsent_bytes = 0
        self._complaints = _paho.Complaints()
        self._client = self._make_client(will)

    async def open(self, subscriptions: Sequence[str], *, as_published: str | None = None) -> dict[str, str]:
        """Connect, and subscribe with QoS 1; returns the filters that the broker refused, and why.

        ``as_published`` is the one of them whose messages shall tell whether they were sent to be retained
        (MQTT 5; else only one that was kept says so), and of which our own are not wanted.

        Raises:
            BrokerError: it came to nothing; the reason is for a person.
        """
        threading.Thread(target=self._dial, name="mqtt-dial", daemon=True).start()
        if error := await self._answer(self._dialled, "connection", within_s=_DIALLED_S):
            raise BrokerError(str(self._endpoint), explain(error))
        self._introduce()
        if refusal := await self._answer(self._accepted, "answer to our CONNECT", within_s=_ANSWER_S):
            raise BrokerError(str(self._endpoint), refusal)
        return await self.subscribe(subscriptions, as_published=as_published)

    async def subscribe(
        self, subscriptions: Sequence[str], *, as_published: str | None = None
    ) -> dict[str, str]:
        """Subscribe to more, one call at a time; otherwise as ``open``."""
        if not subscriptions:
            return {}
        self._subscribed = self._loop.create_future()
        if self._is_v5:
            self._client.subscribe(
                [(one, subscribe_options(special=one == as_published)) for one in subscriptions]
            )
        else:
            self._client.subscribe([(one, 1) for one in subscriptions])
        codes = await self._answer(self._subscribed, "answer to our SUBSCRIBE", within_s=_ANSWER_S)
        return {one: str(code) for one, code in zip(subscriptions, codes, strict=False) if code.is_failure}

    async def live(self) -> str:
        """Show signs of life until the connection ends; why it did."""
        while not self.lost.done():
            self._client.loop_misc()
            await asyncio.wait((self.lost,), timeout=_TICK_S)
        return self.lost.result()

    def send(self, publication: Publication) -> int | None:
        """Hand a message over; its id, which the acknowledgement will name, or None if there is no room.

        Of QoS 0, which nobody acknowledges, the id is 0.

        Raises:
            ValueError: this broker will never take it: it is too large, or no topic to publish on.
        """
        topic = _wire.topic_bytes(publication.topic)
        properties = properties_of(publication, PacketTypes.PUBLISH)[1] if self._is_v5 else b""
        size_bytes = len(publication.payload) + len(topic) + len(properties) + _HEADER_BYTES
        if size_bytes > self.max_publication_bytes:
            raise ValueError(f"{size_bytes} bytes; the broker takes {self.max_publication_bytes}")
        waiting_bytes = self._unsent_bytes + self._client.unsent_bytes
        if self.lost.done() or (publication.qos == 0 and waiting_bytes > _MAX_UNSENT_BYTES):
            return None
        mid = self._client.new_id() if publication.qos else None
        self._unacknowledged += publication.qos
        if self._is_full:
            self._listen()
        retain = publication.retain
        self._put(_wire.publish(topic, publication.payload, mid=mid, retain=retain, properties=properties))
        return mid or 0

    def unsubscribe(self, subscriptions: Sequence[str]) -> None:
        """Ask for silence: a socket closed with data unread resets the connection, farewell and all."""
        if subscriptions and not self.lost.done():
            self._client.unsubscribe(list(subscriptions))

    async def leave(self, subscriptions: Sequence[str]) -> None:
        """Unsubscribe; returns when the broker has, and what it sent before that was heard."""
        if not subscriptions or self.lost.done():
            return
        left = self._loop.create_future()
        asked = self._client.unsubscribe(list(subscriptions))[1]

        def answered(_client: Any, _userdata: Any, mid: int, _codes: Any, _properties: Any) -> None:
            if mid == asked and not left.done():
                left.set_result(None)

        self._client.on_unsubscribe = answered
        await asyncio.wait((left, self.lost), return_when=asyncio.FIRST_COMPLETED)

    async def goodbye(self) -> None:
        """Disconnect in order, so that the broker forgets the last will."""
        if not self.lost.done():
            self._flush()
            self._client.disconnect()
            await asyncio.wait((self.lost,), timeout=_GOODBYE_S)
        self.abort("disconnected")

    def abort(self, reason: str) -> None:
        """Drop the connection at once, as a crash would: the broker publishes the last will."""
        if not self.lost.done():
            self.lost.set_result(reason)
        self._detach()
        # Until it is collected the client must touch no descriptor: the number may be someone else's by then.
        self._client.on_socket_register_write = None
        self._client.on_socket_unregister_write = None
        self._client.on_socket_close = None
        self._client.on_disconnect = None
        self._client.hang_up()

    def _make_client(self, will: Publication | None) -> _paho.Client:
        client = _paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._endpoint.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages = 0  # Without bound: the window is ours, and paho shall queue nothing.
        client.enable_logger(self._complaints)
        if will is not None:
            properties = properties_of(will, PacketTypes.WILLMESSAGE)[0] if self._is_v5 else None
            client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _client, _userdata, message: self._on_message(_message(message))
        client.on_socket_close = lambda *_: self._detach()
        client.on_socket_register_write = self._on_pending
        client.on_socket_unregister_write = self._on_all_sent
        return client

    def _dial(self) -> None:
        """In a thread of its own: a pool's threads are joined at exit, and a dead address takes its time."""
        connection: socket.socket | None = None
        error: Exception | None = None
        try:
            connection = dial(self._endpoint)
        except Exception as caught:  # noqa: BLE001 (all of it is a reason, told on the loop)
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._take, connection, error)
        except RuntimeError:  # The loop has ended.
            if connection is not None:
                connection.close()

    def _take(self, connection: socket.socket | None, error: Exception | None) -> None:
        if connection is not None:
            self._client.take(connection)
        if self.lost.done():
            self._client.hang_up()
        elif not self._dialled.done():
            self._dialled.set_result(error)

    def _introduce(self) -> None:
        options: dict[str, Any] = {}
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = self._max_packet_bytes
            options = {"clean_start": True, "properties": properties}
        self._client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s, **options)
        self._loop.add_reader(self._client.descriptor, self._readable)

    async def _answer(self, future: asyncio.Future[_T], what: str, *, within_s: float) -> _T:
        await asyncio.wait((future, self.lost), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        reason = self.lost.result() if self.lost.done() else f"no {what} within {within_s:g} s"
        raise BrokerError(str(self._endpoint), reason)

    def _readable(self) -> None:
        if self._goes_on is not None:
            # The socket has more, but what was read of it comes first, and its turn is given out.
            return
        try:
            if not self._has_more:
                data = self._client.read(_READ_BYTES)
                self._is_urgent = data is None or len(data) == _READ_BYTES or self._client.is_piecemeal
                self._taken = 0
                if data is not None:
                    self._packets.feed(data)
            self._has_more = self._take_packets()
        except Exception as error:  # noqa: BLE001 (what a broker sends must not end the daemon)
            self.abort(f"a packet that paho cannot read: {error!r}")
        if self.lost.done():
            return
        if self._has_more or self._client.has_pending():
            # The rest is not in the socket any more, which therefore will not tell.
            self._goes_on = self._loop.call_soon(self._readable_again)
        elif not self._is_urgent and not self._is_full:
            if self._gathering is None:
                self._loop.remove_reader(self._client.descriptor)
            gather_s = min(max(_GATHER_S, self._taken * _GATHER_EACH_S), _GATHER_MOST_S)
            self._gathering = self._loop.call_later(gather_s, self._readable)
        else:
            self._listen()

    def _listen(self) -> None:
        """Read as soon as there is anything, if that was put off."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
            self._loop.add_reader(self._client.descriptor, self._readable)

    @property
    def _is_full(self) -> bool:
        """Whether messages may wait until the broker has acknowledged some."""
        return self._unacknowledged >= self.window

    def _readable_again(self) -> None:
        self._goes_on = None
        if not self.lost.done():
            self._readable()

    def _take_packets(self) -> bool:
        """Take some of the packets that are whole; whether there may be more."""
        for _ in range(_BURST):
            if (found := self._packets.next()) is None:
                return False
            self._taken += 1
            packet, body = found
            kind = packet[0] & 0xF0
            if kind == _wire.PUBLISH and (taken := _wire.message_of(packet, body, is_v5=self._is_v5)):
                message, mid = taken
                self._on_message(message)
                if mid is not None:
                    self._is_urgent = True
                    self._put(_wire.puback(mid))
            elif kind == _wire.PUBACK and len(packet) >= body + 2:
                self._take_acknowledgement(packet[body:])
            else:
                self._is_urgent = True
                self._client.take_packet(packet)
            if self.lost.done():
                return False
        return True

    def _take_acknowledgement(self, body: bytes) -> None:
        self._unacknowledged -= 1
        refusal = None
        if len(body) > 2 and body[2] >= _FAILURE:
            refusal = str(ReasonCode(PacketTypes.PUBACK, identifier=body[2]))
        self._on_acknowledged(int.from_bytes(body[:2], "big"), refusal)

    def _put(self, packet: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packet)
        self._unsent_bytes += len(packet)

    def _flush(self) -> None:
        """Have what has gathered sent, in one piece: a call of the system costs more than a message."""
        if self._unsent and not self.lost.done():
            packets = b"".join(self._unsent)
            self._unsent.clear()
            self._unsent_bytes = 0
            self._client.write(packets)

    def _writable(self) -> None:
        self._client.loop_write()

    def _detach(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
        if self._client.descriptor >= 0:
            self._loop.remove_reader(self._client.descriptor)
            self._loop.remove_writer(self._client.descriptor)

    def _on_pending(self, *_: Any) -> None:
        self._loop.add_writer(self._client.descriptor, self._writable)

    def _on_all_sent(self, *_: Any) -> None:
        self._loop.remove_writer(self._client.descriptor)

    def _on_connect(
        self, _client: Any, _userdata: Any, _flags: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._accepted.done():
            return
        self.window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
        self.max_publication_bytes = getattr(properties, "MaximumPacketSize", self.max_publication_bytes)
        self._accepted.set_result(f"refused: {code}{_HINTS.get(str(code), '')}" if code.is_failure else None)

    def _on_disconnect(
        self, _client: Any, _userdata: Any, flags: paho.DisconnectFlags, code: ReasonCode, _properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            reason = f"ended by the broker: {code}{_HINTS.get(str(code), '')}"
        elif self._complaints.last is not None:
            reason = explain(self._complaints.last)
        elif str(code) == "Keep alive timeout":
            reason = f"no sign of life from the broker for {self._endpoint.keepalive_s} s"
        elif self._accepted.done():
            reason = f"closed by the broker; if this repeats, someone else may be {self._endpoint.client_id}"
        else:
            spoken = f"MQTT {self._endpoint.protocol} {'with' if self._endpoint.tls else 'without'} TLS"
            reason = f"closed by the broker before it answered; does it speak {spoken} on this port?"
        self.abort(reason)

    def _on_subscribe(
        self, _client: Any, _userdata: Any, _mid: int, codes: Sequence[ReasonCode], _properties: Any
    ) -> None:
        if not self._subscribed.done():
            self._subscribed.set_result(codes)


def _message(message: paho.MQTTMessage) -> _wire.Incoming:
    return _wire.Incoming(
        message._topic,  # noqa: SLF001 (as it came: it may be no text)
        bytes(message.payload),
        retain=message.retain,
        properties=message.properties,
    )
