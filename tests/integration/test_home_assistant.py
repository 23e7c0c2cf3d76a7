"""A real Home Assistant finds gateway and watch over a real broker, and follows them through trouble.

Opt-in, for Home Assistant is large (66 s to install, 820 MB) and wants a Python of its own. Its
version 2025.4.4 on Python 3.13 is the one that this was written with:

    python3.13 -m venv /opt/home-assistant
    /opt/home-assistant/bin/pip install homeassistant==2025.4.4
    /opt/home-assistant/bin/pip install paho-mqtt==2.1.0 home-assistant-frontend==20250411.0 zlib-ng isal
    VSKD_HOME_ASSISTANT=/opt/home-assistant pytest tests/integration/test_home_assistant.py

The last packages are those that Home Assistant would fetch when it starts. It runs headless on a
free port of loopback; onboarding and the MQTT integration go through its own REST API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest

from tests.brokers import Observer, free_port, retained
from tests.models import tiny_bundle
from tests.processes import DaemonProcess, command, write_config
from tests.wearer import day
from vskd_stream.health import GRADES
from vskd_stream.manifest import STATES

_HOME = os.environ.get("VSKD_HOME_ASSISTANT", "")
pytestmark = [
    pytest.mark.skipif(
        not (_HOME and (Path(_HOME) / "bin" / "hass").exists()),
        reason="VSKD_HOME_ASSISTANT names no environment with Home Assistant; this file tells how to get one",
    ),
    pytest.mark.timeout(300),
]

BLUEPRINTS = Path(__file__).parents[2] / "configs" / "home-assistant"
_START_S = 90.0
_LIGHT = {
    "platform": "template",
    "lights": {
        "hall": {
            "value_template": "{{ is_state('input_boolean.hall', 'on') }}",
            **{
                f"turn_{way}": {
                    "action": f"input_boolean.turn_{way}",
                    "target": {"entity_id": "input_boolean.hall"},
                }
                for way in ("on", "off")
            },
        }
    },
}
_CONFIGURATION = """
homeassistant: {{name: test, unit_system: metric, time_zone: UTC, country: GB, latitude: 51, longitude: 0}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
api:
websocket_api:
auth:
config:
onboarding:
sun:
persistent_notification:
input_boolean: {{hall: {{name: Hall}}}}
light: {light}
logger: {{default: warning}}
automation: {automations}
"""


class HomeAssistant:
    """A real one; ``state`` and ``attributes`` are what its users see."""

    def __init__(
        self, directory: Path, *, broker_port: int, automations: list[dict[str, Any]] | None = None
    ) -> None:
        self._directory = directory
        self._broker_port = broker_port
        self.port = free_port()
        self._url = f"http://127.0.0.1:{self.port}"
        self._token = ""
        (directory / "blueprints" / "automation" / "vskd").mkdir(parents=True)
        for blueprint in BLUEPRINTS.glob("*.yaml"):
            shutil.copy(blueprint, directory / "blueprints" / "automation" / "vskd")
        text = _CONFIGURATION.format(
            port=self.port, automations=json.dumps(automations or []), light=json.dumps([_LIGHT])
        )
        (directory / "configuration.yaml").write_text(text)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(f"{_HOME}/bin/hass", "--config", str(self._directory), "--skip-pip", "--log-no-color"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._answers, within_s=_START_S)

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    async def set_up(self) -> None:
        """The first user, and the MQTT integration."""
        client = {"client_id": f"{self._url}/"}
        user = {"name": "test", "username": "test", "password": "testtest", "language": "en"}
        code = (await self._call("/api/onboarding/users", client | user))["auth_code"]
        form = urllib.parse.urlencode(client | {"grant_type": "authorization_code", "code": code}).encode()
        self._token = (await self._call("/auth/token", form))["access_token"]
        flow = await self._call("/api/config/config_entries/flow", {"handler": "mqtt"})
        broker = {"broker": "127.0.0.1", "port": self._broker_port}
        flow = await self._call(f"/api/config/config_entries/flow/{flow['flow_id']}", broker)
        assert flow["type"] == "create_entry", flow

    async def states(self) -> dict[str, dict[str, Any]]:
        return {each["entity_id"]: each for each in await self._call("/api/states")}

    async def is_state(self, entity: str, state: str, *, within_s: float = 10.0) -> dict[str, Any]:
        """Wait until an entity is in a state; its attributes."""
        told: dict[str, Any] = {}

        async def holds() -> bool:
            nonlocal told
            told = (await self.states()).get(entity, {})
            return told.get("state") == state

        try:
            await eventually(holds, within_s=within_s)
        except TimeoutError:
            raise AssertionError(f"{entity} is not {state}: {told}\n{self.log}") from None
        attributes: dict[str, Any] = told["attributes"]
        return attributes

    @contextlib.asynccontextmanager
    async def changes(self, entity: str) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
        """Each new state of an entity, as automations are told of it."""
        seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        request = f"GET /api/stream?restrict=state_changed HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        writer.write(f"{request}Authorization: Bearer {self._token}\r\n\r\n".encode())
        await reader.readuntil(b"data: ping")

        async def listen() -> None:
            async for line in reader:
                if line.startswith(b"data: {"):
                    data = json.loads(line.removeprefix(b"data: "))["data"]
                    if data["entity_id"] == entity:
                        seen.put_nowait(data["new_state"])

        listening = asyncio.create_task(listen())
        yield seen
        listening.cancel()
        writer.close()

    async def is_gone(self, entity: str) -> None:
        async def holds() -> bool:
            return entity not in await self.states()

        await eventually(holds)

    async def rendered(self, template: str) -> str:
        return str(await self._call("/api/template", {"template": template}))

    @property
    def log(self) -> str:
        path = self._directory / "home-assistant.log"
        return path.read_text() if path.exists() else ""

    @property
    def complaints(self) -> list[str]:
        """What it says of our messages, which it would take another way if it could."""
        return [line for line in self.log.splitlines() if "components.mqtt" in line and "vskd" in line]

    async def _answers(self) -> bool:
        assert self._process.returncode is None, self.log
        try:
            # Before there is a user it answers to nobody, but it answers.
            await self._call("/api/states" if self._token else "/api/onboarding")
        except (OSError, urllib.error.HTTPError):
            return False
        return True

    async def _call(self, path: str, data: dict[str, Any] | bytes | None = None) -> Any:
        return await asyncio.to_thread(self._call_now, path, data)

    def _call_now(self, path: str, data: dict[str, Any] | bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if isinstance(data, dict):
            headers["Content-Type"] = "application/json"
            data = json.dumps(data).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read().decode()
        return json.loads(body) if body[:1] in {"{", "["} else body

    async def __aenter__(self) -> Self:
        await self.start()
        await self.set_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def eventually(holds: Callable[[], Any], *, within_s: float = 10.0) -> None:
    """For what happens in another program, which announces it to nobody."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
def config(mosquitto, model, tmp_path):
    return write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        home_assistant={"enabled": True, "moving": ["moving"]},
        no_data_after_s=3600,
    )


