from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from vskd_stream.broker.pacing import Pacer
from vskd_stream.publication import Publication


def message(name: str) -> Publication:
    return Publication(name, b"")


@contextlib.asynccontextmanager
async def running(pacer: Pacer) -> AsyncIterator[None]:
    task = asyncio.create_task(pacer.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def queue() -> tuple[asyncio.Queue[tuple[float, str]], Callable[[Publication], None]]:
    sent: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
    return sent, lambda publication: sent.put_nowait((time.monotonic(), publication.topic))


async def test_what_is_due_leaves_in_order_and_never_faster_than_it_may():
    sent, send = queue()
    pacer = Pacer(send, per_s=500.0)
    for number in range(100):
        pacer.put(str(number), partial(message, str(number)))
    async with running(pacer), asyncio.timeout(10):
        times = []
        for number in range(100):
            at_s, name = await sent.get()
            times.append(at_s)
            assert name == str(number)
    assert times[-1] - times[0] >= 99 / 500
    assert len(pacer) == 0


async def test_a_message_is_made_when_its_turn_comes_and_waits_only_once():
    sent, send = queue()
    pacer = Pacer(send, per_s=1e6)
    newest = "old"
    pacer.put("state", lambda: message(newest))
    pacer.put("other", lambda: message("other"))
    pacer.put("state", lambda: message(newest))
    newest = "new"
    async with running(pacer), asyncio.timeout(10):
        assert [(await sent.get())[1] for _ in range(2)] == ["new", "other"]
        pacer.put("again", lambda: message("again"))
        assert (await sent.get())[1] == "again"


async def test_what_need_not_be_said_any_more_is_passed_over():
    sent, send = queue()
    pacer = Pacer(send, per_s=1e6)
    pacer.put("gone", lambda: None)
    pacer.put("there", lambda: message("there"))
    async with running(pacer), asyncio.timeout(10):
        assert (await sent.get())[1] == "there"
