from __future__ import annotations

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from tests.models import tiny_bundle
from tests.processes import write_config
from vskd_stream import config
from vskd_stream.equipment import equip
from vskd_stream.reload import LIVE, Reloader, fixed
from vskd_stream.settings import Settings

BASE = {"gateway": "test", "broker": {"host": "127.0.0.1"}, "sources": [{"topic": "imu/+"}]}


def settings(**keys) -> Settings:
    return Settings.model_validate(BASE | keys)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, []),
        ({"sources": [{"topic": "other/+"}], "no_data_after_s": 5.0, "log": {"level": "debug"}}, []),
        ({"limits": {"max_devices": 3}, "home_assistant": {"moving": ["walking"]}}, []),
        ({"gateway": "other"}, ["gateway"]),
        ({"broker": {"host": "127.0.0.2"}, "commands": False}, ["broker", "commands"]),
        ({"limits": {"max_devices": 3, "max_queued_events": 99}}, ["limits.max_queued_events"]),
        ({"home_assistant": {"enabled": True, "moving": ["walking"]}}, ["home_assistant.enabled"]),
        ({"outbox": {"max_age_s": 60.0}}, ["outbox"]),
    ],
)
def test_what_is_not_known_to_be_exchangeable_needs_a_restart(keys, wanted):
    assert fixed(settings(), settings(**keys)) == wanted


def test_an_embedded_broker_keeps_the_limit_that_it_was_started_with():
    limits = {"limits": {"max_payload_bytes": 4096}}
    assert fixed(settings(), settings(**limits)) == []
    embedded = settings(broker="embedded")
    assert fixed(embedded, settings(broker="embedded", **limits)) == ["limits.max_payload_bytes"]


def test_every_key_that_may_change_exists():
    for key in LIVE:
        node = settings()
        for step in key.split("."):
            node = getattr(node, step)


@contextlib.asynccontextmanager
async def reloading(path, **hooks):
    equipment = [equip(config.load(path))]

    async def exchange(after):
        equipment[0] = after

    reloader = Reloader(path, current=lambda: equipment[0], exchange=exchange, **hooks)
    task = asyncio.create_task(reloader.run())
    yield reloader, equipment
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def path(tmp_path):
    model = tiny_bundle(tmp_path / "tiny.onnx")
    return write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1"}, model=str(model))


async def asked(reloader: Reloader) -> str | None:
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    reloader.ask(answer.set_result)
    async with asyncio.timeout(30):
        return await answer


async def test_the_same_model_is_not_loaded_twice(path):
    async with reloading(path) as (reloader, equipment):
        first = equipment[0]
        assert await asked(reloader) is None
        assert equipment[0] is not first
        assert equipment[0].classifier is first.classifier


async def test_a_file_with_other_bytes_is_another_model_under_its_old_name(path):
    async with reloading(path) as (reloader, equipment):
        first = equipment[0]
        tiny_bundle(path.with_name("tiny.onnx"), name="other")
        assert await asked(reloader) is None
        assert equipment[0].bundle.manifest.name == "other"
        assert equipment[0].classifier is not first.classifier


async def test_a_refusal_is_remembered_until_a_reload_succeeds(path):
    told = []
    hooks = {"on_begin": lambda: told.append("begin"), "on_end": lambda: told.append("end")}
    async with reloading(path, **hooks) as (reloader, equipment):
        first, good = equipment[0], path.read_text()
        path.write_text(good + "gateway2: x\n")
        with capture_logs() as logs:
            assert "unknown key" in str(await asked(reloader))
        assert logs[0]["event"] == "reload refused, the old configuration stays"
        assert equipment == [first]
        assert reloader.refusal.startswith("reload refused: ")
        path.write_text(good)
        assert await asked(reloader) is None
        assert reloader.refusal == ""
        assert told == ["begin", "end"] * 2


async def test_a_fault_of_our_own_is_told_and_the_old_configuration_serves_on(path, monkeypatch):
    def fault(*_, **__):
        raise RuntimeError("a fault")

    async with reloading(path) as (reloader, equipment):
        first = equipment[0]
        monkeypatch.setattr("vskd_stream.reload.equip", fault)
        with capture_logs():
            assert "a fault in vskd-stream: RuntimeError('a fault')" in str(await asked(reloader))
        assert equipment == [first]


async def test_whoever_asks_while_a_reload_goes_on_is_answered_by_the_next(path):
    begun = asyncio.Event()
    async with reloading(path, on_begin=begun.set) as (reloader, equipment):
        first: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        reloader.ask(first.set_result)
        await begun.wait()
        path.write_text(path.read_text() + "no_data_after_s: 7.0\n")
        assert await asked(reloader) is None
        assert first.done()
        assert equipment[0].settings.no_data_after_s == 7.0


def test_more_reloads_than_anyone_needs_are_refused(path):
    reloader = Reloader(path, current=lambda: None, exchange=lambda _: None)  # type: ignore[arg-type, return-value]
    answers: list[str | None] = []
    for _ in range(40):
        reloader.ask(answers.append)
    assert answers == ["too many reloads wait already"] * 8
