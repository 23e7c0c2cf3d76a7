"""``vskd scan``: what is near, how strong, and which profile fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bleak import BleakScanner

from vskd_stream.sources.ble.failures import translated
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles import PROFILES
from vskd_stream.sources.ble.radio import Backends


@dataclass(frozen=True, slots=True)
class Found:
    """A device that is near."""

    advertisement: Advertisement
    profile: str | None
    """The first profile that recognises it."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "address": self.advertisement.address,
            "name": self.advertisement.name,
            "rssi_dbm": self.advertisement.rssi_dbm,
            "services": sorted(self.advertisement.service_uuids),
            "profile": self.profile,
        }


async def scan(
    seconds: float, *, adapter: str | None = None, backends: Backends | None = None
) -> list[Found]:
    """Listen for so long; those that a profile fits first, then the nearest.

    Raises:
        LinkError: Bluetooth cannot be used.
    """
    arguments: Any = {
        "bluez": {} if adapter is None else {"adapter": adapter},
        "backend": (backends or Backends()).scanner,
    }
    with translated(adapter or "adapter", "scanning"):
        heard = await BleakScanner.discover(timeout=seconds, return_adv=True, **arguments)
    found = []
    for device, data in heard.values():
        uuids = frozenset(uuid.lower() for uuid in data.service_uuids)
        name = data.local_name or device.name or ""
        advertisement = Advertisement(device.address, name, uuids, data.rssi)
        profile = next((name for name, each in PROFILES.items() if each.matches(advertisement)), None)
        found.append(Found(advertisement, profile))
    return sorted(found, key=lambda each: (each.profile is None, -each.advertisement.rssi_dbm))


def table(found: Sequence[Found]) -> str:
    """For people, with what to write into a configuration."""
    if not found:
        return "Nothing is near. Is the device on, and connected to no phone?\n"
    rows = [
        (
            f"{each.advertisement.rssi_dbm} dBm",
            each.advertisement.address,
            each.profile or "-",
            _printable(each.advertisement.name) or "(tells no name)",
        )
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows]
    known = next((each for each in found if each.profile), None)
    if known is not None:
        lines += [
            "",
            "For your configuration:",
            "bluetooth:",
            "  - device: my-device",
            f"    profile: {known.profile}",
            f'    address: "{known.advertisement.address}"',
        ]
    return "\n".join(lines) + "\n"


def _printable(name: str) -> str:
    # A name is a stranger's text, and a terminal obeys some.
    return "".join(each if each.isprintable() else "?" for each in name)
