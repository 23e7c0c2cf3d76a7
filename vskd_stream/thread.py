"""One thread that makes one call at a time, and whose process can end without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class CallThread:
    """A worker's thread; unlike an executor's, a call that never returns keeps nobody from ending."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        # The interpreter waits at its end for any thread that is no daemon, a hung one for ever.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Have it called on the thread; whoever is cancelled while it runs does not wait for it."""
        future: Future[T] = Future()
        self._last = future
        self._calls.put((future, lambda: function(*arguments)))
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """End the thread, at once if it is idle, else when what it does has returned; never wait for that."""
        self._calls.put(None)
        if self._last is None or self._last.done():
            self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 (whoever called has it raised)
                future.set_exception(error)
            else:
                future.set_result(result)
