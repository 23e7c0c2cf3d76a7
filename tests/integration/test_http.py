"""Health and metrics of a real daemon, over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.brokers import Observer
from tests.heard import events_until, started
from tests.models import tiny_bundle
from tests.processes import DaemonProcess, write_config
from tests.wearer import day


def ask(port, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def port():
    return free_port()


def read(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def balanced(told, device):
    """Every sample that came was used, waits, or was dropped by name; how many were used."""
    dropped = sum(v for key, v in told.items() if key[:2] == ("vskd_device_samples_dropped_total", device))
    used, waiting = (told[f"vskd_device_samples_{w}", device] for w in ("used_total", "waiting"))
    assert told["vskd_device_samples_total", device] == used + waiting + dropped
    return used


async def test_a_daemon_tells_how_it_is_and_what_it_counts(tmp_path, model, mosquitto, port):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o640)
    config = write_config(
        tmp_path / "config.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        replay=[{"recording": "demo", "speed": 100.0}],
        http={"port": port, "token_file": "token"},
    )
    async with DaemonProcess(config) as daemon:
        await daemon.event("replayed")
        assert (await asyncio.to_thread(ask, port, "/metrics"))[0] == 401
        known = {"Authorization": "Bearer s3cret"}
        status, text = await asyncio.to_thread(ask, port, "/readyz", **known)
        assert (status, json.loads(text)["ready"]) == (200, True)
        assert (await asyncio.to_thread(ask, port, "/healthz", **known))[0] == 200
        status, text = await asyncio.to_thread(ask, port, "/metrics", **known)
        assert await daemon.stop() == 0
        assert "s3cret" not in "".join(daemon.raw)
    assert status == 200
    told = read(text)
    watch = "demo-watch"
    assert balanced(told, watch) > 1000
    assert told["vskd_device_windows_total", watch] > 50
    assert told["vskd_device_latency_seconds_count", watch] > 50
    assert told["process_resident_memory_bytes",] > 1e7


async def test_after_a_reload_the_metrics_go_on_and_name_the_new_model(tmp_path, model, mosquitto, port):
    def configure(path, **keys):
        broker = {"host": "127.0.0.1", "port": mosquitto.port}
        return write_config(tmp_path / "c.yaml", broker=broker, model=str(path), http={"port": port}, **keys)

    config = configure(model, limits={"max_devices": 5})
    other = tiny_bundle(tmp_path / "other.onnx", name="other")
    async with DaemonProcess(config) as daemon, Observer(mosquitto.port, "vskd/#") as observer:
        await daemon.event("connected")
        for payload in day(seconds=12):
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, started("moving"))
        before = read((await asyncio.to_thread(ask, port, "/metrics"))[1])
        configure(other, limits={"max_devices": 6})
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.event("reloaded")
        for payload in day(start=24, seconds=12):
            await observer.publish("imu/left/samples", payload)
        await events_until(observer, lambda event: event["bundle"]["name"] == "other")
        after = read((await asyncio.to_thread(ask, port, "/metrics"))[1])
        assert await daemon.stop() == 0
    assert balanced(after, "left") > balanced(before, "left") > 100
    assert (before["vskd_devices_limit",], after["vskd_devices_limit",]) == (5, 6)
    bundles = [[key[1] for key in told if key[0] == "vskd_bundle_info"] for told in (before, after)]
    assert bundles == [["tiny"], ["other"]]
    assert after["vskd_device_windows_total", "left"] > before["vskd_device_windows_total", "left"] > 0


async def test_before_a_broker_is_there_the_daemon_is_alive_and_not_ready(tmp_path, model, port):
    config = write_config(
        tmp_path / "config.yaml",
        broker={"host": "127.0.0.1", "port": free_port()},
        model=str(model),
        http={"port": port},
    )
    async with DaemonProcess(config, environ={"STATE_DIRECTORY": ""}) as daemon:
        await daemon.event("http listening")
        assert (await asyncio.to_thread(ask, port, "/healthz"))[0] == 200
        assert (await asyncio.to_thread(ask, port, "/readyz"))[0] == 503


async def test_an_address_that_is_taken_ends_the_daemon_with_words(tmp_path, model, mosquitto):
    config = write_config(
        tmp_path / "config.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        http={"port": mosquitto.port},
    )
    async with DaemonProcess(config) as daemon:
        assert await daemon.ended() == os.EX_UNAVAILABLE
        assert "choose another address" in "".join(daemon.raw)
