"""One Bluetooth adapter: scans and connects take turns, because BlueZ does neither well during the other.

Everybody who seeks a device waits for the same scan. It runs in turns, with pauses while nothing shows
up, and ends as soon as somebody's device has.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from bleak import BleakAdapter, BleakClient, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak_retry_connector import establish_connection

from vskd_stream.backoff import Backoff
from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.failures import is_cancelled, translated
from vskd_stream.sources.ble.link import BleakLink
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.profile import Advertisement

_UNKNOWN_RSSI_DBM = -127
_GENERIC_ATTRIBUTE = "1801"
"""The service that every device with services has."""
CYCLE_AFTER = 10
"""So many scans or connections that failed in a row are the adapter's fault rather than a device's."""
_YIELD_S = 0.05
"""After a scan that found something, those who were found go to connect before the next scan begins."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Backends:
    """bleak's backends; None: the system's own."""

    scanner: type[BaseBleakScanner] | None = None
    client: type[BaseBleakClient] | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A device that is near: what it tells, and what bleak needs to connect to it."""

    advertisement: Advertisement
    handle: BLEDevice


@dataclass(slots=True, eq=False)
class _Seeker:
    wanted: Callable[[Advertisement], bool]
    answer: asyncio.Future[list[Sighting]]
    seen: dict[str, Sighting] = field(default_factory=dict)


class Radio:
    """One adapter."""

    def __init__(
        self,
        adapter: str | None,
        *,
        patience: Patience,
        backends: Backends | None = None,
        utc_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] | None = None,
    ) -> None:
        """``adapter`` is a name such as "hci0"; None: the first one that is switched on."""
        self.adapter = adapter
        self.scans = 0
        """Turns of scanning so far."""
        self.trouble = ""
        """Why the adapter cannot be used at present; empty while it can."""
        self.cycles = 0
        """Times that the adapter was switched off and on."""
        self._failed_scans = self._failed_connects = 0
        self._cycled_s = -math.inf
        self._patience = patience
        self._backends = backends or Backends()
        self._utc_s = utc_s
        self._steady_s = steady_s
        self._turn = asyncio.Lock()
        self._seekers: list[_Seeker] = []
        self._sought = asyncio.Event()
        self._hit = asyncio.Event()

    async def run(self) -> None:
        """Scan whenever somebody seeks a device."""
        backoff = Backoff(base_s=min(0.5, self._patience.pause_s), cap_s=self._patience.pause_s)
        while not is_cancelled():
            if not self._seekers:
                self._sought.clear()
                await self._sought.wait()
                backoff.reset()
            try:
                found = await self._scan()
            except LinkError as error:
                self._tell(error.reason)
                self._failed_scans += 1
                found = False
            else:
                self._tell("")
                self._failed_scans = 0
            await self._cycle_if_stuck()
            if found:
                await asyncio.sleep(_YIELD_S)
                continue
            # Who comes during the pause does not wait for its end.
            self._sought.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_s()):
                    await self._sought.wait()
                    backoff.reset()

    async def find(self, wanted: Callable[[Advertisement], bool]) -> list[Sighting]:
        """Wait until a device that is ``wanted`` is near; all that were seen together, the nearest first."""
        seeker = _Seeker(wanted, asyncio.get_running_loop().create_future())
        self._seekers.append(seeker)
        self._sought.set()
        try:
            return await seeker.answer
        finally:
            self._seekers.remove(seeker)

    async def connect(self, sighting: Sighting, *, device: str) -> BleakLink:
        """Connect and discover services, one device at a time.

        Raises:
            LinkError: It did not come about in time.
        """
        lost = asyncio.Event()
        self._failed_connects += 1
        async with self._turn:
            with translated(device, "connecting"):
                async with asyncio.timeout(self._patience.connect_s):
                    client = await establish_connection(
                        BleakClient,
                        sighting.handle,
                        device,
                        disconnected_callback=lambda _: lost.set(),
                        max_attempts=1,
                        # What was discovered on an earlier connection may have been incomplete.
                        use_services_cache=False,
                        **self._client_arguments(),
                    )
        self._failed_connects = 0
        link = BleakLink(
            client,
            device=device,
            lost=lost,
            operation_s=self._patience.operation_s,
            utc_s=self._utc_s,
            steady_s=self._steady_s,
        )
        if is_cancelled():
            await link.close()
            raise asyncio.CancelledError
        return link

    async def forget(self, sighting: Sighting, *, device: str) -> None:
        """Let the system forget what it knows of a device, unless they are paired: a bond is its owner's."""
        details = sighting.handle.details
        if isinstance(details, dict) and details.get("props", {}).get("Paired"):
            return
        async with self._turn:
            try:
                with translated(device, "removing it"):
                    async with asyncio.timeout(self._patience.operation_s):
                        await BleakClient(sighting.handle, **self._client_arguments()).unpair()
            except LinkError as error:
                # Not known any more, or no system that can forget.
                _log.debug("removing failed", device=device, reason=error.reason)

    async def _cycle_if_stuck(self) -> None:
        """Switch the adapter off and on when nothing has worked for long, and not again for longer."""
        if max(self._failed_scans, self._failed_connects) < CYCLE_AFTER or self._backends.client is not None:
            return
        now_s = time.monotonic()
        if now_s - self._cycled_s < self._patience.cycle_s:
            return
        self._cycled_s = now_s
        # With it imports D-Bus's own, which not every system has.
        from vskd_stream.sources.ble.adapter import power_cycle

        async with self._turn:
            try:
                is_done = await power_cycle(self.adapter, limit_s=self._patience.operation_s)
            except LinkError as error:
                _log.debug("switching the adapter failed", adapter=self._name, reason=error.reason)
                return
        if is_done:
            self.cycles += 1
            self._failed_scans = self._failed_connects = 0
            _log.warning("the adapter did not work, so it was switched off and on", adapter=self._name)

    async def _scan(self) -> bool:
        """One turn; whether somebody's device was seen."""
        self._hit.clear()
        self.scans += 1
        async with self._turn:
            with translated(self._name, "scanning"):
                scanner = BleakScanner(self._detected, **self._scanner_arguments())
                async with asyncio.timeout(self._patience.operation_s):
                    await self._add_connected()
                    await scanner.start()
                try:
                    with contextlib.suppress(TimeoutError):
                        # Not wait_for, which loses a cancellation that comes with what it waits for.
                        async with asyncio.timeout(self._patience.scan_s):
                            await self._hit.wait()
                        await asyncio.sleep(self._patience.grace_s)
                finally:
                    async with asyncio.timeout(self._patience.operation_s):
                        await scanner.stop()
        for seeker in self._seekers:
            if seeker.seen and not seeker.answer.done():
                nearest_first = sorted(seeker.seen.values(), key=lambda each: -each.advertisement.rssi_dbm)
                seeker.answer.set_result(nearest_first)
        return self._hit.is_set()

    async def _add_connected(self) -> None:
        """Count in devices that are connected already, and so do not advertise: ours, before a crash."""
        if self._backends.scanner is not None:
            return
        adapter = await BleakAdapter.get(bluez=self._bluez())
        for handle in await adapter.get_connected_devices([_GENERIC_ATTRIBUTE]):
            uuids = handle.details.get("props", {}).get("UUIDs", ())
            self._offer(handle, handle.name, uuids, _UNKNOWN_RSSI_DBM)

    def _detected(self, handle: BLEDevice, data: AdvertisementData) -> None:
        self._offer(handle, data.local_name or handle.name, data.service_uuids, data.rssi)

    def _offer(self, handle: BLEDevice, name: str | None, uuids: Iterable[str], rssi_dbm: int) -> None:
        services = frozenset(uuid.lower() for uuid in uuids)
        advertisement = Advertisement(handle.address, name or "", services, rssi_dbm)
        for seeker in self._seekers:
            if seeker.wanted(advertisement):
                seeker.seen[handle.address] = Sighting(advertisement, handle)
                self._hit.set()

    @property
    def _name(self) -> str:
        return self.adapter or "adapter"

    def _bluez(self) -> Any:
        return {} if self.adapter is None else {"adapter": self.adapter}

    def _scanner_arguments(self) -> dict[str, Any]:
        return {"bluez": self._bluez(), "backend": self._backends.scanner}

    def _client_arguments(self) -> dict[str, Any]:
        return {"bluez": self._bluez(), "backend": self._backends.client}

    def _tell(self, trouble: str) -> None:
        """Tell of a change between usable and not, once."""
        if trouble and not self.trouble:
            _log.warning("no Bluetooth", adapter=self._name, reason=trouble)
        elif self.trouble and not trouble:
            _log.info("Bluetooth is back", adapter=self._name)
        self.trouble = trouble
