"""A gateway: its parts wired, run in one TaskGroup, and ended in the order of the data."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from vskd_stream.announce import Announcer
from vskd_stream.backoff import Backoff
from vskd_stream.broker import retained
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.embedded import EmbeddedBroker
from vskd_stream.broker.journal import Journal
from vskd_stream.control import Control
from vskd_stream.dataflow import Dataflow
from vskd_stream.devices import Devices
from vskd_stream.equipment import Equipment
from vskd_stream.exchange import Exchange
from vskd_stream.feeds import Feeds
from vskd_stream.presence import Presence
from vskd_stream.publication import Publication, Request
from vskd_stream.reload import Reloader
from vskd_stream.settings import EmbeddedBroker as EmbeddedSettings
from vskd_stream.settings import Http
from vskd_stream.supervision.liveness import HUNG_AFTER_S, Progress
from vskd_stream.supervision.notify import Notifier, Supervision
from vskd_stream.tally import Tally
from vskd_stream.topics import command_filter, will
from vskd_stream.vitals import Vitals

_TICK_S = 0.5
_SUMMARY_EVERY_S = 300.0
_LEAVE_S, _DRAIN_S = 0.25, 0.5
_RECONNECT_CAP_S = 2.5
"""A home's broker has few gateways, and they are to be back within seconds however long it was away."""

_log = structlog.get_logger()


