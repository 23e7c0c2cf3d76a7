from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.supervisors import ServiceManager
from vskd_stream.supervision.notify import Notifier, Supervision


@pytest.fixture
def manager():
    with ServiceManager(watchdog_s=0.1) as manager:
        yield manager


@contextlib.asynccontextmanager
async def supervised(
    manager: ServiceManager, *, can_serve=lambda: True, works=lambda: True, describe=lambda: "all is well"
) -> AsyncIterator[Supervision]:
    notifier = Notifier(manager.environ)
    supervision = Supervision(
        notifier, can_serve=can_serve, works=works, describe=describe, status_every_s=0.05
    )
    task = asyncio.create_task(supervision.run())
    yield supervision
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    notifier.close()


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_the_service_manager_hears_it_on_either_kind_of_socket(tmp_path, is_abstract):
    with ServiceManager(None if is_abstract else tmp_path / "notify") as manager:
        notifier = Notifier(manager.environ, monotonic_ns=lambda: 7_000_999)
        notifier.ready("serving")
        notifier.watchdog()
        notifier.reloading()
        notifier.stopping()
        notifier.close()
        assert [await manager.next() for _ in range(4)] == [
            {"READY": "1", "STATUS": "serving"},
            {"WATCHDOG": "1"},
            {"RELOADING": "1", "MONOTONIC_USEC": "7000"},
            {"STOPPING": "1", "STATUS": "stopping"},
        ]


def test_without_a_service_manager_nothing_is_said_and_nothing_fails():
    notifier = Notifier({})
    assert not notifier.is_listening
    assert not notifier.ready("serving")
    notifier.close()


@pytest.mark.parametrize("name", ["vsock:2:1", "relative"])
def test_a_socket_of_another_kind_is_told_and_not_used(name):
    with capture_logs() as logs:
        assert not Notifier({"NOTIFY_SOCKET": name}).is_listening
    assert "neither a path nor abstract" in logs[0]["event"]


def test_a_service_manager_that_has_gone_is_told_once(tmp_path):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with capture_logs() as logs:
        assert not notifier.ready("serving")
        assert not notifier.watchdog()
    assert [line["event"] for line in logs] == ["the service manager cannot be told"]
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_is_fed_if_this_very_process_is_watched(environ, watchdog_s):
    notifier = Notifier({"NOTIFY_SOCKET": "@vskd-nobody", **environ}, pid=7)
    assert notifier.watchdog_s == watchdog_s
    notifier.close()


async def test_a_status_is_one_line_and_says_nothing_else(manager):
    notifier = Notifier(manager.environ)
    notifier.status("bad:\n  line 1\nREADY=1\r\nMAINPID=1" + "x" * 1000)
    message = await manager.next()
    assert message.keys() == {"STATUS"}
    assert message["STATUS"].startswith("bad:; line 1; READY=1; MAINPID=1x")
    assert len(message["STATUS"]) <= 400
    notifier.close()


async def test_ready_waits_until_events_can_flow_and_asks_for_time_meanwhile(manager):
    flows = False
    async with supervised(manager, can_serve=lambda: flows) as supervision:
        assert (await manager.next()).keys() == {"EXTEND_TIMEOUT_USEC", "STATUS"}
        flows = True
        supervision.changed()
        await manager.until("READY")
        assert (await manager.next()) == {"WATCHDOG": "1"}
    assert not any("WATCHDOG" in message for message in manager.heard[:-1])


async def test_the_watchdog_starves_while_nothing_works_and_the_status_says_so(manager):
    hangs, looks = False, 0
    looked_thrice = asyncio.Event()

    def works():
        nonlocal looks
        looks = looks + 1 if hangs else 0
        if looks == 3:
            looked_thrice.set()
        return not hangs

    async with supervised(manager, works=works):
        await manager.until("WATCHDOG")
        hangs = True
        await manager.until("STATUS", "the model does not answer; all is well")
        await looked_thrice.wait()
        hangs = False
        assert await manager.next() == {"WATCHDOG": "1"}
        assert await manager.next() == {"STATUS": "all is well"}


async def test_a_reload_begins_and_ends_and_says_how_it_ended(manager):
    words = "all is well"
    async with supervised(manager, describe=lambda: words) as supervision:
        await manager.until("STATUS", "all is well")
        supervision.reloading()
        message = await manager.until("RELOADING")
        assert int(message["MONOTONIC_USEC"]) > 0
        words = "refused"
        supervision.reloaded()
        assert await manager.until("READY") == {"READY": "1", "STATUS": "refused"}


async def test_a_reload_before_all_is_ready_makes_nothing_ready(manager):
    async with supervised(manager, can_serve=lambda: False) as supervision:
        await manager.until("EXTEND_TIMEOUT_USEC")
        supervision.reloading()
        supervision.reloaded()
        await manager.until("EXTEND_TIMEOUT_USEC")
    assert not any({"READY", "RELOADING"} & message.keys() for message in manager.heard)
