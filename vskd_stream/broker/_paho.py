"""paho's client for a socket that we made, read and write: it is given every packet but messages."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import Any

import paho.mqtt.client as paho

from vskd_stream.broker import _wire


class Client(paho.Client):
    """paho's client, on a connection that was made for it, and for all packets but messages."""

    connection: socket.socket | None = None
    descriptor = -1
    _given = b""
    _failure: OSError | None = None

    def take(self, connection: socket.socket) -> None:
        self.connection = connection
        self.descriptor = connection.fileno()

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.descriptor = -1

    def read(self, size: int) -> bytes | None:
        """At most so many bytes of what the socket has; None if that is nothing.

        Where it has ended, or failed, paho is told.
        """
        if self._sock is None:
            return None
        try:
            if data := super()._sock_recv(size):
                return data
        except BlockingIOError:
            return None
        except OSError as error:
            self._failure = error
        self.take_packet(b"")
        return None

    @property
    def is_piecemeal(self) -> bool:
        """Whether what is read at once may be less than there is: TLS gives a record each time."""
        return isinstance(self.connection, ssl.SSLSocket)

    def has_pending(self) -> bool:
        """Whether the TLS layer holds back what it has read."""
        return isinstance(self.connection, ssl.SSLSocket) and self.connection.pending() > 0

    def take_packet(self, packet: bytes) -> None:
        """Have paho read a whole packet; nothing: the end."""
        self._given = packet
        if self._sock is not None and (code := self._packet_read()) > 0:
            self._loop_rc_handle(code)

    def new_id(self) -> int:
        """An id for a message, which no packet of paho's has."""
        return self._mid_generate()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the socket."""
        return sum(packet["to_process"] for packet in self._out_packet) if self._out_packet else 0

    def write(self, data: bytes) -> None:
        """Send whole packets, behind all that waits."""
        # As a PUBLISH of QoS 1: of one of QoS 0 paho would tell that it was sent.
        self._out_packet.append(
            {
                "command": _wire.PUBLISH,
                "mid": 0,
                "qos": 1,
                "pos": 0,
                "to_process": len(data),
                "packet": data,
                "info": None,
            }
        )
        self.loop_write()

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        data, self._given = self._given[:bufsize], self._given[bufsize:]
        return data

    def _create_socket(self) -> socket.socket:
        assert self.connection is not None
        return self.connection


class Complaints(logging.Logger):
    """Keeps the last error that paho met on the socket: it tells that to its logger, and nowhere else."""

    def __init__(self) -> None:
        super().__init__("paho")
        self.last: Exception | None = None

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ARG002 (its name)
        if level >= logging.ERROR:
            self.last = next((one for one in args if isinstance(one, Exception)), self.last)
