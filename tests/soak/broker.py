"""A broker inside the process, in place of the network: it takes everything, while it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from vskd_stream.errors import BrokerError
from vskd_stream.publication import Publication


class Broker:
    """What every ``FakeLink`` of a test talks to."""

    def __init__(self) -> None:
        self.is_up = True
        self.taken = 0
        self.restarts = 0
        self._link: FakeLink | None = None

    def link(self, *_: Any, on_acknowledged: Callable[[int, str | None], None], **__: Any) -> FakeLink:
        """Stands in for ``Link``."""
        self._link = FakeLink(self, on_acknowledged)
        return self._link

    def go_down(self) -> None:
        """Lose all connections, and take none."""
        self.is_up = False
        self.restarts += 1
        if self._link is not None:
            self._link.abort("gone")


class FakeLink:
    """One connection, with what ``MqttConnection`` asks of one."""

    window = 20

    def __init__(self, broker: Broker, on_acknowledged: Callable[[int, str | None], None]) -> None:
        self._broker = broker
        self._on_acknowledged = on_acknowledged
        self._loop = asyncio.get_running_loop()
        self._mid = 0
        self.lost: asyncio.Future[str] = self._loop.create_future()

    async def open(self, subscriptions: Sequence[str], *, as_published: str | None = None) -> dict[str, str]:
        del subscriptions, as_published
        if not self._broker.is_up:
            raise BrokerError("soak", "nobody there")
        return {}

    async def subscribe(self, subscriptions: Sequence[str]) -> dict[str, str]:
        del subscriptions
        return {}

    async def live(self) -> str:
        await asyncio.wait((self.lost,))
        return self.lost.result()

    def send(self, publication: Publication) -> int:
        self._mid = self._mid % 65535 + 1
        if publication.qos == 1:
            self._loop.call_soon(self._acknowledge, self._mid)
        return self._mid

    def unsubscribe(self, subscriptions: Sequence[str]) -> None:
        del subscriptions

    async def goodbye(self) -> None:
        self.abort("goodbye")

    def abort(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def _acknowledge(self, mid: int) -> None:
        if not self.lost.done():
            self._broker.taken += 1
            self._on_acknowledged(mid, None)
