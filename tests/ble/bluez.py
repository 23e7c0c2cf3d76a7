"""A stand-in for bluetoothd on a private D-Bus, so that bleak's own BlueZ backend runs as in the field.

Real: bleak's backend, dbus-fast, dbus-daemon, and Bumble's stack behind it. Not real: bluetoothd and the
kernel. It can die and come back, fall silent, and lose its adapter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from bumble.att import ATT_Error
from bumble.core import PhysicalTransport
from bumble.device import Advertisement, Connection, Device, Peer
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.constants import NameFlag

from tests.ble.bumble_backend import advertised_name, advertised_uuids, uuid_text
from tests.ble.world import World

_OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_ADAPTER, _DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
_SERVICE, _CHARACTERISTIC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
_FLAGS = {0x02: "read", 0x04: "write-without-response", 0x08: "write", 0x10: "notify", 0x20: "indicate"}
_GENERIC = ("00001800", "00001801")

_UNPAIRED = {0x05, 0x0C, 0x0F}
_YES, _NO = (Variant("b", value) for value in (True, False))

Reply = tuple[str, list[Any]]
_NOTHING: Reply = ("", [])


@dataclass(frozen=True, slots=True)
class Call:
    """A method call, with what every one of them has."""

    path: str
    sender: str
    body: list[Any]


class BlueZError(Exception):
    """An error reply."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text)
        self.name = f"org.bluez.Error.{name}"


