"""Messages that are due, one by one at a bounded rate: a broker's return must not be a burst."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vskd_stream.publication import Publication


class Pacer:
    """Sends what is due, in order; each message is made when its turn comes, so the newest is sent."""

    def __init__(self, send: Callable[[Publication], None], *, per_s: float) -> None:
        """At most ``per_s`` messages leave in a second."""
        self._send = send
        self._pause_s = 1.0 / per_s
        self._due: dict[str, Callable[[], Publication | None]] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def put(self, name: str, make: Callable[[], Publication | None]) -> None:
        """Have a message sent, if ``make`` makes one; what waits under this name keeps its place."""
        self._due[name] = make
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            while self._due:
                name = next(iter(self._due))
                if (publication := self._due.pop(name)()) is not None:
                    self._send(publication)
                    await asyncio.sleep(self._pause_s)
            self._wake.clear()
