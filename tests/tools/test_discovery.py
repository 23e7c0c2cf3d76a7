from __future__ import annotations

import asyncio

import pytest

from tests.brokers import Mosquitto, Observer, free_port
from tests.manifests import manifest
from tests.processes import write_config
from vskd_stream import cli
from vskd_stream.broker import retained
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.discovery import Discovery
from vskd_stream.payloads import Origin

OTHERS = "homeassistant/device/vskd_test/foreign/config"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(retained, "_QUIET_S", 0.2)


def entries(gateway: str, *devices: str) -> dict[str, bytes]:
    one = Discovery(
        origin=Origin(gateway, "wrist", "ab" * 32, "0.1.0"),
        manifest=manifest(),
        no_data_after_s=10.0,
        moving=(),
        prefix="homeassistant",
    )
    return {each.topic: each.payload for each in (one.gateway(), *map(one.device, devices))}


@pytest.fixture
async def broker():
    kept = {**entries("test", "left", "right"), **entries("old", "left"), OTHERS: b'{"origin":{"name":"x"}}'}
    async with Mosquitto() as mosquitto, Observer(mosquitto.port) as observer:
        for topic, payload in kept.items():
            await observer.publish(topic, payload, retain=True)
        yield mosquitto


@pytest.fixture
def config(broker, tmp_path):
    return str(write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": broker.port}))


async def vskd(*arguments: str) -> int:
    # Each command has an event loop of its own.
    return await asyncio.to_thread(cli.main, ["discovery", *arguments])


async def test_the_entries_of_all_gateways_are_listed(config, capsys):
    assert await vskd("list", "--config", config) == 0
    assert capsys.readouterr().out.splitlines() == [
        "old - homeassistant/device/vskd_old/config",
        "old left homeassistant/device/vskd_old/left/config",
        "test - homeassistant/device/vskd_test/config",
        "test left homeassistant/device/vskd_test/left/config",
        "test right homeassistant/device/vskd_test/right/config",
    ]


async def test_a_device_is_removed_and_what_is_not_there_is_said(config, capsys):
    assert await vskd("remove", "left", "none", "--config", config) == 0
    assert capsys.readouterr().out.splitlines() == [
        "removed homeassistant/device/vskd_test/left/config",
        "nothing kept of test none",
    ]
    await vskd("list", "--config", config)
    assert "test left" not in capsys.readouterr().out


async def test_a_gateway_under_its_former_name_is_removed_whole_and_nothing_else(broker, config, capsys):
    assert await vskd("remove", "--all", "--gateway", "old", "--config", config) == 0
    capsys.readouterr()
    await vskd("list", "--config", config)
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"test"}
    await vskd("remove", "--all", "--config", config)
    endpoint = Endpoint(host="127.0.0.1", port=broker.port, client_id="test")
    assert await retained.read(endpoint, ["#"]) == {OTHERS: b'{"origin":{"name":"x"}}'}


async def test_nothing_is_removed_without_saying_what(config, capsys):
    with pytest.raises(SystemExit) as ended:
        await vskd("remove", "--config", config)
    assert ended.value.code == 64
    assert "usage" in capsys.readouterr().err


async def test_a_broker_that_does_not_allow_it_is_quoted(tmp_path, capsys):
    acl = "user admin\ntopic readwrite #\nuser vskd\ntopic read #\n"
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o600)
    passwords = {"admin": "admin", "vskd": "secret"}
    async with (
        Mosquitto(acl=acl, passwords=passwords) as mosquitto,
        Observer(mosquitto.port, username="admin", password="admin") as observer,
    ):
        for topic, payload in entries("test", "left").items():
            await observer.publish(topic, payload, retain=True)
        broker = {
            "host": "127.0.0.1",
            "port": mosquitto.port,
            "username": "vskd",
            "password_file": "password",
        }
        config = write_config(tmp_path / "c.yaml", broker=broker)
        assert await vskd("remove", "left", "--config", str(config)) == 69
        assert "vskd_test/left/config not removed: Not authorized" in capsys.readouterr().err


async def test_without_a_broker_there_is_one_sentence_and_an_exit_code(tmp_path, capsys):
    port = free_port()
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": port})
    for arguments in (["list"], ["remove", "--all"]):
        assert await vskd(*arguments, "--config", str(config)) == 69
        assert str(port) in capsys.readouterr().err
