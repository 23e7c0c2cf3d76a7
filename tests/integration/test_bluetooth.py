"""The daemon as a process, on the shipped configuration for Bluetooth, with two simulated devices."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import yaml

from tests.ble.bluez import BlueZ, SystemBus
from tests.ble.polar import SimulatedPolar
from tests.ble.profiles.devices import SimulatedBangle
from tests.ble.rig import until
from tests.ble.world import World
from tests.brokers import Observer, free_port
from tests.models import tiny_bundle
from tests.processes import DaemonProcess, command
from vskd_stream import config

CONFIG = Path(__file__).parents[2] / "configs" / "ble.yaml"


def test_the_example_for_bluetooth_names_what_it_needs() -> None:
    example = config.load(CONFIG)
    assert [(device.device, device.profile) for device in example.bluetooth] == [
        ("polar", "polar"),
        ("bangle", "bangle"),
    ]
    assert config.warnings(example) == []


async def test_two_devices_become_events_and_are_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    keys = yaml.safe_load(CONFIG.read_text())
    keys |= {"broker": {"embedded": {"port": port}}, "model": str(tiny_bundle(tmp_path / "tiny.onnx"))}
    path = tmp_path / "ble.yaml"
    path.write_text(yaml.safe_dump(keys))
    async with SystemBus(tmp_path) as bus, World() as world, BlueZ(world, bus) as bluez:
        polar = SimulatedPolar(world)
        bangle = SimulatedBangle(world, "F0:00:00:00:00:02")
        await polar.start()
        await bangle.start()
        environ = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        async with DaemonProcess(path, environ=environ) as daemon:
            await daemon.event("embedded broker listening")
            async with Observer(port, "vskd/#") as observer:
                started: set[str] = set()
                while started != {"polar", "bangle"}:
                    message = await observer.next()
                    if message.topic.endswith("/event"):
                        event = json.loads(message.payload)
                        started.add(event["device"])
            assert await daemon.stop() == 0
        assert not polar.streaming
        assert polar.commands[-1] == b"\x03\x02"
        assert not bangle.is_on
        await until(lambda: not bluez.links)


async def test_options_that_a_profile_does_not_take_are_a_mistake_in_the_configuration(
    tmp_path: Path,
) -> None:
    keys = yaml.safe_load(CONFIG.read_text())
    keys["model"] = str(tiny_bundle(tmp_path / "tiny.onnx"))
    keys["bluetooth"] = [{"device": "chest", "profile": "polar", "options": {"rate": 50}}]
    path = tmp_path / "ble.yaml"
    path.write_text(yaml.safe_dump(keys))
    process = await asyncio.create_subprocess_exec(
        command("vskd-streamd"), "--config", str(path), "--check-config", stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    assert process.returncode == 78
    assert b"Bluetooth device chest: rate: Extra inputs are not permitted" in told
