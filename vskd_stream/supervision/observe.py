"""What the gateway tells over HTTP of itself: alive, ready, and its metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from vskd_stream import __version__
from vskd_stream.supervision import liveness
from vskd_stream.supervision.http import Answer, Handler
from vskd_stream.supervision.liveness import Lag
from vskd_stream.supervision.metrics import CONTENT_TYPE_LATEST, DeviceReading, Reading, render

if TYPE_CHECKING:
    from vskd_stream.broker.connection import MqttConnection
    from vskd_stream.devices import Devices
    from vskd_stream.payloads import Origin
    from vskd_stream.settings import Settings
    from vskd_stream.sources.ble.manager import Manager
    from vskd_stream.supervision.liveness import Progress
    from vskd_stream.tally import Tally

_LAG_EVERY_S = 1.0
_AT_ONCE = 20
"""Devices that are read before the event loop gets its turn."""


class Observer:
    """Reads what others count, when somebody asks; ``run`` measures the event loop's lag meanwhile."""

    def __init__(
        self,
        *,
        devices: Devices,
        connection: MqttConnection,
        tally: Tally,
        progress: Progress,
        origin: Callable[[], Origin],
        settings: Callable[[], Settings],
        bluetooth: Callable[[], Manager | None] = lambda: None,
        is_durable: Callable[[], bool],
        monotonic_s: Callable[[], float] = time.monotonic,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        """What is asked for at every scrape is what a reload may exchange, and a disk may refuse."""
        self._devices = devices
        self._connection = connection
        self._tally = tally
        self._progress = progress
        self._origin = origin
        self._settings = settings
        self._bluetooth = bluetooth
        self._is_durable = is_durable
        self._monotonic_s = monotonic_s
        self._utc_s = utc_s
        self._lag = Lag()
        self._one_at_a_time = asyncio.Lock()

    @property
    def routes(self) -> Mapping[str, Handler]:
        """What there is to ask for."""
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s = self._monotonic_s() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            now_s = self._monotonic_s()
            self._lag.observe(now_s, now_s - due_s)

    async def _healthz(self) -> Answer:
        # That the event loop turns shows in that there is an answer.
        return _verdict("alive", self._progress.troubles(self._monotonic_s()))

    async def _readyz(self) -> Answer:
        return _verdict("ready", self._unready())

    async def _metrics(self) -> Answer:
        # Whoever asks more often than can be answered waits for the others.
        async with self._one_at_a_time:
            reading = await self._read()
            body = await asyncio.to_thread(render, reading)
        return Answer(HTTPStatus.OK, body, CONTENT_TYPE_LATEST)

    def _unready(self) -> list[str]:
        return liveness.unready(
            is_connected=self._connection.connected.is_set(), is_durable=self._is_durable()
        )

    async def _read(self) -> Reading:
        now_s, settings, bluetooth = self._utc_s(), self._settings(), self._bluetooth()
        devices: dict[str, DeviceReading] = {}
        for number, (device, monitor) in enumerate(list(self._devices.monitors()), start=1):
            heard_s = monitor.heard_s
            devices[device] = DeviceReading(
                ledger=self._devices.ledger(device),
                is_online=heard_s is not None and now_s - heard_s < settings.no_data_after_s,
                is_paused=self._devices.is_paused(device),
                heard_utc_s=heard_s,
                health=self._devices.health(device, now_s),
            )
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        connection, traffic, origin = self._connection, self._connection.traffic, self._origin()
        counts = self._tally.counts
        return Reading(
            version=__version__,
            bundle_name=origin.bundle_name,
            bundle_sha256=origin.bundle_sha256,
            is_ready=not self._unready(),
            is_connected=connection.connected.is_set(),
            loop_lag_s=self._lag.worst_s(self._monotonic_s()),
            totals={
                "vskd_broker_connections_total": traffic.connections,
                "vskd_messages_received_total": traffic.received,
                "vskd_messages_published_total": traffic.published,
                "vskd_messages_acknowledged_total": traffic.acknowledged,
                "vskd_outbox_messages": connection.waiting,
                "vskd_outbox_bytes": connection.stored_bytes,
                "vskd_outbox_replayed_total": connection.replayed,
                "vskd_devices_limit": settings.limits.max_devices,
                "vskd_unserved_samples_total": self._devices.unserved.taken,
            },
            dropped={reason: count for reason, count in counts.items() if not reason.startswith("gap_")},
            devices=devices,
            bluetooth={
                status.device: Counter(status.counts) for status in (bluetooth.statuses if bluetooth else ())
            },
        )


def _verdict(word: str, troubles: list[str]) -> Answer:
    body = msgspec.json.encode({word: not troubles, "troubles": troubles})
    status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
    return Answer(status, body + b"\n", "application/json")
