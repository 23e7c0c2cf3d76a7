"""`bluetooth`: devices that the gateway connects to by itself."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import Identifier, explained


def _service(value: str) -> str:
    # 16 bits stand for 128 with the rest that the Bluetooth specification gives.
    return f"0000{value}-0000-1000-8000-00805f9b34fb".lower() if len(value) == 4 else value.lower()


class BluetoothDevice(Section):
    """A device that the gateway connects to by itself.

    With neither an address, a name nor a service, the nearest one that fits the profile is taken.
    """

    device: Identifier
    """The device's id in topics and events."""
    profile: Identifier
    """Which family of devices it belongs to, such as `polar`; `vskd scan` tells what is near."""
    address: (
        Annotated[
            str,
            StringConstraints(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"),
            explained("a Bluetooth address, such as `A0:9E:1A:00:11:22`"),
        ]
        | None
    ) = None
    """Its Bluetooth address: the only one of these that nobody else's device has."""
    name: Annotated[str, Field(min_length=1, max_length=248)] | None = None
    """The name that it advertises; `*` at the end stands for any rest."""
    service: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^([0-9A-Fa-f]{4}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"
            ),
            AfterValidator(_service),
            explained("the UUID of a service, such as `180d`, or with all of its 36 characters"),
        ]
        | None
    ) = None
    """A service that it advertises."""
    adapter: (
        Annotated[str, StringConstraints(pattern=r"^hci[0-9]{1,2}$"), explained("an adapter, such as `hci0`")]
        | None
    ) = None
    """The adapter to use; absent: the first that is switched on."""
    options: dict[str, Any] = {}
    """What the profile lets one choose, such as its rate."""

    @model_validator(mode="after")
    def _one_way_to_find_it(self) -> Self:
        if sum(way is not None for way in (self.address, self.name, self.service)) > 1:
            raise ValueError("give one of address, name and service")
        return self
