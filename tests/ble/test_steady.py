"""What the host's clock is set by is no time that has passed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.ble.profiles.devices import SimulatedMicrobit
from tests.ble.rig import Rig
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.steady import SteadyClock


def test_a_steady_clock_begins_at_utc_and_counts_what_passes() -> None:
    passed = iter([100.0, 100.0, 101.5])
    clock = SteadyClock(utc_s=lambda: 1e9, monotonic_s=lambda: next(passed))
    assert [clock(), clock()] == [1e9, 1e9 + 1.5]


@pytest.mark.parametrize("step_s", [-3600.0, 10.0])
async def test_a_device_without_a_clock_keeps_its_times_when_ours_is_set(step_s: float) -> None:
    moved_s = 0.0
    async with Rig.open() as rig:
        device = SimulatedMicrobit(rig.world, "F0:00:00:00:00:01")
        await device.start()
        entry = BluetoothDevice(device="board", profile="microbit")
        async with rig.streaming(entry, utc_s=lambda: time.time() + moved_s):
            await rig.batches("board", 30)
            moved_s = step_s
            await rig.batches("board", 30)
    t_s = np.concatenate([samples.t_s for samples in rig.of("board")])
    arrivals_s = np.array([arrival.arrival_s for arrival in rig.arrivals])
    assert np.abs(np.diff(arrivals_s)).max() > 5.0
    # A busy machine may lose a second, but not what the clock was set by.
    assert (np.diff(t_s) > 0).all()
    assert np.diff(t_s).max() < 5.0
