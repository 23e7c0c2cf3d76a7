"""Devices found, streamed and told to stop, through bleak's own BlueZ backend and over Bumble alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.ble.polar import SimulatedPolar
from tests.ble.rig import PATIENCE, Rig, Stack, status_of, until
from tests.ble.world import Char, Peripheral, World
from vskd_stream.errors import OptionError
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.manager import Manager
from vskd_stream.sources.ble.profiles.infinitime import MOTION, SERVICE
from vskd_stream.sources.ble.profiles.polar import HEART_RATE
from vskd_stream.tally import Tally

CHEST = BluetoothDevice(device="chest", profile="polar")
P99_S = float(os.environ.get("VSKD_BLE_P99_S", "1"))
"""10 ms on a machine that does nothing else."""
STACKS: tuple[Stack, ...] = ("bumble", "bluez")


async def polar(
    rig: Rig, number: int = 1, *, name: str = "Polar H10 1", **settings: object
) -> SimulatedPolar:
    device = SimulatedPolar(rig.world, name=name, address=f"F0:00:00:00:00:{number:02X}", **settings)  # type: ignore[arg-type]
    await device.start()
    return device


def assert_true(rig: Rig, device: str, *, rate_hz: float = 50.0) -> None:
    """Every sample is the one that was taken at the time that it is said to have."""
    for samples in rig.of(device):
        numbers = np.round(samples.t_s * 50) % 1000
        assert np.allclose(samples.acc_g[:, 0] * 1000, numbers, atol=1e-3)
        assert samples.sampling_rate_hz == rate_hz


@pytest.mark.parametrize("stack", STACKS)
async def test_a_device_is_found_streamed_and_told_to_stop(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        device = await polar(rig)
        async with rig.streaming(CHEST) as manager:
            batches = await rig.batches("chest", 10)
            assert status_of(manager, "chest").state == "streaming"
        t_s = np.concatenate([samples.t_s for samples in batches])
        assert np.allclose(np.diff(t_s), 0.02)
        assert_true(rig, "chest")
        assert device.commands[-1] == b"\x03\x02"
        assert not device.streaming
        assert not device.is_connected


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "found_by",
    [
        {"address": "f0:00:00:00:00:02"},
        {"name": "Polar Sense 2"},
        {"name": "Polar S*"},
    ],
)
async def test_a_device_is_found_by_its_address_or_name(stack: Stack, found_by: dict[str, str]) -> None:
    async with Rig.open(stack) as rig:
        other = await polar(rig, 1, name="Polar H10 1")
        await polar(rig, 2, name="Polar Sense 2")
        async with rig.streaming(BluetoothDevice(device="arm", profile="polar", **found_by)) as manager:
            await rig.batches("arm", 1)
            assert status_of(manager, "arm").address == "F0:00:00:00:00:02"
        assert other.connections == 0


async def test_a_device_is_found_by_its_service() -> None:
    async with Rig.open() as rig:
        await polar(rig, name="H10")
        async with rig.streaming(BluetoothDevice(device="chest", profile="polar", service="180D")) as manager:
            await rig.batches("chest", 1)
            assert status_of(manager, "chest").state == "streaming"
    assert HEART_RATE.startswith("0000180d")


async def test_of_several_that_fit_the_nearest_is_taken_and_kept() -> None:
    async with Rig.open() as rig:
        far, near = await polar(rig, 1), await polar(rig, 2)
        rig.world.rssi_dbm = {far.address: -80, near.address: -40}
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 3)
            assert status_of(manager, "chest").address == near.address
            await near.hide()
            rig.world.rssi_dbm[far.address] = -30
            await until(lambda: status_of(manager, "chest").state == "seeking")
            scans = far.connections
            await asyncio.sleep(0.5)
            assert (far.connections, status_of(manager, "chest").state) == (scans, "seeking")
            await near.show()
            await rig.batches("chest", 3)
            assert status_of(manager, "chest").address == near.address
        assert far.connections == 0


async def test_two_devices_of_one_name_serve_two_entries() -> None:
    async with Rig.open() as rig:
        await polar(rig, 1)
        await polar(rig, 2)
        entries = [BluetoothDevice(device=each, profile="polar", name="Polar H10 1") for each in ("a", "b")]
        async with rig.streaming(*entries) as manager:
            await asyncio.gather(rig.batches("a", 2), rig.batches("b", 2))
            assert {status.address for status in manager.statuses} == {
                "F0:00:00:00:00:01",
                "F0:00:00:00:00:02",
            }


async def test_several_adapters_serve_their_own_devices() -> None:
    async with Rig.open("bluez", adapters=2) as rig:
        assert rig.bluez is not None
        await polar(rig, 1)
        await polar(rig, 2, name="Polar H10 2")
        entries = [
            BluetoothDevice(device="a", profile="polar", name="Polar H10 1", adapter="hci0"),
            BluetoothDevice(device="b", profile="polar", name="Polar H10 2", adapter="hci1"),
        ]
        async with rig.streaming(*entries):
            await asyncio.gather(rig.batches("a", 2), rig.batches("b", 2))
            assert sorted(path[:15] for path in rig.bluez.links) == ["/org/bluez/hci0", "/org/bluez/hci1"]


@pytest.mark.parametrize("stack", STACKS)
async def test_scans_and_connects_never_meet(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        names = [f"Polar H10 {number}" for number in range(4)]
        for number, name in enumerate(names):
            await polar(rig, number, name=name)
        entries = [
            BluetoothDevice(device=f"d{number}", profile="polar", name=name)
            for number, name in enumerate([*names, "Polar that is not there"])
        ]
        async with rig.streaming(*entries):
            await asyncio.gather(*(rig.batches(f"d{number}", 2) for number in range(4)))
        behind = rig.host or rig.bluez
        assert behind is not None
        assert behind.overlaps == 0


async def oversleep(found_s: list[float]) -> None:
    """By how much the event loop of this busy machine is late."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + 0.002
        await asyncio.sleep(0.002)
        found_s.append(loop.time() - due_s)


