"""A radio world without a radio: peripherals and hosts on Bumble's virtual controllers, in one event loop.

HCI, L2CAP, ATT and GATT are Bumble's real ones; what is not there is the air. Faults are injected by
the peripherals themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bumble import data_types, hci
from bumble.att import Attribute
from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData, PhysicalTransport
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

_ADVERTISING_INTERVAL_MS = 30
_PERMISSIONS = Attribute.READABLE | Attribute.WRITEABLE
_PRIVATE = Attribute.READ_REQUIRES_ENCRYPTION | Attribute.WRITE_REQUIRES_ENCRYPTION


class _Air(LocalLink):
    """Delivers data under the address that the connection was made with, not the sender's latest one."""

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection is None or receiver is None:
            return
        source = connection.self_address
        asyncio.get_running_loop().call_soon(lambda: receiver.on_link_acl_data(source, transport, data))


class World:
    """One place in which everybody hears everybody."""

    def __init__(self) -> None:
        self.air = _Air()
        self.rssi_dbm: dict[str, int] = {}
        """Signal strength by address; -50 unless told."""
        self._devices: list[Device] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in self._devices:
            for connection in list(device.connections.values()):
                with contextlib.suppress(Exception):
                    await connection.disconnect()
            with contextlib.suppress(Exception):
                await device.stop_advertising()

    def device(self, name: str, address: str) -> Device:
        """A Bluetooth device with a controller of its own."""
        controller = Controller(name, link=self.air)
        # Bumble answers a connection command of newer hosts with the event of older ones.
        controller.le_features &= ~(hci.LeFeatureMask.LL_PRIVACY | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING)
        device = Device.from_config_with_hci(
            DeviceConfiguration(
                name=name,
                address=hci.Address(address, hci.Address.RANDOM_DEVICE_ADDRESS),
                le_enabled=True,
                classic_enabled=False,
                advertising_interval_min=_ADVERTISING_INTERVAL_MS,
                advertising_interval_max=_ADVERTISING_INTERVAL_MS,
            ),
            controller,
            AsyncPipeSink(controller),
        )
        self._devices.append(device)
        return device

    def spawn(self, work: Any) -> None:
        """Run a coroutine for as long as the world lasts."""
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class Faults:
    """What goes wrong with notifications, decided by one seeded generator."""

    loss: float = 0.0
    """Part of the notifications that never leave."""
    repeats: float = 0.0
    """Part of them that leave twice."""
    garbage: float = 0.0
    """Part of them after which random bytes follow."""
    frozen: bool = False
    """Nothing leaves any more, but the connection stays."""
    random: random.Random = field(default_factory=lambda: random.Random(5))


@dataclass(frozen=True, slots=True)
class Char:
    """One characteristic of a simulated device."""

    uuid: str
    properties: str
    """Of "read", "write", "write_without_response", "notify" and "indicate", with commas between."""
    read: Callable[[], bytes] | None = None
    write: Callable[[bytes], Any] | None = None
    """Takes what was written; may be a coroutine function."""
    is_private: bool = False
    """Whether only a paired computer may read or write it."""


class Peripheral:
    """A simulated device: it advertises, takes one connection, and notifies while somebody listens."""

    def __init__(
        self,
        world: World,
        *,
        name: str,
        address: str,
        services: Mapping[str, Sequence[Char]],
        advertised: Sequence[str] = (),
    ) -> None:
        """``services``: characteristics by service UUID; ``advertised``: 31 bytes hold one of 128 bits."""
        self.name = name
        self.address = address
        self.faults = Faults()
        self.connections = 0
        """Connections so far."""
        self.subscriptions: set[str] = set()
        """UUIDs of the characteristics that somebody listens to."""
        self.sent = 0
        """Notifications that left, or would have but for a fault."""
        self._world = world
        self._device = world.device(name, address)
        self._hidden = False
        self._connection: Connection | None = None
        self._characteristics: dict[str, Characteristic[Any]] = {}
        self._device.advertising_data = bytes(_advertising_data(name, advertised))
        self._device.add_services(
            [
                Service(uuid, [self._characteristic(char) for char in characteristics])
                for uuid, characteristics in services.items()
            ]
        )
        self._device.on("connection", self._connected)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def start(self) -> None:
        """Switch on."""
        await self._device.power_on()
        await self._device.start_advertising()
        self._world.spawn(self.run())

    async def run(self) -> None:
        """What the device does all the time, for subclasses; nothing."""

    async def drop(self) -> None:
        """End the connection, as a device does that goes out of range; it advertises at once."""
        if self._connection is not None:
            await self._connection.disconnect()

    async def hide(self) -> None:
        """Go away."""
        self._hidden = True
        await self.drop()
        await self._device.stop_advertising()

    async def show(self) -> None:
        """Come back."""
        self._hidden = False
        await self._device.start_advertising()

    async def notify(self, uuid: str, data: bytes) -> None:
        """Notify, unless nobody listens or a fault intervenes."""
        connection = self._connection
        if connection is None or uuid not in self.subscriptions:
            return
        self.sent += 1
        faults = self.faults
        if faults.frozen or faults.random.random() < faults.loss:
            return
        packets = [data] * (2 if faults.random.random() < faults.repeats else 1)
        if faults.random.random() < faults.garbage:
            packets.append(faults.random.randbytes(faults.random.randint(0, 40)))
        for packet in packets:
            await self._device.notify_subscriber(connection, self._characteristics[uuid], packet)

    async def indicate(self, uuid: str, data: bytes) -> None:
        """Indicate, unless nobody listens."""
        if self._connection is not None and not self.faults.frozen:
            # Nobody confirms what was indicated when the connection ended.
            with contextlib.suppress(TimeoutError):
                await self._device.indicate_subscriber(self._connection, self._characteristics[uuid], data)

    def _characteristic(self, char: Char) -> Characteristic[Any]:
        read, write = char.read, char.write
        value = CharacteristicValue(
            read=lambda _: read() if read else b"",
            write=lambda _, data: write(bytes(data)) if write else None,
        )
        properties = Characteristic.Properties.from_string(char.properties.upper())
        permissions = _PERMISSIONS | (_PRIVATE if char.is_private else 0)
        made = Characteristic(char.uuid, properties, permissions, value)
        made.on(
            "subscription",
            lambda _, notify, indicate: self._subscribed(char.uuid, is_on=bool(notify or indicate)),
        )
        self._characteristics[char.uuid] = made
        return made

    def _subscribed(self, uuid: str, *, is_on: bool) -> None:
        (self.subscriptions.add if is_on else self.subscriptions.discard)(uuid)

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        self.connections += 1
        connection.on("disconnection", self._disconnected)

    def _disconnected(self, _: int) -> None:
        self._connection = None
        self.subscriptions.clear()
        if not self._hidden:
            self._world.spawn(self._device.start_advertising())


def _advertising_data(name: str, advertised: Sequence[str]) -> AdvertisingData:
    parts: list[Any] = [
        data_types.Flags(
            AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE | AdvertisingData.Flags.BR_EDR_NOT_SUPPORTED
        ),
        data_types.CompleteLocalName(name),
    ]
    for uuids, kind in (
        ([UUID(each) for each in advertised if len(each) == 4], data_types.CompleteListOf16BitServiceUUIDs),
        ([UUID(each) for each in advertised if len(each) > 4], data_types.CompleteListOf128BitServiceUUIDs),
    ):
        if uuids:
            parts.append(kind(uuids))
    return AdvertisingData(parts)