@pytest.fixture
def home(mosquitto, tmp_path):
    directory = tmp_path / "home-assistant"
    directory.mkdir()
    return lambda **options: HomeAssistant(directory, broker_port=mosquitto.port, **options)


ENTITIES = ("sensor.left_activity", "sensor.left_confidence", "binary_sensor.left_moving")
GATEWAY = "binary_sensor.vskd_test_connectivity"


async def wear(observer: Observer, *, start: int = 0, seconds: int = 8) -> None:
    """Eight seconds of rest and eight of running in turn."""
    for payload in day(start=start, seconds=seconds):
        await observer.publish("imu/left/samples", payload)


async def test_gateway_and_watch_appear_with_states_attributes_and_events(mosquitto, config, home):
    async with Observer(mosquitto.port) as watch, home() as ha, DaemonProcess(config) as daemon:
        await ha.is_state(GATEWAY, "on")
        await ha.is_state("sensor.vskd_test_status", "online")
        await wear(watch)
        activity = await ha.is_state("sensor.left_activity", "still")
        assert activity["options"] == ["still", "moving", *STATES]
        assert activity["friendly_name"] == "Left Activity"
        assert len(activity["id"]) == 32
        assert activity["since_utc"].endswith("Z")
        assert activity["reason"] is None
        await ha.is_state("binary_sensor.left_moving", "off")
        await ha.is_state("sensor.left_status", "online")
        states = await ha.states()
        # A grade takes ten seconds of samples.
        assert states["sensor.left_data_quality"]["attributes"]["options"] == list(GRADES)
        assert 50 <= int(states["sensor.left_confidence"]["state"]) <= 100
        assert states["sensor.left_confidence"]["attributes"]["unit_of_measurement"] == "%"

        async with ha.changes("event.left_activity_event") as changes:
            await wear(watch, start=16, seconds=16)
            told: list[tuple[str, str]] = []
            while ("end", "moving") not in told:
                event = (await asyncio.wait_for(changes.get(), 10))["attributes"]
                told.append((event["event_type"], event["label"]))
        assert told[:2] == [("end", "still"), ("start", "moving")]
        assert ("update", "moving") in told
        assert event["event_types"] == ["start", "update", "end"]
        assert event["duration_s"] > 5
        assert event["latency_ms"] >= 0
        assert not {"schema", "bundle", "start_sample"} & event.keys()
        await wear(watch, start=48)
        await ha.is_state("sensor.left_activity", "moving")
        await ha.is_state("binary_sensor.left_moving", "on")

        device = "device_id('sensor.left_activity')"
        assert await ha.rendered(f"{{{{ device_attr({device}, 'name') }}}}") == "Left"
        gateway = f"device_attr({device}, 'via_device_id')"
        assert await ha.rendered(f"{{{{ device_attr({gateway}, 'name') }}}}") == "vskd Test"
        assert ha.complaints == []
        assert await daemon.stop() == 0