@pytest.mark.parametrize("stack", STACKS)
async def test_ten_devices_lose_nothing_and_wait_for_nobody(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        devices = [await polar(rig, n, name=f"Polar H10 {n}", samples=1) for n in range(10)]
        entries = [
            BluetoothDevice(device=f"d{n}", profile="polar", name=device.name)
            for n, device in enumerate(devices)
        ]
        async with rig.streaming(*entries):
            await asyncio.gather(*(rig.batches(f"d{n}", 1) for n in range(10)))
            rig.arrivals.clear()
            overslept_s: list[float] = []
            measuring = asyncio.create_task(oversleep(overslept_s))
            await asyncio.gather(*(rig.batches(f"d{n}", 100) for n in range(10)))
            measuring.cancel()
            delays_s = [arrival.delivered_s - arrival.arrival_s for arrival in rig.arrivals]
            for n in range(10):
                t_s = np.concatenate([samples.t_s for samples in rig.of(f"d{n}")])
                assert np.allclose(np.diff(t_s), 0.02)
        # Nobody is faster than a machine that is busy with something else.
        assert np.percentile(delays_s, 99) <= max(P99_S, 2 * np.percentile(overslept_s, 99))
        assert not rig.tally.counts


class SimulatedInfiniTime(Peripheral):
    """Tells its motion when asked, and notifies what the test says."""

    def __init__(self, world: World) -> None:
        self.value = bytes.fromhex("000000000004")
        self.reads = 0
        super().__init__(
            world,
            name="InfiniTime",
            address="F0:00:00:00:00:01",
            services={SERVICE: [Char(MOTION, "read,notify", read=self._read)]},
        )

    def _read(self) -> bytes:
        self.reads += 1
        return self.value


@pytest.mark.parametrize("stack", STACKS)
async def test_a_watch_that_notifies_changes_only_is_asked_instead_of_distrusted(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        device = SimulatedInfiniTime(rig.world)
        await device.start()
        entry = BluetoothDevice(device="wrist", profile="infinitime")
        async with rig.streaming(entry) as manager:
            await until(lambda: device.subscriptions)
            await device.notify(MOTION, device.value)
            await rig.batches("wrist", 5)
            assert device.reads >= 3
            status = status_of(manager, "wrist")
            assert (status.counts["resubscribed"], status.counts["connected"]) == (0, 1)
            assert status.traits is not None
            assert "10 Hz" in status.traits.note
        t_s = np.concatenate([samples.t_s for samples in rig.of("wrist")])
        assert np.allclose(np.diff(t_s), 0.1)


async def test_a_device_that_refuses_is_left_alone_after_a_while() -> None:
    async with Rig.open() as rig:
        device = await polar(rig)
        # It offers another rate than the one that is configured.
        entry = BluetoothDevice(device="chest", profile="polar", options={"sampling_rate_hz": 26})
        async with rig.streaming(entry) as manager:
            status = status_of(manager, "chest")
            await until(lambda: status.state == "resting")
            assert status.counts["removed"] >= 2
            attempts = device.connections
            await asyncio.sleep(PATIENCE.rest_s / 2)
            assert device.connections == attempts
            device.rates_hz = (26,)
            await rig.batches("chest", 2)


async def test_the_system_forgets_a_device_that_keeps_failing() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        await polar(rig)
        entry = BluetoothDevice(device="chest", profile="polar", options={"sampling_rate_hz": 26})
        async with rig.streaming(entry) as manager:
            await until(lambda: status_of(manager, "chest").counts["removed"])
            await until(lambda: rig.bluez is not None and rig.bluez.removed)


async def test_a_connection_that_a_crash_left_behind_is_taken_over() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        device = await polar(rig)
        await rig.bluez.connect_for_somebody(device.address)
        async with rig.streaming(CHEST):
            await rig.batches("chest", 2)
        assert device.connections == 1
        assert not device.is_connected


def test_what_a_profile_does_not_take_is_told_before_anything_starts() -> None:
    def made(**entry: object) -> Manager:
        device = BluetoothDevice.model_validate({"device": "chest", **entry})
        return Manager([device], deliver=lambda samples, arrival_s: None, tally=Tally())

    with pytest.raises(OptionError, match=r"chest: .*rate: Extra inputs"):
        made(profile="polar", options={"rate": 50})
    with pytest.raises(OptionError, match=r"profile polaar is not known; known are .*polar"):
        made(profile="polaar")


def test_nobody_who_has_no_bluetooth_loads_it() -> None:
    code = "import sys, vskd_stream.process, vskd_stream.cli; sys.exit('bleak' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("stack", STACKS)
async def test_devices_come_and_go_and_the_others_are_not_disturbed(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        first = await polar(rig, 1, name="Polar H10 1")
        second = await polar(rig, 2, name="Polar H10 2")
        one = BluetoothDevice(device="one", profile="polar", name="Polar H10 1")
        two = BluetoothDevice(device="two", profile="polar", name="Polar H10 2")
        async with rig.streaming(one) as manager:
            await rig.batches("one", 3)
            manager.exchange([one, two])
            await rig.batches("two", 3)
            manager.exchange([two])
            await until(lambda: not first.is_connected)
            assert not first.streaming
            # Whoever has another name in the configuration may have the same device.
            manager.exchange([two, one.model_copy(update={"device": "other"})])
            await rig.batches("other", 3)
            await rig.batches("two", 3)
            assert status_of(manager, "two").counts["connected"] == 1
            assert [status.device for status in manager.statuses] == ["two", "other"]
            with pytest.raises(OptionError, match="profile nonesuch is not known"):
                manager.exchange([two.model_copy(update={"profile": "nonesuch"})])
            await rig.batches("two", 3)
        assert not second.streaming
