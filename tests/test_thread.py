from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from vskd_stream.thread import CallThread


async def test_calls_are_made_one_after_another_on_a_thread_of_its_own():
    thread = CallThread("calls")
    names = await asyncio.gather(*(thread.call(lambda: threading.current_thread().name) for _ in range(3)))
    assert names == ["calls"] * 3
    thread.close()


async def test_what_a_call_raises_is_raised_where_it_is_awaited():
    thread = CallThread("calls")
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 1, 0)
    assert await thread.call(divmod, 7, 2) == (3, 1)
    thread.close()


async def test_an_idle_thread_has_ended_once_it_is_closed():
    thread = CallThread("calls that end")
    await thread.call(int)
    thread.close()
    assert "calls that end" not in {each.name for each in threading.enumerate()}


async def test_closing_waits_for_no_call_and_the_thread_ends_when_it_returns():
    thread, gate, begun = CallThread("calls"), threading.Event(), threading.Event()

    def hang():
        begun.set()
        gate.wait(60)

    call = thread.call(hang)
    await asyncio.to_thread(begun.wait, 30)
    call.cancel()
    thread.close()
    (left,) = [each for each in threading.enumerate() if each.name == "calls"]
    gate.set()
    await asyncio.to_thread(left.join, 30)
    assert not left.is_alive()


def test_a_process_ends_although_a_call_never_returns():
    program = """
import asyncio, threading
from vskd_stream.thread import CallThread
async def main():
    thread, begun = CallThread("hangs"), threading.Event()
    call = thread.call(lambda: (begun.set(), threading.Event().wait()))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    thread.close()
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
