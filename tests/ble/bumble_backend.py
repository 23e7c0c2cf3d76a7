"""bleak's front over a Bumble host: ``BleakClient`` and ``BleakScanner`` without D-Bus or a radio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from bleak.backends.characteristic import BleakGATTCharacteristic, GattCharacteristicsFlags
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDeviceNotFoundError,
    BleakError,
)
from bumble import hci
from bumble.core import UUID, AdvertisingData, PhysicalTransport
from bumble.device import Advertisement, Connection, Peer

from tests.ble.world import World
from vskd_stream.sources.ble.radio import Backends

_BASE_UUID = "0000{}-0000-1000-8000-00805f9b34fb"


def uuid_text(uuid: UUID) -> str:
    """128 bits, lower case."""
    digits = uuid.to_hex_str("-").lower()
    return _BASE_UUID.format(digits) if len(digits) == 4 else digits


def advertised_name(data: AdvertisingData) -> str | None:
    """The name in an advertisement."""
    names = data.get_all(AdvertisingData.COMPLETE_LOCAL_NAME, raw=False)
    return str(names[0]) if names else None


def advertised_uuids(data: AdvertisingData) -> list[str]:
    """The services in an advertisement."""
    kinds = (
        AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
        AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
    )
    found: list[Any] = [uuids for kind in kinds for uuids in data.get_all(kind, raw=False)]
    return [uuid_text(each) for uuids in found for each in uuids]


class Host:
    """An adapter: a Bumble device as the central, and whether it is switched on."""

    def __init__(self, world: World, *, address: str = "C0:00:00:00:00:01") -> None:
        self.world = world
        self.device = world.device("host", address)
        self.connecting = asyncio.Lock()
        self.scanning = 0
        self.powered = True
        self.stalled = False
        """Like a bluetoothd that has died: notifications stop, and nobody is told."""
        self.overlaps = 0
        """Times that a scan and a connection attempt met: BlueZ would have failed one of them."""
        self.connected = 0
        """Connections that clients have open."""

    async def start(self) -> None:
        await self.device.power_on()

    async def switch_off(self) -> None:
        """Lose all connections and refuse everything."""
        self.powered = False
        for connection in list(self.device.connections.values()):
            await connection.disconnect()

    def switch_on(self) -> None:
        self.powered = True

    def check(self) -> None:
        """Refuse as bleak does while the adapter is off."""
        if not self.powered:
            raise BleakBluetoothNotAvailableError(
                "No powered Bluetooth adapters found.", BleakBluetoothNotAvailableReason.POWERED_OFF
            )

    def backends(self) -> Backends:
        """bleak backends that use this host."""
        return Backends(
            scanner=type("Scanner", (BumbleScanner,), {"host": self}),
            client=type("Client", (BumbleClient,), {"host": self}),
        )


class BumbleScanner(BaseBleakScanner):
    """``BleakScanner(backend=...)``."""

    host: ClassVar[Host]

    def __init__(self, detection_callback: Any = None, service_uuids: Any = None, *_: Any, **__: Any) -> None:
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        self.host.check()
        self.seen_devices = {}
        self.host.overlaps += self.host.connecting.locked()
        self.host.device.on("advertisement", self._advertised)
        self.host.scanning += 1
        await self.host.device.start_scanning(legacy=True, filter_duplicates=False)

    async def stop(self) -> None:
        self.host.device.remove_listener("advertisement", self._advertised)
        self.host.scanning -= 1
        await self.host.device.stop_scanning(legacy=True)

    def _advertised(self, heard: Advertisement) -> None:
        address = heard.address.to_string(with_type_qualifier=False)
        name = advertised_name(heard.data)
        uuids = advertised_uuids(heard.data)
        rssi_dbm = self.host.world.rssi_dbm.get(address, -50)
        data = AdvertisementData(name, {}, {}, uuids, None, rssi_dbm, (heard,))
        device = self.create_or_update_device(address, address, name, {"address": heard.address}, data)
        self.call_detection_callbacks(device, data)


class BumbleClient(BaseBleakClient):
    """``BleakClient(backend=...)``."""

    host: ClassVar[Host]

    def __init__(
        self,
        address_or_ble_device: Any,
        services: Any = None,
        *,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 10.0,
        **_: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._peer_address: hci.Address = address_or_ble_device.details["address"]
        self._connection: Connection | None = None
        self._subscribers: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        return self.address

    @property
    def mtu_size(self) -> int:
        return self._connection.att_mtu if self._connection else 23

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002 (bleak's signature)
        self.host.check()
        self.host.overlaps += self.host.connecting.locked() or self.host.scanning > 0
        async with self.host.connecting:
            connecting = asyncio.ensure_future(
                self.host.device.connect(
                    self._peer_address, transport=PhysicalTransport.LE, timeout=self._timeout
                )
            )
            try:
                self._connection = await asyncio.shield(connecting)
            except asyncio.CancelledError:
                # A controller finishes what it has begun; then, as bleak does, the connection is given up.
                with contextlib.suppress(Exception):
                    await (await connecting).disconnect()
                raise
            except Exception as error:
                if "imeout" in repr(error):
                    raise BleakDeviceNotFoundError(self.address, f"{self.address} was not found") from error
                raise BleakError(repr(error)) from error
            self.host.connected += 1
            self._connection.on("disconnection", self._disconnected)
            try:
                peer = Peer(self._connection)
                await peer.request_mtu(247)
                self.services = await self._discovered(peer)
            except BaseException:
                await self.disconnect()
                raise

    async def disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(hci.HCI_Error):
                await self._connection.disconnect()

    async def pair(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def unpair(self) -> None:
        """Nothing is remembered."""

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_: Any
    ) -> bytearray:
        self._check()
        return bytearray(await characteristic.obj.read_value())

    async def read_gatt_descriptor(self, *_: Any, **__: Any) -> bytearray:
        raise NotImplementedError

    async def write_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        data: Any,
        response: bool,  # noqa: FBT001 (bleak's signature)
    ) -> None:
        self._check()
        await characteristic.obj.write_value(bytes(data), with_response=response)

    async def write_gatt_descriptor(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: Callable[[bytearray], None], **_: Any
    ) -> None:
        self._check()

        def notified(value: bytes) -> None:
            if not self.host.stalled:
                callback(bytearray(value))

        self._subscribers[characteristic.handle] = notified
        await characteristic.obj.subscribe(notified)

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        self._check()
        await characteristic.obj.unsubscribe(self._subscribers.pop(characteristic.handle))

    def _check(self) -> None:
        if self._connection is None:
            raise BleakError("Not connected")
        if self.host.stalled:
            raise BleakError("the bus does not answer")

    def _disconnected(self, _: int) -> None:
        self.host.connected -= 1
        self._connection = None
        self.services = None
        self._subscribers.clear()
        if self._disconnected_callback:
            self._disconnected_callback()

    async def _discovered(self, peer: Peer) -> BleakGATTServiceCollection:
        collection = BleakGATTServiceCollection()
        for found in await peer.discover_services():
            service = BleakGATTService(found, found.handle, uuid_text(found.uuid))
            collection.add_service(service)
            for each in await found.discover_characteristics():
                properties: Any = [
                    flag.name.replace("_", "-")
                    for flag in GattCharacteristicsFlags
                    if flag.value & int(each.properties)
                ]
                characteristic = BleakGATTCharacteristic(
                    each, each.handle, uuid_text(each.uuid), properties, lambda: self.mtu_size - 3, service
                )
                collection.add_characteristic(characteristic)
                for descriptor in await each.discover_descriptors():
                    collection.add_descriptor(
                        BleakGATTDescriptor(
                            descriptor, descriptor.handle, uuid_text(descriptor.type), characteristic
                        )
                    )
        return collection
