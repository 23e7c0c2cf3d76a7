"""A connection through bleak: operations with time limits, notifications stamped as they come."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog
from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic

from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.failures import translated

MAX_WAITING = 1024
"""Notifications that may wait to be decoded, then the oldest give way: some seconds of any device."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Notification:
    """One value that a device has sent."""

    arrival_s: float
    """When it came, in UTC seconds."""
    steady_s: float
    """The same by a clock that is never set."""
    uuid: str
    """Of which characteristic, named as it was subscribed to."""
    data: bytearray


class BleakLink:
    """The ``Link`` of a connected client."""

    def __init__(
        self,
        client: BleakClient,
        *,
        device: str,
        lost: asyncio.Event,
        operation_s: float,
        utc_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] | None = None,
    ) -> None:
        """``lost`` is set by whoever made the client, when it ends; ``steady_s``: ``utc_s`` unless given."""
        self.lost = lost
        self.overrun = 0
        """Notifications that gave way to newer ones."""
        self._client = client
        self._device = device
        self._operation_s = operation_s
        self._utc_s = utc_s
        self._steady_s = steady_s or utc_s
        self._waiting: deque[Notification] = deque()
        self._arrived = asyncio.Event()

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic, as ``profile.Link`` says."""
        async with self._limited(f"reading {uuid}"):
            return bytes(await self._client.read_gatt_char(self._characteristic(uuid)))

    async def write(self, uuid: str, data: bytes, *, response: bool = True) -> None:
        """Write a characteristic, as ``profile.Link`` says."""
        async with self._limited(f"writing {uuid}"):
            await self._client.write_gatt_char(self._characteristic(uuid), data, response=response)

    async def subscribe(self, uuid: str) -> None:
        """Let notifications or indications in.

        Raises:
            LinkError: As for ``read``.
        """

        def stamp_and_append(_: BleakGATTCharacteristic, data: bytearray) -> None:
            self._append(uuid, data)

        async with self._limited(f"subscribing to {uuid}"):
            await self._client.start_notify(self._characteristic(uuid), stamp_and_append)

    async def unsubscribe(self, uuid: str) -> None:
        """End a subscription.

        Raises:
            LinkError: As for ``read``.
        """
        async with self._limited(f"unsubscribing from {uuid}"):
            await self._client.stop_notify(self._characteristic(uuid))

    async def poll(self, uuid: str) -> None:
        """Read a characteristic and take the value for a notification.

        Raises:
            LinkError: As for ``read``.
        """
        self._append(uuid, bytearray(await self.read(uuid)))

    async def arrivals(self) -> AsyncIterator[Notification]:
        """Every notification, in order, as soon as the event loop comes to it."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    async def close(self) -> None:
        """End the connection; one that has ended already only leaves its resources."""
        try:
            async with self._limited("disconnecting"):
                await self._client.disconnect()
        except LinkError as error:
            # It is over all the same: bleak has torn down its own side.
            _log.debug("disconnecting failed", device=self._device, reason=error.reason)

    def _append(self, uuid: str, data: bytearray) -> None:
        notification = Notification(self._utc_s(), self._steady_s(), uuid, data)
        if len(self._waiting) == MAX_WAITING:
            self._waiting.popleft()
            self.overrun += 1
        self._waiting.append(notification)
        self._arrived.set()

    def _characteristic(self, uuid: str) -> BleakGATTCharacteristic:
        service_uuid, _, characteristic_uuid = uuid.rpartition("/")
        services = self._client.services
        if service_uuid:
            service = services.get_service(service_uuid)
            found = service.get_characteristic(characteristic_uuid) if service else None
        else:
            found = services.get_characteristic(uuid)
        if found is None:
            # After a hurried discovery, too: the next connection discovers anew.
            raise LinkError(self._device, f"it has no characteristic {uuid}")
        return found

    @contextlib.asynccontextmanager
    async def _limited(self, what: str) -> AsyncIterator[None]:
        with translated(self._device, what):
            async with asyncio.timeout(self._operation_s):
                yield
