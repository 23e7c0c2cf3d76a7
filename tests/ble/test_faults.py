"""Everything that Bluetooth does to a stream: it comes back, and whatever is missing is missing visibly."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Iterable

import numpy as np
import pytest

from tests.ble.polar import SimulatedPolar, raw_frame
from tests.ble.rig import Rig, Stack, status_of, until
from tests.manifests import manifest
from vskd_stream.pipeline import Pipeline
from vskd_stream.samples import Gap, Samples
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.adapter import power_cycle
from vskd_stream.window import Window

CHEST = BluetoothDevice(device="chest", profile="polar")
STACKS: tuple[Stack, ...] = ("bumble", "bluez")
BACK_WITHIN_S = float(os.environ.get("VSKD_BLE_BACK_S", "30"))
"""10 s in the field; a machine that is busy with something else proves nothing about that."""
RATE_HZ = 200
FAST = BluetoothDevice(device="chest", profile="polar", options={"sampling_rate_hz": RATE_HZ})


async def back(rig: Rig) -> float:
    """Seconds from now until samples come again."""
    began_s = time.monotonic()
    await rig.batches("chest", 2)
    return time.monotonic() - began_s


def ramp(t_s: np.ndarray) -> np.ndarray:
    """An x that rises by 100 mg a second, so that a bridge over a hole shows; from 2 g on, again."""
    return np.stack([t_s % 20.0 * 100, np.zeros_like(t_s), np.full_like(t_s, 1000.0)], axis=1)


def pieces(batches: Iterable[Samples]) -> tuple[list[Gap], list[Window]]:
    """What a pipeline makes of a stream."""
    pipeline = Pipeline(
        "chest",
        manifest=manifest(
            window_samples=10,
            hop_samples=5,
            max_gap_s=0.1,
            image={"size": 8, "method": "summation", "scaling": "fixed", "range_g": 1.5},
        ),
        bundle_sha256="0" * 64,
        reorder_horizon_s=0.0,
        no_data_after_s=60.0,
    )
    cuts = [cut.piece for samples in batches for cut in pipeline.cut(samples, arrival_s=1e9)]
    gaps = [each for each in cuts if isinstance(each, Gap)]
    return gaps, [each for each in cuts if isinstance(each, Window)]


def assert_true(batches: Iterable[Samples]) -> None:
    """Every sample of ``ramp`` has the time at which it was taken."""
    for samples in batches:
        # Sent as whole thousandths of g: a hundredth of a second.
        assert np.allclose(samples.acc_g[:, 0] * 10, samples.t_s % 20.0, atol=0.011)


def assert_whole(windows: list[Window]) -> None:
    """No window joins what a hole lies between: then it would rise by more than its own length."""
    assert windows
    # 10 samples at 20 Hz, and the rounding at both ends; or the ramp has begun again.
    risen_g = np.array([np.ptp(window.acc_g[0]) for window in windows])
    assert ((risen_g < 0.047) | (risen_g > 1.0)).all()


# --- the link


@pytest.mark.parametrize("stack", STACKS)
async def test_a_dropped_link_is_made_again(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        device = SimulatedPolar(rig.world, acceleration=ramp)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 12)
            await device.drop()
            await until(lambda: status_of(manager, "chest").state != "streaming")
            assert await back(rig) < BACK_WITHIN_S
            await rig.batches("chest", 12)
            assert status_of(manager, "chest").counts["lost"] == 1
        gaps, windows = pieces(rig.of("chest"))
        assert [gap.reason for gap in gaps] == ["missing"]
        assert_whole(windows)


@pytest.mark.parametrize("stack", STACKS)
async def test_a_device_that_was_away_is_streamed_when_it_comes_back(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            await device.hide()
            await until(lambda: status_of(manager, "chest").state == "seeking")
            await asyncio.sleep(float(os.environ.get("VSKD_BLE_AWAY_S", "1")))
            assert status_of(manager, "chest").state == "seeking"
            await device.show()
            assert await back(rig) < BACK_WITHIN_S
            assert status_of(manager, "chest").counts["failed"] == 0


@pytest.mark.parametrize("stack", STACKS)
async def test_an_adapter_that_was_off_streams_when_it_is_on_again(stack: Stack) -> None:
    async with Rig.open(stack) as rig:
        await SimulatedPolar(rig.world).start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            if rig.bluez is not None:
                await rig.bluez.power(on=False)
            elif rig.host is not None:
                await rig.host.switch_off()
            await until(lambda: status_of(manager, "chest").state == "seeking")
            await asyncio.sleep(0.5)
            assert status_of(manager, "chest").counts["failed"] == 0
            if rig.bluez is not None:
                await rig.bluez.power(on=True)
            elif rig.host is not None:
                rig.host.switch_on()
            assert await back(rig) < BACK_WITHIN_S


async def test_an_adapter_that_refuses_everything_is_switched_off_and_on() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        await SimulatedPolar(rig.world).start()
        rig.bluez.stuck = True
        async with rig.streaming(CHEST):
            await rig.batches("chest", 2)
        assert not rig.bluez.stuck


async def test_an_adapter_that_somebody_uses_is_never_switched_off() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        other = SimulatedPolar(rig.world, name="Keyboard", address="F0:00:00:00:00:09")
        await other.start()
        await rig.bluez.connect_for_somebody(other.address)
        assert await power_cycle(None, limit_s=5.0) is False
        assert other.is_connected
        await rig.bluez.power(on=False)
        assert await power_cycle("hci0", limit_s=5.0) is False
        assert await power_cycle("hci7", limit_s=5.0) is False
        await rig.bluez.power(on=True)
        assert await power_cycle("hci0", limit_s=5.0) is True


async def test_a_bluetoothd_that_dies_without_a_word_is_noticed_by_the_silence() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        await SimulatedPolar(rig.world).start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            await rig.bluez.die()
            await until(lambda: status_of(manager, "chest").state != "streaming")
            await rig.bluez.come()
            assert await back(rig) < BACK_WITHIN_S


async def test_a_bluetoothd_that_hangs_is_left_when_it_is_restarted() -> None:
    async with Rig.open("bluez") as rig:
        assert rig.bluez is not None
        await SimulatedPolar(rig.world).start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            rig.bluez.frozen = True
            await until(lambda: status_of(manager, "chest").counts["resubscribed"])
            await rig.bluez.die()
            rig.bluez.frozen = False
            await rig.bluez.come()
            assert await back(rig) < BACK_WITHIN_S


async def test_notifications_that_stop_are_asked_for_again_on_the_same_link() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            # As after a reset of its own: the link stays, the stream does not.
            device.streaming = False
            await until(lambda: status_of(manager, "chest").state == "silent")
            assert await back(rig) < BACK_WITHIN_S
            counts = status_of(manager, "chest").counts
            assert (counts["connected"], counts["resubscribed"]) == (1, 1)


async def test_a_device_that_stays_silent_is_connected_to_anew() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            device.faults.frozen = True
            await until(lambda: status_of(manager, "chest").counts["connected"] >= 2)
            device.faults.frozen = False
            assert await back(rig) < BACK_WITHIN_S


# --- the packets


async def test_lost_notifications_leave_holes_and_move_nothing() -> None:
    async with Rig.open() as rig:
        entries = []
        for percent in (1, 5, 20):
            # A frame of 0.15 s: its loss is more than may be bridged.
            device = SimulatedPolar(
                rig.world,
                name=f"Polar {percent}",
                address=f"F0:00:00:00:00:{percent:02X}",
                samples=30,
                acceleration=ramp,
            )
            await device.start()
            device.faults.loss = percent / 100
            entries.append(
                BluetoothDevice(
                    device=f"loss{percent}",
                    profile="polar",
                    name=device.name,
                    options={"sampling_rate_hz": RATE_HZ},
                )
            )
        async with rig.streaming(*entries):
            await until(lambda: device.sent >= 30)
        for entry in entries:
            batches = rig.of(entry.device)
            assert_true(batches)
            t_s = np.concatenate([samples.t_s for samples in batches])
            steps = np.round(np.diff(t_s) * RATE_HZ).astype(int)
            assert set(steps % 30) == {1}
            gaps, windows = pieces(batches)
            # What lies between two holes can be too short to resample: then they are one.
            holes = int((steps > 1).sum())
            assert min(holes, 1) <= len(gaps) <= holes
            assert_whole(windows)


async def test_repeated_packets_count_once() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world, acceleration=ramp)
        await device.start()
        device.faults.repeats = 0.3
        async with rig.streaming(FAST):
            await rig.batches("chest", 80)
        batches = rig.of("chest")
        once = list({float(samples.t_s[0]): samples for samples in batches}.values())
        assert len(once) < len(batches)
        gaps, windows = pieces(batches)
        assert not gaps
        assert [window.end_sample for window in windows] == [window.end_sample for window in pieces(once)[1]]


async def test_garbage_costs_nothing_but_itself() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world, acceleration=ramp)
        await device.start()
        device.faults.garbage = 0.3
        async with rig.streaming(FAST) as manager:
            await rig.batches("chest", 60)
            counts = status_of(manager, "chest").counts
            assert counts["connected"] == 1
            assert counts["malformed"] >= 3
        assert_true(rig.of("chest"))


async def test_a_device_that_sends_nothing_but_garbage_is_no_stream() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            await rig.batches("chest", 2)
            device.make_frame = lambda last_s, acc_mg: b"\x02garbage"
            await until(lambda: status_of(manager, "chest").counts["lost"])
            device.make_frame = raw_frame
            assert await back(rig) < BACK_WITHIN_S


async def test_a_device_that_changes_its_rate_is_followed() -> None:
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world, samples=10, acceleration=ramp)
        await device.start()
        async with rig.streaming(FAST) as manager:
            await rig.batches("chest", 5)
            device.rate_hz = 100.0
            await until(lambda: rig.of("chest")[-1].sampling_rate_hz == pytest.approx(100.0))
            batches = await rig.batches("chest", 5)
            assert np.allclose(np.diff(np.concatenate([samples.t_s for samples in batches])), 0.01)
            assert_true(batches)
            await until(lambda: round(status_of(manager, "chest").traits.sampling_rate_hz) == 100)  # type: ignore[union-attr]


# --- for ever


@pytest.mark.parametrize("stack", STACKS)
async def test_reconnecting_leaks_nothing(stack: Stack) -> None:
    await cycles(stack, count=int(os.environ.get("VSKD_BLE_CYCLES", "6")))


async def cycles(stack: Stack, *, count: int) -> None:
    """Connect, stream and lose the link ``count`` times, and compare what there is before and after."""
    async with Rig.open(stack) as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST) as manager:
            counts = status_of(manager, "chest").counts
            counted = []
            for number in range(count):
                await rig.batches("chest", 2)
                if number >= 2:
                    gc.collect()
                    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are enough)
                    counted.append((len(asyncio.all_tasks()), descriptors, len(gc.get_objects())))
                rig.arrivals.clear()
                await device.drop()
                await until(lambda: counts["lost"] + counts["failed"] == counts["connected"])
            assert counts["connected"] >= count
        tasks, handles, objects = (np.array(column) for column in zip(*counted, strict=True))
        half = len(counted) // 2
        # One that is just ending may be counted at times; one that stays is counted ever after.
        assert np.median(tasks[half:]) <= np.median(tasks[:half]) + 1
        assert np.median(handles[half:]) <= np.median(handles[:half]) + 1
        if count >= 50:
            early, late = np.mean(objects[5:15]), np.mean(objects[-10:])
            print(f"{stack}: {count} cycles, objects {early:.0f} -> {late:.0f}, tasks {tasks[-1]}")
            assert late - early < 20 * count


@pytest.mark.parametrize("stack", STACKS)
async def test_a_stop_ends_everything_whenever_it_comes(stack: Stack) -> None:
    chance = random.Random(7)
    async with Rig.open(stack) as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        for _ in range(int(os.environ.get("VSKD_BLE_CYCLES", "6"))):
            async with rig.streaming(CHEST):
                await asyncio.sleep(0.6 * chance.random())
            await until(lambda: not device.is_connected)
            assert not device.streaming
