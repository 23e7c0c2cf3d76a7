"""A connection through bleak: operations with time limits, notifications stamped as they come.

Whatever bleak, D-Bus or the system raise comes out as ``LinkError``: above this file a link works or
it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import structlog
from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)

from vskd_stream.errors import LinkError

MAX_WAITING = 1024
"""Notifications that may wait to be decoded, then the oldest give way: some seconds of any device."""

_UNPAIRED = {
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHORIZATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION_KEY_SIZE,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
}
_PAIR = (
    "the device demands pairing; pair it once, with `bluetoothctl`: scan on, pair ADDRESS, trust ADDRESS "
    "(docs/bluetooth.md)"
)

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


def is_cancelled() -> bool:
    """Whether this task was cancelled, even if a library has swallowed it: then nothing new is begun."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextlib.contextmanager
def translated(device: str, what: str) -> Iterator[None]:
    """Turn what a Bluetooth stack raises into a ``LinkError`` that says what was being done."""
    try:
        yield
    except LinkError:
        raise
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        # A library's own: it cancels what still waits when a connection or a bus ends.
        raise LinkError(device, f"{what} failed: the connection ended") from None
    except TimeoutError:
        raise LinkError(device, f"{what} took too long") from None
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        reason = f"{what} failed: the system's D-Bus cannot be reached; BlueZ (bluetoothd) must run here"
        raise LinkError(device, reason) from None
    except Exception as error:
        if _wants_pairing(error):
            raise LinkError(device, f"{what} failed: {_PAIR}") from None
        # bleak has its own errors, D-Bus has others, and a vanished bus shows as an assertion or a KeyError.
        raise LinkError(device, f"{what} failed: {_words(error)}"[:300]) from error


def _wants_pairing(error: Exception) -> bool:
    if isinstance(error, BleakGATTProtocolError):
        return error.code in _UNPAIRED
    # BlueZ says it in words, and bleak leaves them as they are.
    return isinstance(error, BleakDBusError) and (
        error.dbus_error.startswith("org.bluez.Error.Authentication")
        or (error.dbus_error == "org.bluez.Error.NotPermitted" and error.dbus_error_details == "Not paired")
    )


def _words(error: Exception) -> str:
    if isinstance(error, BleakBluetoothNotAvailableError):
        # Its text has its reason in it, as Python prints it.
        return str(error.args[0])
    return str(error) if isinstance(error, BleakError) else repr(error)
