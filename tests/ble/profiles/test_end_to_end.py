from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.ble.profiles.devices import (
    WRAP,
    Simulated,
    SimulatedAdafruit,
    SimulatedArduino,
    SimulatedBand,
    SimulatedBangle,
    SimulatedMicrobit,
    SimulatedMovesense,
    SimulatedThingy52,
    SimulatedWitMotion,
    SimulatedXsensDot,
)
from tests.ble.rig import Rig, Stack, status_of, until
from tests.ble.world import World
from tests.decode.payloads import check_samples
from vskd_stream.health import Limits, Timing
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.manager import Manager
from vskd_stream.sources.ble.profiles import bangle


@dataclass(frozen=True)
class Case:
    """A profile, its device, and what is to come of them."""

    device: str
    profile: str
    made: Callable[[World, str], Simulated]
    rate_hz: float
    units_per_g: float
    """Of the count in x."""
    options: dict[str, Any] = field(default_factory=dict)
    has_gyro: bool = False
    timing: Timing = "device"
    stopped_by: tuple[str, bytes] | None = None
    """The last write, by which the device is told to stop."""


CASES = [
    Case("microbit", "microbit", SimulatedMicrobit, 50, 1024, timing="counted"),
    Case("thingy52", "thingy52", SimulatedThingy52, 50, 1024, has_gyro=True, timing="counted"),
    Case(
        "adafruit",
        "adafruit",
        SimulatedAdafruit,
        50,
        WRAP,
        stopped_by=("period", b"\xff\xff\xff\xff"),
        timing="counted",
    ),
    Case("arduino", "arduino", SimulatedArduino, 50, WRAP, {"sampling_rate_hz": 50}, timing="counted"),
    Case(
        "xsens",
        "xsens-dot",
        SimulatedXsensDot,
        30,
        WRAP,
        {"sampling_rate_hz": 30},
        has_gyro=True,
        stopped_by=("control", b"\x01\x00\x15"),
    ),
    Case(
        "witmotion",
        "witmotion",
        SimulatedWitMotion,
        100,
        2048,
        {"sampling_rate_hz": 100},
        has_gyro=True,
        timing="counted",
    ),
    Case("movesense", "movesense", SimulatedMovesense, 52, WRAP, stopped_by=("command", b"\x02\x01")),
    Case(
        "movesense-imu",
        "movesense",
        SimulatedMovesense,
        104,
        WRAP,
        {"sampling_rate_hz": 104, "gyro": True},
        has_gyro=True,
    ),
    Case("bangle", "bangle", SimulatedBangle, 50, 4096, stopped_by=("line", bangle._STOP)),
    Case(
        "band",
        "declarative",
        SimulatedBand,
        50,
        4096,
        {**SimulatedBand.description},
        stopped_by=("switch", b"\0"),
    ),
]


def address(number: int) -> str:
    return f"F0:00:00:00:02:{number:02X}"


@pytest.fixture(autouse=True)
def _an_impatient_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bangle, "_RESET_S", 0.05)


@contextlib.asynccontextmanager
async def streaming(stack: Stack) -> AsyncIterator[tuple[Rig, Manager, list[Simulated]]]:
    """Every device at once."""
    async with Rig.open(stack) as rig:
        devices = [case.made(rig.world, address(number)) for number, case in enumerate(CASES)]
        for device in devices:
            await device.start()
        settings = [
            BluetoothDevice(
                device=case.device, profile=case.profile, address=address(number), options=case.options
            )
            for number, case in enumerate(CASES)
        ]
        async with rig.streaming(*settings) as manager:
            yield rig, manager, devices


def taken(rig: Rig, case: Case) -> int:
    return sum(len(samples) for samples in rig.of(case.device))


def joined(rig: Rig, case: Case) -> tuple[Any, Any]:
    """Times and accelerations of all that came."""
    found = rig.of(case.device)
    t_s = np.concatenate([samples.t_s for samples in found])
    return t_s, np.concatenate([samples.acc_g for samples in found])


@pytest.mark.parametrize("stack", ["bumble", "bluez"])
async def test_every_sample_of_every_device_comes_out_once_in_g_and_in_time(stack: Stack) -> None:
    async with streaming(stack) as (rig, manager, devices):
        await until(lambda: all(taken(rig, case) >= 60 for case in CASES))
        traits = {case.device: status_of(manager, case.device).traits for case in CASES}
        limits = dict(manager.limits())
    for case, device in zip(CASES, devices, strict=True):
        told = traits[case.device]
        assert told is not None
        assert told.sampling_rate_hz == case.rate_hz, case.device
        assert limits[case.device] == Limits(case.timing, told.range_g, told.note)
        for samples in rig.of(case.device):
            check_samples(samples)
            assert samples.sampling_rate_hz == pytest.approx(case.rate_hz)
            assert samples.counted == (told.clock == "counter"), case.device
            if case.has_gyro:
                assert samples.gyro_dps is not None
                np.testing.assert_allclose(samples.gyro_dps, [[1, 0, 0]] * len(samples), atol=0.05)
            else:
                assert samples.gyro_dps is None
        t_s, acc_g = joined(rig, case)
        counted = np.rint(acc_g[:, 0] * case.units_per_g).astype(int)
        assert set(np.diff(counted) % WRAP) == {1}, case.device
        np.testing.assert_allclose(acc_g[:, 1:], [[0, 1]] * len(acc_g), atol=1e-5, err_msg=case.device)
        steps_s = np.diff(t_s)
        if told.clock == "counter":
            # A busy computer that reads late cannot be told from a loss.
            steps_s = np.median(steps_s)
        np.testing.assert_allclose(steps_s, 1 / case.rate_hz, atol=2e-3, err_msg=case.device)
        if case.stopped_by:
            assert device.writes[-1] == case.stopped_by
    assert rig.tally.counts == {}


async def test_neither_loss_nor_garbage_shifts_what_comes_after_it() -> None:
    async with streaming("bumble") as (rig, _, devices):
        await until(lambda: all(taken(rig, case) >= 30 for case in CASES))
        for device in devices:
            device.faults.loss = device.faults.garbage = 0.05
        await until(lambda: all(taken(rig, case) >= 150 for case in CASES))
        for device in devices:
            device.faults.loss = device.faults.garbage = 0.0
        before = {case.device: taken(rig, case) for case in CASES}
        # Where a device numbers nothing, loss shows in the arrivals of a second.
        await until(
            lambda: all(taken(rig, case) >= before[case.device] + 2.5 * case.rate_hz for case in CASES)
        )
    for case, device in zip(CASES, devices, strict=True):
        t_s, acc_g = joined(rig, case)
        assert (np.diff(t_s) > 0).all(), case.device
        if case.timing == "counted" and device.late_s > 0.05:
            # Nobody can tell a machine that oversleeps from a loss.
            continue
        sane = np.abs(acc_g[:, 2] - 1.0) < 1e-5
        counted = np.unwrap(np.rint(acc_g[sane, 0] * case.units_per_g), period=WRAP)
        drift_s = t_s[sane] - t_s[0] - (counted - counted[0]) / case.rate_hz
        # The end, once the loss is over, is dated as the beginning was.
        assert np.abs(np.median(drift_s[-int(case.rate_hz / 2) :])) < 0.06, case.device
