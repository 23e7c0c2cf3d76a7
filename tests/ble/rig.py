"""A manager at work in a simulated world: through bleak's own BlueZ backend, or over Bumble alone."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from unittest import mock

from tests.ble.bluez import BlueZ, SystemBus
from tests.ble.bumble_backend import Host
from tests.ble.world import World
from vskd_stream.samples import Samples
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.manager import Manager
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.radio import Backends
from vskd_stream.sources.ble.status import Status
from vskd_stream.sources.ble.transcript import Take
from vskd_stream.tally import Tally

Stack = Literal["bumble", "bluez"]
PATIENCE = Patience(
    scan_s=1.0,
    grace_s=0.1,
    pause_s=0.2,
    connect_s=5.0,
    operation_s=2.0,
    start_s=3.0,
    stop_s=1.0,
    retry_s=0.1,
    stable_s=0.3,
    rest_s=0.3,
    cycle_s=5.0,
    silence=0.3,
)
"""For tests: the same order of things, sooner."""
_LONG_S = 60.0
"""An event is awaited; this only ends a test that hangs."""


@dataclass
class Arrival:
    """What a device sent, as the daemon gets it."""

    samples: Samples
    arrival_s: float
    delivered_s: float


@dataclass
class Rig:
    """``host`` or ``bluez`` is there, whichever stack was asked for."""

    world: World
    backends: Backends
    host: Host | None = None
    bluez: BlueZ | None = None
    tally: Tally = field(default_factory=Tally)
    arrivals: list[Arrival] = field(default_factory=list)

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(stack: Stack = "bumble", *, adapters: int = 1) -> AsyncIterator[Rig]:
        """A world and the Bluetooth of this computer."""
        async with contextlib.AsyncExitStack() as exits:
            if stack == "bumble":
                world = await exits.enter_async_context(World())
                host = Host(world)
                await host.start()
                yield Rig(world, host.backends(), host=host)
                return
            folder = exits.enter_context(tempfile.TemporaryDirectory())
            bus = await exits.enter_async_context(SystemBus(Path(folder)))
            exits.enter_context(mock.patch.dict("os.environ", {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}))
            world = await exits.enter_async_context(World())
            bluez = await exits.enter_async_context(BlueZ(world, bus, adapters=adapters))
            yield Rig(world, Backends(), bluez=bluez)

    @contextlib.asynccontextmanager
    async def streaming(
        self,
        *devices: BluetoothDevice,
        patience: Patience = PATIENCE,
        transcribe: Take | None = None,
        utc_s: Callable[[], float] = time.time,
    ) -> AsyncIterator[Manager]:
        """Run a manager; at the end it is stopped as the daemon does."""
        manager = Manager(
            devices,
            deliver=self._deliver,
            tally=self.tally,
            patience=patience,
            backends=self.backends,
            transcribe=transcribe,
            utc_s=utc_s,
        )
        running = asyncio.create_task(manager.run())
        try:
            yield manager
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    def _deliver(self, samples: Samples, arrival_s: float) -> None:
        self.arrivals.append(Arrival(samples, arrival_s, time.time()))

    def of(self, device: str) -> list[Samples]:
        """What came of one device."""
        return [arrival.samples for arrival in self.arrivals if arrival.samples.device == device]

    async def batches(self, device: str, count: int) -> list[Samples]:
        """Wait until so many more batches have come; those."""
        before = len(self.of(device))
        await until(lambda: len(self.of(device)) >= before + count)
        return self.of(device)[before:]


async def until(is_true: Callable[[], object]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(_LONG_S):
        while not is_true():  # noqa: ASYNC110 (what is waited for is a third party's state)
            await asyncio.sleep(0.01)


def status_of(manager: Manager, device: str) -> Status:
    """How a device is doing."""
    return next(status for status in manager.statuses if status.device == device)