async def test_a_daemon_that_is_killed_or_stopped_makes_all_unavailable_until_it_is_back(
    mosquitto, config, home
):
    async with Observer(mosquitto.port) as watch, home() as ha:
        async with DaemonProcess(config) as daemon:
            await daemon.event("connected")
            await wear(watch)
            await ha.is_state("sensor.left_activity", "still")
            await daemon.stop(signal.SIGKILL)
            for entity in (*ENTITIES, "event.left_activity_event"):
                await ha.is_state(entity, "unavailable")
            await ha.is_state(GATEWAY, "off")
            await ha.is_state("sensor.vskd_test_status", "offline")
        async with DaemonProcess(config) as daemon:
            await ha.is_state(GATEWAY, "on")
            await wear(watch, start=100, seconds=4)
            await wear(watch, start=112, seconds=8)
            await ha.is_state("sensor.left_activity", "moving")
            assert await daemon.stop() == 0
            await ha.is_state("sensor.left_activity", "unavailable")
            await ha.is_state(GATEWAY, "off")
            await ha.is_state("sensor.vskd_test_status", "stopped")


async def test_after_a_broker_restart_that_lost_everything_all_is_back_within_ten_seconds(
    mosquitto, config, home
):
    async with Observer(mosquitto.port) as watch, home() as ha, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        await wear(watch)
        await ha.is_state("sensor.left_activity", "still")
        await mosquitto.kill()
        await ha.is_state("sensor.left_activity", "unavailable")
        await mosquitto.start()
        began_s = time.monotonic()

        async def kept() -> bool:
            topics = ("vskd_test/config", "vskd_test/left/config")
            entries = [await retained(mosquitto.port, f"homeassistant/device/{topic}") for topic in topics]
            return all(entries) and await retained(mosquitto.port, "vskd/test/left/state") is not None

        await eventually(kept)
        broker_s = time.monotonic() - began_s
        await ha.is_state("sensor.left_activity", "still", within_s=12)
        home_s = time.monotonic() - began_s
        print(f"\nthe broker has everything after {broker_s:.1f} s, home assistant after {home_s:.1f} s")
        assert broker_s < 10.0

        # Whoever reads what the broker keeps only now, finds everything.
        await ha.stop()
        await ha.start()
        await ha.is_state("sensor.left_activity", "still", within_s=30)
        await daemon.event("home assistant is online: announcing everything again")
        assert ha.complaints == []


