"""The daemon as a process, on the shipped configuration for Bluetooth, with two simulated devices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
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
from vskd_stream import cli, config, recording
from vskd_stream.errors import RecordingError
from vskd_stream.sources.ble.transcript import Player

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


async def test_bluetooth_devices_are_recorded_and_told_to_stop(tmp_path: Path) -> None:
    path, out = tmp_path / "ble.yaml", tmp_path / "both.vskdrec"
    path.write_text(CONFIG.read_text())
    async with SystemBus(tmp_path) as bus, World() as world, BlueZ(world, bus) as bluez:
        polar = SimulatedPolar(world)
        bangle = SimulatedBangle(world, "F0:00:00:00:00:02")
        await polar.start()
        await bangle.start()
        recorder = await asyncio.create_subprocess_exec(
            *(command("vskd"), "record", "--config", str(path), str(out)),
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
            stdout=asyncio.subprocess.PIPE,
        )

        def devices() -> set[str]:
            player = Player(max_devices=2)
            # There is a moment at which the file is, and its header is not.
            with contextlib.suppress(RecordingError):
                found = recording.read(out, accept_cut=True)
                return {samples.device for message in found for samples in player.read(message)}
            return set()

        await until(lambda: devices() == {"polar", "bangle"})
        recorder.send_signal(signal.SIGINT)
        printed, _ = await recorder.communicate()
        assert recorder.returncode == 0
        assert b"2 devices (bangle, polar)" in printed
        assert not polar.streaming
        assert not bangle.is_on
        await until(lambda: not bluez.links)
    assert cli.main(["replay", str(out), "--bundle", str(tiny_bundle(tmp_path / "tiny.onnx"))]) == 0


def test_a_configuration_without_what_is_asked_for_records_nothing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "none.vskdrec"
    assert cli.main(["record", "--config", str(CONFIG), "--only", "mqtt", str(out)]) == 78
    assert "no source of the kind mqtt" in capsys.readouterr().err
    assert not out.exists()
