from __future__ import annotations

import os

import pytest

from tests.ble.polar import SimulatedPolar
from tests.ble.rig import Rig
from tests.ble.world import Peripheral
from vskd_stream import cli
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.polar import HEART_RATE
from vskd_stream.sources.ble.scan import Found, scan, table


def found(name: str, profile: str | None = None, *, rssi_dbm: int = -50) -> Found:
    return Found(Advertisement("F0:00:00:00:00:01", name, frozenset(), rssi_dbm), profile)


async def test_what_is_near_is_told_with_its_profile_those_that_fit_first() -> None:
    async with Rig.open("bluez") as rig:
        await Peripheral(rig.world, name="Kettle", address="F0:00:00:00:00:02", services={}).start()
        await SimulatedPolar(rig.world).start()
        rig.world.rssi_dbm = {"F0:00:00:00:00:01": -80, "F0:00:00:00:00:02": -40}
        seen = await scan(0.5)
    assert [(each.advertisement.name, each.profile) for each in seen] == [
        ("Polar H10 1", "polar"),
        ("Kettle", None),
    ]
    assert seen[0].as_json() == {
        "address": "F0:00:00:00:00:01",
        "name": "Polar H10 1",
        "rssi_dbm": -80,
        "services": [HEART_RATE],
        "profile": "polar",
    }


def test_people_are_shown_what_to_write_into_their_configuration() -> None:
    text = table([found("Polar H10 1", "polar"), found("Kettle")])
    assert "-50 dBm  F0:00:00:00:00:01  polar  Polar H10 1\n" in text
    assert 'profile: polar\n    address: "F0:00:00:00:00:01"\n' in text


def test_a_name_cannot_command_the_terminal() -> None:
    assert "\x1b" not in table([found("\x1b[2J evil")])


def test_nothing_near_is_said() -> None:
    assert "Nothing is near" in table([])


def test_a_computer_without_bluetooth_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
    assert cli.main(["scan", "--seconds", "1"]) == os.EX_UNAVAILABLE
    told = capsys.readouterr().err
    assert told == (
        "Bluetooth, adapter: scanning failed: the system's D-Bus cannot be reached; "
        "BlueZ (bluetoothd) must run here\n"
    )