class SystemBus:
    """A private dbus-daemon that bleak takes for the system's."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder / 'bus'}"

    async def __aenter__(self) -> Self:
        program = shutil.which("dbus-daemon")
        if program is None:
            pytest.skip("dbus-daemon is not installed (Debian: dbus)")
        self._process = await asyncio.create_subprocess_exec(
            program,
            "--session",
            "--nofork",
            "--nopidfile",
            "--print-address",
            f"--address={self.address}",
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()


class BlueZ:
    """Owns ``org.bluez``; each adapter is a Bumble device in the same world."""

    def __init__(self, world: World, bus: SystemBus, *, adapters: int = 1) -> None:
        self.frozen = False
        self.stuck = False
        """Every scan is refused, until the adapter was off."""
        """Answers nothing and tells nothing, but stays on the bus."""
        self._address = bus.address
        self._adapters = {
            f"/org/bluez/hci{i}": world.device(f"hci{i}", f"C0:00:00:00:01:{i:02X}") for i in range(adapters)
        }
        self._world = world
        self._objects: dict[str, dict[str, dict[str, Variant]]] = {}
        self._behind: dict[str, Any] = {}
        """What stands behind an object: an address, a characteristic."""
        self._links: dict[str, Connection] = {}
        self._discovering: dict[str, set[str]] = {path: set() for path in self._adapters}
        self._connecting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus: MessageBus | None = None
        self.removed: list[str] = []
        """Object paths of devices that somebody wanted forgotten."""
        self.overlaps = 0
        """Times that somebody connected while a scan ran on the same adapter."""

    async def __aenter__(self) -> Self:
        for path, device in self._adapters.items():
            await device.power_on()
            device.on("advertisement", lambda heard, path=path: self._heard(path, heard))
        await self.come()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def come(self) -> None:
        """Start, as systemd starts bluetoothd."""
        self._objects = {}
        self._behind = {}
        self._discovering = {path: set() for path in self._adapters}
        bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
        bus.add_message_handler(self._called)
        self._bus = bus
        for path in self._adapters:
            name = path.rpartition("/")[2]
            self._add(
                path,
                _ADAPTER,
                Address=Variant("s", "00:A0:50:00:00:01"),
                AddressType=Variant("s", "public"),
                Name=Variant("s", name),
                Alias=Variant("s", name),
                Powered=_YES,
                Discovering=_NO,
                UUIDs=Variant("as", []),
                Roles=Variant("as", ["central"]),
            )
        await bus.request_name("org.bluez", NameFlag.DO_NOT_QUEUE)

    async def die(self) -> None:
        """Vanish as after `kill -9`: nobody is told anything but that the name has no owner."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            await bus.wait_for_disconnect()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path, device in self._adapters.items():
            if self._discovering[path]:
                await device.stop_scanning(legacy=True)
        for connection in list(self._links.values()):
            await connection.disconnect()

    async def power(self, *, on: bool, adapter: str = "hci0") -> None:
        """Switch an adapter; off, it loses its connections and its scan."""
        path = f"/org/bluez/{adapter}"
        self._set(path, _ADAPTER, Powered=Variant("b", on))
        if on:
            return
        self.stuck = False
        if self._discovering[path]:
            self._discovering[path].clear()
            await self._adapters[path].stop_scanning(legacy=True)
            self._set(path, _ADAPTER, Discovering=_NO)
        for device_path, connection in list(self._links.items()):
            if device_path.startswith(path):
                await connection.disconnect()

    @property
    def links(self) -> tuple[str, ...]:
        """Object paths of the devices that are connected."""
        return tuple(self._links)

    async def connect_for_somebody(self, address: str, *, adapter: str = "hci0") -> None:
        """Connect a device for a program that is no more: BlueZ keeps such a connection."""
        radio = self._adapters[f"/org/bluez/{adapter}"]
        await radio.start_scanning(legacy=True, filter_duplicates=False)
        path = f"/org/bluez/{adapter}/dev_{address.replace(':', '_')}"
        while path not in self._objects:  # noqa: ASYNC110 (what is waited for is Bumble's)
            await asyncio.sleep(0.01)
        await radio.stop_scanning(legacy=True)
        await self._connect(Call(path, "", []))
        while not self._objects[path][_DEVICE]["ServicesResolved"].value:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    # --- objects and signals

    def _add(self, path: str, interface: str, **properties: Variant) -> None:
        self._objects.setdefault(path, {})[interface] = properties
        body = [path, {interface: properties}]
        self._signal("/", _OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", body)

    def _remove(self, path: str) -> None:
        interfaces = list(self._objects.pop(path, {}))
        self._signal("/", _OBJECT_MANAGER, "InterfacesRemoved", "oas", [path, interfaces])

    def _set(self, path: str, interface: str, **properties: Variant) -> None:
        if path in self._objects:
            self._objects[path][interface].update(properties)
            body = [interface, properties, []]
            self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus is None or self.frozen or not self._bus.connected:
            return
        self._bus.send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )

    # --- calls

    def _called(self, message: Message) -> bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.interface in ("org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer"):
            return None
        if not self.frozen:
            self._spawn(self._answer(message))
        return True

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message) -> None:
        try:
            reply = Message.new_method_return(message, *(await self._handle(message)))
        except BlueZError as error:
            reply = Message.new_error(message, error.name, str(error))
        except ATT_Error as error:
            # As bluetoothd's create_gatt_dbus_error does.
            name, text = "Failed", f"Operation failed with ATT error: 0x{error.error_code:02x}"
            if error.error_code in _UNPAIRED:
                name, text = "NotPermitted", "Not paired"
            reply = Message.new_error(message, f"org.bluez.Error.{name}", text)
        except Exception as error:  # noqa: BLE001 (bluetoothd says "Failed" to everything else)
            reply = Message.new_error(message, "org.bluez.Error.Failed", repr(error))
        if self._bus is not None and self._bus.connected and not self.frozen:
            self._bus.send(reply)

    async def _handle(self, message: Message) -> Reply:
        handlers: dict[tuple[str, str], Callable[[Call], Awaitable[Reply]]] = {
            (_OBJECT_MANAGER, "GetManagedObjects"): self._managed_objects,
            (_ADAPTER, "SetDiscoveryFilter"): self._nothing,
            (_ADAPTER, "StartDiscovery"): self._start_discovery,
            (_ADAPTER, "StopDiscovery"): self._stop_discovery,
            (_ADAPTER, "RemoveDevice"): self._remove_device,
            (_PROPERTIES, "Set"): self._set_property,
            (_DEVICE, "Connect"): self._connect,
            (_DEVICE, "Disconnect"): self._disconnect,
            (_CHARACTERISTIC, "ReadValue"): self._read,
            (_CHARACTERISTIC, "WriteValue"): self._write,
            (_CHARACTERISTIC, "StartNotify"): self._start_notify,
            (_CHARACTERISTIC, "StopNotify"): self._stop_notify,
        }
        handler = handlers.get((message.interface or "", message.member or ""))
        if handler is None:
            raise BlueZError("NotSupported", f"{message.interface}.{message.member}")
        path = message.path or ""
        if path != "/" and path not in self._objects:
            raise BlueZError("DoesNotExist", path)
        return await handler(Call(path, message.sender or "", message.body))

    async def _nothing(self, _: Call) -> Reply:
        return _NOTHING

    async def _managed_objects(self, _: Call) -> Reply:
        return "a{oa{sa{sv}}}", [self._objects]

    def _check_power(self, path: str) -> None:
        if not self._objects[path][_ADAPTER]["Powered"].value:
            raise BlueZError("NotReady", "Resource Not Ready")

    async def _set_property(self, call: Call) -> Reply:
        interface, name, value = call.body
        if (interface, name) != (_ADAPTER, "Powered"):
            raise BlueZError("NotSupported", name)
        await self.power(on=value.value, adapter=call.path.rpartition("/")[2])
        return _NOTHING

    async def _start_discovery(self, call: Call) -> Reply:
        path = call.path
        self._check_power(path)
        if self.stuck:
            raise BlueZError("InProgress", "Operation already in progress")
        if call.sender in self._discovering[path]:
            raise BlueZError("InProgress", "Operation already in progress")
        self._discovering[path].add(call.sender)
        if len(self._discovering[path]) == 1:
            await self._adapters[path].start_scanning(legacy=True, filter_duplicates=False)
            self._set(path, _ADAPTER, Discovering=_YES)
        return _NOTHING

    async def _stop_discovery(self, call: Call) -> Reply:
        path = call.path
        if call.sender not in self._discovering[path]:
            raise BlueZError("Failed", "No discovery started")
        self._discovering[path].discard(call.sender)
        if not self._discovering[path]:
            await self._adapters[path].stop_scanning(legacy=True)
            self._set(path, _ADAPTER, Discovering=_NO)
        return _NOTHING

    async def _remove_device(self, call: Call) -> Reply:
        path = call.body[0]
        if path not in self._objects:
            raise BlueZError("DoesNotExist", "Does Not Exist")
        self.removed.append(path)
        if path in self._links:
            await self._links[path].disconnect()
        self._remove(path)
        return _NOTHING

    async def _connect(self, call: Call) -> Reply:
        path = call.path
        if path in self._links:
            return _NOTHING
        adapter = path.rpartition("/")[0]
        self._check_power(adapter)
        self.overlaps += bool(self._discovering[adapter]) or self._connecting.locked()
        async with self._connecting:
            try:
                connection = await self._adapters[adapter].connect(
                    self._behind[path], transport=PhysicalTransport.LE, timeout=20
                )
            except Exception as error:
                raise BlueZError("Failed", "le-connection-abort-by-local") from error
            self._links[path] = connection
            connection.on("disconnection", lambda _: self._disconnected(path))
        self._set(path, _DEVICE, Connected=_YES)
        self._spawn(self._resolve(path, connection))
        return _NOTHING

    async def _disconnect(self, call: Call) -> Reply:
        # Also ends what Connect has begun.
        async with self._connecting:
            if call.path not in self._links:
                raise BlueZError("NotConnected", "Not Connected")
            await self._links[call.path].disconnect()
        return _NOTHING

    async def _read(self, call: Call) -> Reply:
        return "ay", [bytes(await self._behind[call.path].read_value())]

    async def _write(self, call: Call) -> Reply:
        kind = call.body[1].get("type")
        with_response = not (kind and kind.value == "command")
        await self._behind[call.path].write_value(bytes(call.body[0]), with_response=with_response)
        return _NOTHING

    async def _start_notify(self, call: Call) -> Reply:
        path = call.path

        def changed(value: bytes) -> None:
            self._set(path, _CHARACTERISTIC, Value=Variant("ay", bytes(value)))

        self._behind[f"{path} listener"] = changed
        await self._behind[path].subscribe(changed)
        self._set(path, _CHARACTERISTIC, Notifying=_YES)
        return _NOTHING

    async def _stop_notify(self, call: Call) -> Reply:
        await self._behind[call.path].unsubscribe(self._behind.pop(f"{call.path} listener", None))
        self._set(call.path, _CHARACTERISTIC, Notifying=_NO)
        return _NOTHING

    # --- what comes from the air

    def _heard(self, adapter: str, heard: Advertisement) -> None:
        if self._bus is None:
            return
        address = heard.address.to_string(with_type_qualifier=False)
        path = f"{adapter}/dev_{address.replace(':', '_')}"
        self._behind[path] = heard.address
        rssi = Variant("n", self._world.rssi_dbm.get(address, -50))
        if path in self._objects:
            self._set(path, _DEVICE, RSSI=rssi)
            return
        name = advertised_name(heard.data) or address.replace(":", "-")
        self._add(
            path,
            _DEVICE,
            Address=Variant("s", address),
            AddressType=Variant("s", "random"),
            Name=Variant("s", name),
            Alias=Variant("s", name),
            Adapter=Variant("o", adapter),
            UUIDs=Variant("as", advertised_uuids(heard.data)),
            RSSI=rssi,
            Paired=_NO,
            Bonded=_NO,
            Trusted=_NO,
            Blocked=_NO,
            LegacyPairing=_NO,
            Connected=_NO,
            ServicesResolved=_NO,
        )

    def _disconnected(self, path: str) -> None:
        self._links.pop(path, None)
        self._set(path, _DEVICE, ServicesResolved=_NO)
        for below in sorted((each for each in self._objects if each.startswith(f"{path}/")), reverse=True):
            self._remove(below)
        self._set(path, _DEVICE, Connected=_NO)

    async def _resolve(self, path: str, connection: Connection) -> None:
        peer = Peer(connection)
        await peer.request_mtu(517)
        uuids = []
        for service in await peer.discover_services():
            uuids.append(uuid_text(service.uuid))
            if uuids[-1].startswith(_GENERIC):
                continue
            service_path = f"{path}/service{service.handle:04x}"
            self._add(
                service_path,
                _SERVICE,
                UUID=Variant("s", uuids[-1]),
                Device=Variant("o", path),
                Primary=_YES,
                Includes=Variant("ao", []),
                Handle=Variant("q", service.handle),
            )
            for each in await service.discover_characteristics():
                each_path = f"{service_path}/char{each.handle - 1:04x}"
                self._behind[each_path] = each
                flags = [name for bit, name in _FLAGS.items() if int(each.properties) & bit]
                await each.discover_descriptors()
                self._add(
                    each_path,
                    _CHARACTERISTIC,
                    UUID=Variant("s", uuid_text(each.uuid)),
                    Service=Variant("o", service_path),
                    Value=Variant("ay", b""),
                    Notifying=_NO,
                    Handle=Variant("q", each.handle - 1),
                    MTU=Variant("q", connection.att_mtu),
                    Flags=Variant("as", flags),
                )
        self._set(path, _DEVICE, UUIDs=Variant("as", uuids))
        self._set(path, _DEVICE, ServicesResolved=_YES)


def use(monkeypatch: pytest.MonkeyPatch, bus: SystemBus) -> None:
    """Let bleak in this process take ``bus`` for the system's."""
    monkeypatch.setitem(os.environ, "DBUS_SYSTEM_BUS_ADDRESS", bus.address)


__all__ = ["BlueZ", "Device", "SystemBus", "use"]
