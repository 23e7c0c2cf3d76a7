"""Which device of the configuration has which address, so that no two take the same one."""

from __future__ import annotations


class Claims:
    """One for all adapters: two of them may see the same device."""

    def __init__(self) -> None:
        self._devices: dict[str, str] = {}

    def allow(self, address: str, *, device: str) -> bool:
        """Whether no other device has this address."""
        return self._devices.get(address, device) == device

    def claim(self, address: str, *, device: str) -> None:
        """Give ``device`` this address, and no other any more."""
        self.release(device)
        self._devices[address] = device

    def release(self, device: str) -> None:
        """Take its address from ``device``."""
        self._devices = {address: owner for address, owner in self._devices.items() if owner != device}
