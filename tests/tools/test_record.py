from __future__ import annotations

import asyncio
import errno
import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from tests.brokers import Mosquitto, Observer, embedded_broker, free_port
from tests.heard import events_until, started
from tests.models import tiny_bundle
from tests.processes import DaemonProcess, command, write_config
from tests.wearer import day
from vskd_stream import cli
from vskd_stream.backoff import Backoff
from vskd_stream.broker.endpoint import Endpoint
from vskd_stream.errors import BrokerError, RecordingError
from vskd_stream.recording import Header, Message, Recorder, read
from vskd_stream.settings import MqttSource
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tools.record.command import describe
from vskd_stream.tools.record.harvest import Harvest, Taker
from vskd_stream.tools.record.mqtt import record

FILTER = "imu/+/samples"
STREAM_SIDE = (
    "event_type", "id", "device", "label", "confidence", "reason", "start_sample", "start_s", "at_sample",
    "at_s", "end_sample", "end_s", "duration_s",
)  # fmt: skip


class Recording:
    """A recorder at work on a file."""

    def __init__(
        self,
        path: Path,
        port: int,
        *,
        filters: tuple[str, ...] = (FILTER,),
        max_bytes: int = 2**30,
        recorder: type[Recorder] = Recorder,
        **options: Any,
    ) -> None:
        self.path = path
        self.stop = asyncio.Event()
        self._connected = asyncio.Event()
        self._recorder = recorder(path, Header(created=datetime.now(UTC)))
        self._taker = Taker(
            self._recorder, harvest=Harvest(), stop=self.stop, max_bytes=max_bytes, max_devices=64
        )
        options = {"endpoint": Endpoint(host="127.0.0.1", port=port, client_id="vskd-gw-record")} | options
        self._task = asyncio.create_task(
            record(
                self._taker,
                filters=filters,
                reader=MqttReader([MqttSource(topic=FILTER)], max_payload_bytes=2**18),
                backoff=Backoff(base_s=0.02, cap_s=0.1),
                begun=self._connected.set,
                **options,
            )
        )

    async def __aenter__(self) -> Self:
        waiting = asyncio.create_task(self._connected.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        self._recorder.close()

    async def has(self, count: int) -> None:
        """Wait until so many messages stand in the file."""
        async with asyncio.timeout(30):
            while len(self.messages()) < count:  # noqa: ASYNC110 (a file tells nobody that it grew)
                await asyncio.sleep(0.01)

    async def ended(self) -> Harvest:
        async with asyncio.timeout(30):
            await self._task
        return self._taker.harvest

    async def end(self) -> Harvest:
        self.stop.set()
        return await self.ended()

    def messages(self) -> list[Message]:
        return list(read(self.path))


@pytest.fixture
async def mosquitto():
    async with Mosquitto() as broker:
        yield broker


async def test_payloads_are_recorded_byte_for_byte_with_the_moments_of_their_arrival(mosquitto, tmp_path):
    payloads = [*day(seconds=2), b"", b"\x00 no batch \xff"]
    clock = iter(range(1000, 2000))
    async with (
        Recording(tmp_path / "a.vskdrec", mosquitto.port, utc_s=lambda: float(next(clock))) as recording,
        Observer(mosquitto.port, "imu/#") as observer,
    ):
        for payload in payloads:
            await observer.publish("imu/left/samples", payload)
        await observer.publish("imu/left/other", b"not ours")
        await observer.until("imu/left/other", b"not ours")
        await recording.has(len(payloads))
        harvest = await recording.end()
    assert [message.payload for message in recording.messages()] == payloads
    assert [message.arrival_s for message in recording.messages()] == [1000.0 + i for i in range(6)]
    assert (harvest.messages, harvest.bytes) == (6, sum(map(len, payloads)))
    assert harvest.devices == {"left"}
    assert harvest.undecoded.total() == 2


async def test_a_recording_of_a_live_stream_replays_to_the_events_that_the_daemon_sent(
    mosquitto, tmp_path, capsys
):
    model = tiny_bundle(tmp_path / "tiny.onnx")
    broker = {"host": "127.0.0.1", "port": mosquitto.port}
    config = write_config(tmp_path / "c.yaml", broker=broker, model=str(model), log={"format": "json"})
    out = tmp_path / "live.vskdrec"
    async with Observer(mosquitto.port, "vskd/#") as observer, DaemonProcess(config) as daemon:
        await daemon.event("connected")
        recorder = await asyncio.create_subprocess_exec(
            *(command("vskd"), "record", "--config", str(config), str(out)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert recorder.stderr is not None
        async with asyncio.timeout(30):
            while b'"recording"' not in await recorder.stderr.readline():
                pass
        for payload in day(seconds=28):
            await observer.publish("imu/left/samples", payload)
        live = await events_until(observer, started("moving"))
        live += await events_until(observer, started("still"))
        # The daemon may be ahead of the recorder.
        async with asyncio.timeout(30):
            while len(list(read(out, accept_cut=True))) < 56:  # noqa: ASYNC110 (another process writes it)
                await asyncio.sleep(0.02)
        recorder.send_signal(signal.SIGINT)
        printed, _ = await recorder.communicate()
        assert recorder.returncode == 0
        assert b"56 messages" in printed
        assert b"1 device (left)" in printed
        assert await daemon.stop() == 0

    assert cli.main(["replay", str(out), "--bundle", str(model), "--config", str(config)]) == 0
    replayed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def stream_side(events):
        return [{key: event.get(key) for key in STREAM_SIDE} for event in events]

    assert len(live) >= 4
    assert stream_side(replayed)[: len(live)] == stream_side(live)


async def test_a_broker_that_comes_back_is_recorded_on(mosquitto, tmp_path):
    async with Recording(tmp_path / "a.vskdrec", mosquitto.port) as recording:
        async with Observer(mosquitto.port) as observer:
            await observer.publish("imu/left/samples", b"before")
        await recording.has(1)
        await mosquitto.kill()
        await mosquitto.start()
        async with Observer(mosquitto.port) as observer, asyncio.timeout(10):
            while len(recording.messages()) < 2:
                await observer.publish("imu/left/samples", b"after")
        harvest = await recording.end()
    assert [message.payload for message in recording.messages()][:2] == [b"before", b"after"]
    assert harvest.connections == 2
    assert "lost 1 time" in describe(harvest, recording.path)


async def test_what_the_broker_kept_is_not_taken_for_live(mosquitto, tmp_path):
    async with Observer(mosquitto.port) as observer:
        await observer.publish("imu/left/samples", b"old", retain=True)
        async with Recording(tmp_path / "a.vskdrec", mosquitto.port) as recording:
            await observer.publish("imu/left/samples", b"new")
            await recording.has(1)
            harvest = await recording.end()
    assert [message.payload for message in recording.messages()] == [b"new"]
    assert harvest.left_out == {"retained": 1}


async def test_the_embedded_broker_of_a_running_daemon_is_recorded_too(tmp_path):
    async with embedded_broker() as broker:
        port = int(broker.listeners[0].rpartition(":")[2])
        endpoint = Endpoint(host="127.0.0.1", port=port, client_id="r", protocol="3.1.1")
        async with (
            Recording(tmp_path / "a.vskdrec", port, endpoint=endpoint) as recording,
            Observer(port) as observer,
        ):
            await observer.publish("imu/left/samples", b"live")
            await recording.has(1)
            await recording.end()
    assert [message.payload for message in recording.messages()] == [b"live"]


async def test_recording_ends_when_the_file_is_as_large_as_it_may_become(mosquitto, tmp_path):
    async with (
        Recording(tmp_path / "a.vskdrec", mosquitto.port, max_bytes=1000) as recording,
        Observer(mosquitto.port) as observer,
    ):
        for _ in range(20):
            await observer.publish("imu/left/samples", b"x" * 300)
        harvest = await recording.ended()
    assert harvest.messages == 4
    assert len(recording.messages()) == 4
    assert isinstance(harvest.failure, RecordingError)


class FullDisk(Recorder):
    def append(self, message: Message) -> None:
        raise RecordingError(self.path, "cannot be written") from OSError(errno.ENOSPC, "No space left")


async def test_a_full_disk_ends_the_recording_and_not_the_connection(mosquitto, tmp_path):
    async with (
        Recording(tmp_path / "a.vskdrec", mosquitto.port, recorder=FullDisk) as recording,
        Observer(mosquitto.port) as observer,
    ):
        await observer.publish("imu/left/samples", b"x")
        harvest = await recording.ended()
    assert harvest.messages == 0
    assert isinstance(harvest.failure, RecordingError)


async def test_a_topic_that_no_recording_holds_is_left_out_and_the_rest_goes_on(mosquitto, tmp_path):
    async with (
        Recording(tmp_path / "a.vskdrec", mosquitto.port, filters=("#",)) as recording,
        Observer(mosquitto.port) as observer,
    ):
        await observer.publish("x" * 600, b"too long")
        await observer.publish("short", b"fits")
        await recording.has(1)
        harvest = await recording.end()
    assert harvest.left_out == {"unrecordable": 1}
    assert [message.topic for message in recording.messages()] == ["short"]


async def test_a_broker_that_is_not_there_from_the_start_is_an_error(tmp_path):
    async with Recording(tmp_path / "a.vskdrec", free_port()) as recording:
        with pytest.raises(BrokerError, match="refused"):
            await recording.ended()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_that_is_none_is_wrong_usage(tmp_path, seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["record", "--config", "c.yaml", "--seconds", seconds, "out.vskdrec"])
    assert ended.value.code == 64


def test_a_topic_that_is_no_filter_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["record", "--config", "c.yaml", "--topic", "a+/b", "out.vskdrec"])
    assert ended.value.code == 64
    assert "stands alone" in capsys.readouterr().err


def test_a_file_that_exists_is_never_touched(tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": free_port()})
    out = tmp_path / "dear.vskdrec"
    out.write_bytes(b"dear")
    assert cli.main(["record", "--config", str(config), str(out)]) == 65
    assert out.read_bytes() == b"dear"
    assert "exists already" in capsys.readouterr().err


def test_without_a_broker_no_file_is_left(tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": free_port()})
    out = tmp_path / "a.vskdrec"
    assert cli.main(["record", "--config", str(config), str(out)]) == 69
    assert not out.exists()


async def test_when_nothing_came_that_is_said_and_no_file_is_left(mosquitto, tmp_path):
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "port": mosquitto.port})
    out = tmp_path / "a.vskdrec"
    process = await asyncio.create_subprocess_exec(
        *(command("vskd"), "record", "--config", str(config), "--seconds", "0.1", str(out)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 65
    assert b"nothing came" in error
    assert not out.exists()


def test_many_devices_are_told_in_one_line():
    harvest = Harvest(messages=1, bytes=2, devices={f"d{i:02}" for i in range(30)})
    told = describe(harvest, Path("a.vskdrec"))
    assert "30 devices" in told
    assert "and 20 more" in told
    assert told.count("\n") == 1
