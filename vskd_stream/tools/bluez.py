"""Asks the system's Bluetooth what is there, over D-Bus; changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from vskd_stream.tools.diagnosis.bluetooth import Adapter, BluetoothFacts

_ANSWER_S = 5.0
_NOT_THERE = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
}


async def ask(*, version: str | None, rfkill: Path = Path("/sys/class/rfkill")) -> BluetoothFacts:
    """What the system bus and bluetoothd answer; ``version`` is what bluetoothctl says of itself."""
    try:
        from dbus_fast import BusType, Message, MessageType
        from dbus_fast.aio import MessageBus
    except ImportError:
        return BluetoothFacts(is_installed=False, version=version)
    try:
        async with asyncio.timeout(_ANSWER_S):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    except Exception as error:  # noqa: BLE001 (a socket's errors, and D-Bus's own)
        return BluetoothFacts(bus_error=type(error).__name__, version=version)
    try:
        async with asyncio.timeout(_ANSWER_S):
            reply = await bus.call(
                Message(
                    destination="org.bluez",
                    path="/",
                    interface="org.freedesktop.DBus.ObjectManager",
                    member="GetManagedObjects",
                )
            )
    except Exception as error:  # noqa: BLE001
        return BluetoothFacts(bus_error=type(error).__name__, version=version)
    finally:
        bus.disconnect()
    if reply.message_type is MessageType.ERROR:
        name = str(reply.error_name)
        if name == "org.freedesktop.DBus.Error.AccessDenied":
            return BluetoothFacts(is_denied=True, version=version)
        error_text = "" if name in _NOT_THERE else name[:100]
        return BluetoothFacts(bus_error=error_text, version=version)
    return BluetoothFacts(
        is_running=True, version=version, adapters=_adapters(reply.body[0]), blocked=blocked(rfkill)
    )


def _adapters(objects: dict[str, Any]) -> tuple[Adapter, ...]:
    found = []
    for path, interfaces in sorted(objects.items()):
        if (properties := interfaces.get("org.bluez.Adapter1")) is not None:
            values = {name: variant.value for name, variant in properties.items()}
            name = path.rpartition("/")[2]
            found.append(Adapter(name, str(values.get("Address", "")), values.get("Powered") is True))
    return tuple(found)


def blocked(folder: Path) -> str:
    """Whether every Bluetooth switch of the kernel's rfkill is off: ``hard``, ``soft`` or empty."""
    states = []
    for switch in sorted(folder.glob("rfkill*")):
        with contextlib.suppress(OSError):
            if (switch / "type").read_text().strip() == "bluetooth":
                is_hard, is_soft = ((switch / kind).read_text().strip() == "1" for kind in ("hard", "soft"))
                states.append("hard" if is_hard else "soft" if is_soft else "")
    return states[0] if states and all(states) else ""