async def test_a_removed_entry_and_a_stale_one_take_their_entities_with_them(mosquitto, config, home):
    async with Observer(mosquitto.port) as watch, home() as ha:
        async with DaemonProcess(config) as daemon:
            await daemon.event("connected")
            await wear(watch)
            await ha.is_state("sensor.left_activity", "still")
            assert await daemon.stop() == 0
        # Its state is forgotten, so nothing stands behind its entry any more.
        await watch.publish("vskd/test/left/state", b"", retain=True)
        async with DaemonProcess(config) as daemon:
            await daemon.event("removing a stale home assistant entry")
            await ha.is_gone("sensor.left_activity")
            await ha.is_state(GATEWAY, "on")
            assert await daemon.stop() == 0
        remove = await asyncio.create_subprocess_exec(
            *(command("vskd"), "discovery", "remove", "--all", "--config", str(config))
        )
        assert await remove.wait() == 0
        await ha.is_gone(GATEWAY)


async def test_another_model_changes_the_options_and_takes_the_moving_sensor_away(
    mosquitto, config, home, tmp_path
):
    async with Observer(mosquitto.port) as watch, home() as ha:
        async with DaemonProcess(config) as daemon:
            await daemon.event("connected")
            await wear(watch)
            await ha.is_state("binary_sensor.left_moving", "off")
            await daemon.stop()
        labels = ("lying", "sitting", "running")
        write_config(
            config,
            broker={"host": "127.0.0.1", "port": mosquitto.port},
            model=str(tiny_bundle(tmp_path / "other.onnx", labels=labels)),
            home_assistant={"enabled": True},
        )
        async with DaemonProcess(config):
            # The watch is silent; its entry is brought up to date all the same.
            await ha.is_gone("binary_sensor.left_moving")
            await wear(watch, start=112)
            activity = await ha.is_state("sensor.left_activity", "running")
            assert activity["options"] == [*labels, *STATES]


async def test_the_blueprints_switch_a_light_and_alert(mosquitto, config, home):
    automations = [
        {
            "id": "light",
            "alias": "light",
            "use_blueprint": {
                "path": "vskd/light-when-getting-up.yaml",
                "input": {
                    "moving": "binary_sensor.left_moving",
                    "light": {"entity_id": "light.hall"},
                    "at_rest_for": {"seconds": 1},
                    "only_when_dark": False,
                },
            },
        },
        {
            "id": "alert",
            "alias": "alert",
            "use_blueprint": {
                "path": "vskd/alert-when-no-movement.yaml",
                "input": {
                    "moving": "binary_sensor.left_moving",
                    "without_movement_for": {"seconds": 2},
                    "after": "00:00:00",
                    "before": "23:59:59",
                },
            },
        },
    ]
    async with (
        Observer(mosquitto.port) as watch,
        home(automations=automations) as ha,
        DaemonProcess(config) as daemon,
    ):
        await daemon.event("connected")
        await wear(watch)
        await ha.is_state("binary_sensor.left_moving", "off")
        await ha.is_state("light.hall", "off")
        await asyncio.sleep(1.5)  # At rest for longer than the blueprint asks for.
        await wear(watch, start=16)
        await ha.is_state("binary_sensor.left_moving", "on")
        await ha.is_state("light.hall", "on")
        # A daemon that is gone does not hide that nobody has moved.
        await wear(watch, start=32, seconds=6)
        await ha.is_state("binary_sensor.left_moving", "off")
        await daemon.stop(signal.SIGKILL)

        async def alerted() -> bool:
            return (await ha.states())["automation.alert"]["attributes"]["last_triggered"] is not None

        assert not await alerted()
        await eventually(alerted)
        assert (await ha.states())["binary_sensor.left_moving"]["state"] == "unavailable"
        assert not [line for line in ha.log.splitlines() if " ERROR " in line and "automation" in line]
