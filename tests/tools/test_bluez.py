from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("dbus_fast")
pytest.importorskip("bumble")

from dbus_fast.aio import MessageBus

from tests.ble.bluez import BlueZ, SystemBus
from tests.ble.world import World
from vskd_stream.tools import bluez
from vskd_stream.tools.diagnosis.bluetooth import Adapter

_POLICY = """
<busconfig>
  <type>system</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
    <deny send_destination="org.bluez"/>
  </policy>
</busconfig>
"""


@pytest.fixture
async def bus(tmp_path, monkeypatch):
    async with SystemBus(tmp_path) as running:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", running.address)
        yield running


async def test_without_a_bus_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    facts = await bluez.ask(version=None)
    assert facts.bus_error
    assert not facts.is_running


async def test_without_bluetoothd_nothing_runs(bus):
    facts = await bluez.ask(version="5.66")
    assert (facts.bus_error, facts.is_running, facts.version) == ("", False, "5.66")


async def test_adapters_are_told_with_whether_they_are_on(bus, tmp_path):
    async with World() as world, BlueZ(world, bus, adapters=2) as daemon:
        await daemon.power(on=False, adapter="hci1")
        facts = await bluez.ask(version=None, rfkill=tmp_path)
    assert facts.is_running
    assert [(each.name, each.is_powered) for each in facts.adapters] == [("hci0", True), ("hci1", False)]
    assert isinstance(facts.adapters[0], Adapter)
    assert facts.adapters[0].address.count(":") == 5


class DenyingBus(SystemBus):
    """A bus that lets nobody talk to bluetoothd."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self._config = folder / "bus.conf"
        self._config.write_text(_POLICY.format(address=self.address))

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            *("dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        return self


async def test_a_user_whom_the_bus_keeps_away_is_told_so(tmp_path, monkeypatch):
    async with DenyingBus(tmp_path) as denying:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", denying.address)
        owner = await MessageBus(bus_address=denying.address).connect()
        try:
            async with asyncio.timeout(10):
                await owner.request_name("org.bluez")
            facts = await bluez.ask(version=None)
        finally:
            owner.disconnect()
            await owner.wait_for_disconnect()
    assert facts.is_denied


@pytest.mark.parametrize(
    ("switches", "blocked"),
    [
        ([], ""),
        ([("bluetooth", "0", "0")], ""),
        ([("bluetooth", "0", "1")], "soft"),
        ([("bluetooth", "1", "1")], "hard"),
        ([("wlan", "1", "1")], ""),
        ([("bluetooth", "0", "1"), ("bluetooth", "0", "0")], ""),
    ],
)
def test_bluetooth_is_blocked_when_all_its_switches_are(tmp_path, switches, blocked):
    for index, (kind, hard, soft) in enumerate(switches):
        folder = tmp_path / f"rfkill{index}"
        folder.mkdir()
        for name, text in (("type", kind), ("hard", hard), ("soft", soft)):
            (folder / name).write_text(f"{text}\n")
    assert bluez.blocked(tmp_path) == blocked