class Daemon:
    """A gateway: one broker connection, one model at a time, many devices."""

    def __init__(
        self, equipment: Equipment, *, journal: Journal | None = None, path: Path | None = None
    ) -> None:
        """``path``: the configuration's file; None: nothing can be reloaded."""
        settings, bundle, origin = equipment.settings, equipment.bundle, equipment.origin
        self._journal = journal
        self._tally = Tally()
        self._notifier = Notifier()
        # Who wants to be told sooner than we would know is told as soon.
        watchdog_s = self._notifier.watchdog_s or math.inf
        self._progress = Progress(hung_after_s=min(HUNG_AFTER_S, watchdog_s / 2))
        self._supervision = Supervision(
            self._notifier,
            can_serve=self._can_serve,
            works=lambda: not self._progress.troubles(time.monotonic()),
            describe=self._describe,
        )
        self._devices = Devices(settings, bundle=bundle, tally=self._tally)
        self._home_assistant = settings.home_assistant.status_topic if equipment.discovery else None
        self._connection = MqttConnection(
            equipment.endpoint,
            will=will(origin=origin),
            subscriptions=self._subscriptions(),
            on_message=self._receive,
            birth=self._birth,
            requests=command_filter(settings.gateway) if settings.commands else None,
            on_request=self._request,
            max_queued=settings.limits.max_queued_events,
            journal=journal,
            tally=self._tally,
            backoff=Backoff(cap_s=_RECONNECT_CAP_S),
        )
        self._announcer = Announcer(
            origin=origin,
            manifest=bundle.manifest,
            publish=self._connection.publish,
            utc_s=time.time,
            scores=settings.publish.scores,
            event_expiry_s=settings.publish.event_expiry_s,
            silent=settings.silent,
        )
        self._presence = Presence(
            state=self._announcer.state,
            status=lambda device: self._vitals.status(device, time.time()),
            idle=self._announcer.idle,
            discovery=equipment.discovery,
            forget_after_days=settings.home_assistant.forget_after_days,
            send=self._connection.greet,
            read=self._read_retained,
            connected=self._connection.connected,
        )
        for device in settings.silent:
            # A run before may have announced it.
            self._presence.gone(device)
        self._vitals = Vitals(
            self._devices,
            origin=origin,
            no_data_after_s=settings.no_data_after_s,
            publish=self._connection.greet,
        )
        self._reloader = path and Reloader(
            path,
            current=lambda: self._exchange.equipment,
            # It is made last: whoever is to follow is there by then.
            exchange=lambda after: self._exchange.to(after),  # noqa: PLW0108
            on_begin=self._supervision.reloading,
            on_end=self._supervision.reloaded,
        )
        self._control = Control(
            origin=origin,
            discovery_prefix=settings.home_assistant.discovery_prefix,
            devices=self._devices,
            vitals=self._vitals,
            announcer=self._announcer,
            tell_all=self._tell_all,
            reload=self._reloader.ask if self._reloader else None,
            publish=self._connection.greet,
            tally=self._tally,
        )
        self._dataflow = Dataflow(
            equipment,
            devices=self._devices,
            announcer=self._announcer,
            presence=self._presence,
            progress=self._progress,
            tally=self._tally,
        )
        self._feeds = Feeds(
            take=self._dataflow.take,
            publish=self._connection.publish,
            connected=self._connection.connected,
            tally=self._tally,
        )
        self._exchange = Exchange(
            equipment,
            devices=self._devices,
            dataflow=self._dataflow,
            feeds=self._feeds,
            announcer=self._announcer,
            presence=self._presence,
            vitals=self._vitals,
            control=self._control,
            connection=self._connection,
            subscriptions=self._subscriptions,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then end in order: sources, worker, what goes on, connection.

        Raises:
            BrokerError: The embedded broker cannot be started, or has died.
            VskdError: Another daemon has the outbox.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            await self._open_journal(stack)
            broker = None
            equipment = self._exchange.equipment
            settings = equipment.settings
            if isinstance(settings.broker, EmbeddedSettings):
                broker = EmbeddedBroker(settings.broker, max_payload_bytes=settings.limits.max_payload_bytes)
                await stack.enter_async_context(broker)
                _log.info("embedded broker listening", address=" and ".join(broker.listeners))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._connection.run(), name="mqtt")
            self._dataflow.begin(tasks)
            self._feeds.begin_in(tasks)
            self._feeds.begin(self._tick(), "tick")
            self._feeds.begin(self._summarise(), "summary")
            self._feeds.begin(self._presence.run(), "presence")
            self._feeds.begin(self._supervision.run(), "supervision")
            if broker is not None:
                self._feeds.begin(broker.watch(), "broker")
            self._feeds.follow(settings, equipment.replays)
            if settings.http is not None:
                await self._observe(settings.http, stack)
            if self._reloader:
                self._feeds.begin(self._reloader.run(), "reload")
            await stop.wait()
            _log.info("stopping")
            self._notifier.stopping()
            await self._run_dry()
            for pipeline in self._dataflow.pipelines():
                self._announcer.stop(pipeline)
            self._vitals.farewell(time.time())
            await self._connection.close(self._announcer.farewell())
        _log.info("stopped", **self._summary())

    async def _run_dry(self) -> None:
        """End the sources, then what decides on what came from them: nothing is decided on after this.

        What goes on is ended next. What began behind its end, in the time that the broker takes to
        acknowledge that, nobody would ever end.
        """
        try:
            async with asyncio.timeout(_DRAIN_S):
                try:
                    # A reload that is under way begins sources of its own.
                    await self._exchange.settled.wait()
                finally:
                    self._feeds.end()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LEAVE_S):
                        await self._connection.leave()
                await self._dataflow.drain()
        except TimeoutError:
            # Its thread is left behind: what it does cannot be ended, and nobody waits for it.
            _log.warning("the model has not answered in time", windows=self._dataflow.waiting)
        self._connection.deafen()
        self._dataflow.end()

    def reload(self) -> None:
        """Read the configuration again, if it has a file; what comes of it is told in the log."""
        if self._reloader:
            self._reloader.ask()

    def _subscriptions(self) -> tuple[str, ...]:
        filters = self._devices.reader.topic_filters
        return (*filters, self._home_assistant) if self._home_assistant else filters

    async def _read_retained(self, filters: Sequence[str]) -> dict[str, bytes]:
        return await retained.read(self._exchange.equipment.endpoint, filters)

    async def _observe(self, settings: Http, stack: contextlib.AsyncExitStack) -> None:
        # Who is not asked over HTTP does without a parser of it and Prometheus' client.
        from vskd_stream.supervision.http import Address, HttpServer
        from vskd_stream.supervision.observe import Observer

        observer = Observer(
            devices=self._devices,
            connection=self._connection,
            tally=self._tally,
            progress=self._progress,
            origin=lambda: self._exchange.equipment.origin,
            settings=lambda: self._exchange.equipment.settings,
            bluetooth=lambda: self._feeds.bluetooth,
            is_durable=self._is_durable,
        )
        address = Address(settings.listen, settings.port or 0, settings.socket)
        server = HttpServer(address, observer.routes, token=self._exchange.equipment.http_token)
        await stack.enter_async_context(server)
        _log.info("http listening", address=str(settings.socket or f"{settings.listen} port {server.port}"))
        self._feeds.begin(observer.run(), "observer")

    async def _open_journal(self, stack: contextlib.AsyncExitStack) -> None:
        if self._journal is None:
            _log.info("events wait in memory only", reason="the configuration has no outbox.directory")
            return
        cut_off = await self._journal.open()
        stack.push_async_callback(self._close_journal, self._journal)
        for one in cut_off:
            _log.info("ended what was cut off", device=one.device, label=one.label)
            self._connection.publish(one.state)

    async def _close_journal(self, journal: Journal) -> None:
        if undelivered := await journal.close():
            self._tally.drop("outbox", "undelivered", "events that are on no disk", count=undelivered)

    def _can_serve(self) -> bool:
        """Whether events get somewhere: to the broker, or to the disk until there is one."""
        return self._connection.connected.is_set() or self._is_durable()

    def _is_durable(self) -> bool:
        return self._journal is not None and self._journal.is_durable

    def _describe(self) -> str:
        words = [_counted(len(self._devices), "device"), self._connection.described]
        if waiting := self._connection.waiting:
            words.append(f"{_counted(waiting, 'message')} waiting")
        if self._reloader and self._reloader.refusal:
            words.append(self._reloader.refusal)
        return "; ".join(words)

    def _birth(self) -> list[Publication]:
        self._supervision.changed()
        self._tell_all()
        return self._announcer.birth()

    def _tell_all(self) -> None:
        self._presence.tell_all()
        self._vitals.tell_all()

    def _request(self, request: Request) -> None:
        self._control.take(request)

    def _receive(self, topic: str, payload: bytes) -> None:
        if topic == self._home_assistant:
            self._presence.home_assistant_says(payload)
            return
        self._dataflow.receive(topic, payload)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            await self._dataflow.tick()
            now_s = time.time()
            if self._feeds.bluetooth is not None:
                for device, limits in self._feeds.bluetooth.limits():
                    self._devices.limit(device, limits)
            self._vitals.look(now_s)

    async def _summarise(self) -> None:
        while True:
            await asyncio.sleep(_SUMMARY_EVERY_S)
            _log.info("summary", **self._summary())

    def _summary(self) -> dict[str, int]:
        return {
            "devices": len(self._devices),
            "received": self._connection.traffic.received,
            "published": self._connection.traffic.published,
            **self._tally.summary(),
        }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
