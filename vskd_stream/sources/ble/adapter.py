"""Switches an adapter off and on again: the last rung for one that answers nothing but errors.

Never one that its owner has switched off, and never one that has a connection, ours or another
program's: somebody's keyboard is worth more than a stream that may come back by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.failures import translated

_ADAPTER, _DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
_OFF_S = 0.5


async def power_cycle(name: str | None, *, limit_s: float) -> bool:
    """Whether the adapter (None: the first that is on) could be switched off and on without harm.

    Raises:
        LinkError: BlueZ refuses, or does not answer within ``limit_s``.
    """
    who = name or "adapter"
    with translated(who, "switching it off and on"):
        async with asyncio.timeout(limit_s):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        try:
            async with asyncio.timeout(limit_s):
                path = _idle(await _objects(bus, who), name)
            if path is None:
                return False
            try:
                await _set_powered(bus, who, path, limit_s=limit_s, on=False)
                await asyncio.sleep(_OFF_S)
            finally:
                # Also when we are stopped in between: nobody else would switch it on.
                await asyncio.shield(_set_powered(bus, who, path, limit_s=limit_s, on=True))
        finally:
            bus.disconnect()
    return True


def _idle(objects: dict[str, Any], name: str | None) -> str | None:
    """The adapter's path, if it is on and nothing is connected to it."""
    for path, interfaces in sorted(objects.items()):
        properties = interfaces.get(_ADAPTER)
        if properties is None or (name is not None and not path.endswith(f"/{name}")):
            continue
        if not properties["Powered"].value:
            continue
        is_used = any(
            below.startswith(f"{path}/") and _DEVICE in each and each[_DEVICE]["Connected"].value
            for below, each in objects.items()
        )
        return None if is_used else path
    return None


async def _objects(bus: MessageBus, who: str) -> dict[str, Any]:
    reply = await _call(bus, who, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    objects: dict[str, Any] = reply[0]
    return objects


async def _set_powered(bus: MessageBus, who: str, path: str, *, limit_s: float, on: bool) -> None:
    async with asyncio.timeout(limit_s):
        body = [_ADAPTER, "Powered", Variant("b", on)]
        await _call(bus, who, path, "org.freedesktop.DBus.Properties", "Set", signature="ssv", body=body)


async def _call(
    bus: MessageBus,
    who: str,
    path: str,
    interface: str,
    member: str,
    *,
    signature: str = "",
    body: list[Any] | None = None,
) -> list[Any]:
    reply = await bus.call(
        Message(
            destination="org.bluez",
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
        )
    )
    if reply.message_type is MessageType.ERROR:
        raise LinkError(who, f"BlueZ refuses {member}: {reply.error_name}")
    return list(reply.body)
