"""The process: ``build`` wires, ``run`` is one TaskGroup, and a stop ends things in the order of the data."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from vskd_stream import __version__, bundle, config, memory, presence, recording, runtime
from vskd_stream._jit import CACHE_DIRECTORY
from vskd_stream.announce import Announcer
from vskd_stream.backoff import Backoff
from vskd_stream.broker import retained
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.embedded import EmbeddedBroker
from vskd_stream.broker.endpoint import Endpoint, endpoint_of
from vskd_stream.broker.journal import Journal
from vskd_stream.bundle import Bundle
from vskd_stream.classify import Classifier
from vskd_stream.control import Control
from vskd_stream.devices import Devices
from vskd_stream.errors import RecordingError, VskdError
from vskd_stream.notify import Notifier, Supervision
from vskd_stream.payloads import Origin
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.presence import Presence
from vskd_stream.publication import Publication, Request
from vskd_stream.pulse import Pulse
from vskd_stream.recording import Recording
from vskd_stream.samples import Samples
from vskd_stream.settings import EmbeddedBroker as EmbeddedSettings
from vskd_stream.settings import Http, RemoteBroker, Replay, Settings
from vskd_stream.sources.replay import replay
from vskd_stream.tally import Tally
from vskd_stream.topics import command_filter, will
from vskd_stream.vitals import Vitals
from vskd_stream.worker import Job, Skipped, Worker

if TYPE_CHECKING:
    from vskd_stream.sources.ble.connection import Deliver
    from vskd_stream.sources.ble.manager import Manager

_TICK_S = 0.5
_SUMMARY_EVERY_S = 300.0
_DRAIN_S = 0.5
_OUTBOX_NAME = "outbox.sqlite3"
_RECONNECT_CAP_S = 2.5
"""A home's broker has few gateways, and they are to be back within seconds however long it was away."""
_SKIPPED: dict[Skipped, str] = {
    "hop_widened": "the model cannot keep up: windows are classified less often, of all devices alike",
    "overload": "more windows than the model can take",
}

_log = structlog.get_logger()


def build(settings: Settings, *, environ: Mapping[str, str] = os.environ) -> Daemon:
    """Load and check everything that a configuration names, and warm what must be warm before it serves.

    Raises:
        VskdError: Something that the configuration names is not usable.
    """
    loaded = bundle.load(bundle.resolve(settings.model.bundle), sha256=settings.model.sha256)
    replays = [(each, recording.read(recording.resolve(each.recording))) for each in settings.replay]
    remote = settings.broker if isinstance(settings.broker, RemoteBroker) else None
    password = config.read_password(remote, environ=environ) if remote else None
    endpoint = endpoint_of(settings, password, environ=environ)
    if CACHE_DIRECTORY is None:
        _log.warning("no writable cache directory: kernels are compiled at every start; set NUMBA_CACHE_DIR")
    for warning in config.warnings(settings):
        _log.warning(warning)
    classifier = Classifier(loaded, threads=runtime.threads(loaded.sha256))
    classifier.warm()
    daemon = Daemon(
        settings,
        # The session has a copy of the graph of its own.
        bundle=replace(loaded, graph=b""),
        classifier=classifier,
        endpoint=endpoint,
        replays=replays,
        journal=_journal_of(settings, environ),
        http_token=config.read_token(settings.http) if settings.http else None,
    )
    del loaded
    memory.settle()
    return daemon


def _journal_of(settings: Settings, environ: Mapping[str, str]) -> Journal | None:
    wanted, limit = settings.outbox, settings.limits.max_queued_events
    # systemd names several folders with colons between them; the first is the unit's own.
    state_directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    directory = wanted.directory or (Path(state_directory) if state_directory else None)
    if directory is None:
        return None
    bounds = Bounds(wanted.max_bytes, wanted.max_age_s, max_in_memory=limit)
    return Journal(Keeper(directory / _OUTBOX_NAME, bounds), max_pending=limit)


def serve(daemon: Daemon) -> None:
    """Run until SIGTERM or SIGINT; a second one ends without waiting for anything.

    Raises:
        VskdError: The embedded broker cannot be started, or has died.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_leave, stop)
        await daemon.run(stop)

    try:
        asyncio.run(main())
    except* VskdError as group:
        # The TaskGroup's: whatever failed first brought the others down.
        raise group.exceptions[0] from None


def _tell_widening(hops: int) -> None:
    if hops == 1:
        _log.info("the model keeps up: every window is classified again")
    else:
        _log.warning("the model cannot keep up", classified=f"one window in {hops} of each device")


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)
    stop.set()


def _bluetooth(settings: Settings, *, deliver: Deliver, tally: Tally) -> Manager | None:
    if not settings.bluetooth:
        return None
    # Who has no Bluetooth device does without D-Bus and a second of imports.
    from vskd_stream.sources.ble.manager import Manager

    return Manager(settings.bluetooth, deliver=deliver, tally=tally)


class Daemon:
    """A gateway: one broker connection, one model, many devices."""

    def __init__(
        self,
        settings: Settings,
        *,
        bundle: Bundle,
        classifier: Classifier,
        endpoint: Endpoint,
        replays: Iterable[tuple[Replay, Recording]] = (),
        journal: Journal | None = None,
        http_token: str | None = None,
    ) -> None:
        self._settings = settings
        self._http_token = http_token
        self._replays = tuple(replays)
        self._journal = journal
        self._tally = Tally()
        self._pulse = Pulse()
        self._notifier = Notifier()
        self._supervision = Supervision(
            self._notifier, can_serve=self._can_serve, works=self._pulse.beats, describe=self._describe
        )
        self._devices = Devices(settings, bundle=bundle, tally=self._tally)
        self._worker = Worker(
            classifier.classify,
            deliver=self._deliver,
            on_skip=self._skipped,
            on_widening=_tell_widening,
            hop_samples=bundle.manifest.hop_samples,
            max_widening=bundle.manifest.max_widening,
            max_queued=settings.limits.max_queued_windows,
        )
        self._bluetooth = _bluetooth(settings, deliver=self._take, tally=self._tally)
        origin = self._origin = Origin(settings.gateway, bundle.manifest.name, bundle.sha256, __version__)
        discovery = presence.discovery_of(settings, bundle=bundle, origin=origin)
        self._home_assistant = settings.home_assistant.status_topic if discovery else None
        subscriptions = self._devices.reader.topic_filters
        self._connection = MqttConnection(
            endpoint,
            will=will(origin=origin),
            subscriptions=(*subscriptions, self._home_assistant) if self._home_assistant else subscriptions,
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
            idle=self._announcer.idle,
            discovery=discovery,
            forget_after_days=settings.home_assistant.forget_after_days,
            send=self._connection.greet,
            read=partial(retained.read, endpoint),
            connected=self._connection.connected,
        )
        self._vitals = Vitals(
            self._devices,
            origin=origin,
            no_data_after_s=settings.no_data_after_s,
            publish=self._connection.greet,
        )
        self._control = Control(
            origin=origin,
            discovery_prefix=settings.home_assistant.discovery_prefix,
            devices=self._devices,
            vitals=self._vitals,
            announcer=self._announcer,
            tell_all=self._tell_all,
            publish=self._connection.greet,
            tally=self._tally,
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
            if isinstance(self._settings.broker, EmbeddedSettings):
                max_payload_bytes = self._settings.limits.max_payload_bytes
                broker = EmbeddedBroker(self._settings.broker, max_payload_bytes=max_payload_bytes)
                await stack.enter_async_context(broker)
                _log.info("embedded broker listening", address=" and ".join(broker.listeners))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._connection.run(), name="mqtt")
            worker = tasks.create_task(self._worker.run(), name="worker")
            sources = [
                tasks.create_task(self._tick(), name="tick"),
                tasks.create_task(self._summarise(), name="summary"),
                tasks.create_task(self._presence.run(), name="presence"),
                tasks.create_task(self._supervision.run(), name="supervision"),
            ]
            if self._settings.http is not None:
                sources.append(await self._observe(self._settings.http, stack, tasks))
            if broker is not None:
                sources.append(tasks.create_task(broker.watch(), name="broker"))
            if self._bluetooth is not None:
                sources.append(tasks.create_task(self._bluetooth.run(), name="bluetooth"))
            for settings, messages in self._replays:
                replaying = self._replay(settings, messages)
                sources.append(tasks.create_task(replaying, name=f"replay {settings.recording}"))
            await stop.wait()
            _log.info("stopping")
            self._notifier.stopping()
            for source in sources:
                source.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await self._worker.drain()
            for pipeline in self._devices:
                self._announcer.stop(pipeline)
            self._vitals.farewell(time.time())
            await self._connection.close(self._announcer.farewell())
            worker.cancel()
        _log.info("stopped", **self._summary())

    async def _observe(
        self, settings: Http, stack: contextlib.AsyncExitStack, tasks: asyncio.TaskGroup
    ) -> asyncio.Task[None]:
        # Who is not asked over HTTP does without a parser of it and Prometheus' client.
        from vskd_stream.http import Address, HttpServer
        from vskd_stream.observe import Observer

        observer = Observer(
            devices=self._devices,
            connection=self._connection,
            tally=self._tally,
            origin=lambda: self._origin,
            has_outbox=lambda: self._journal is not None,
            max_devices=self._settings.limits.max_devices,
            no_data_after_s=self._settings.no_data_after_s,
            bluetooth=self._bluetooth,
        )
        address = Address(settings.listen, settings.port or 0, settings.socket)
        server = HttpServer(address, observer.routes, token=self._http_token)
        await stack.enter_async_context(server)
        _log.info("http listening", address=str(settings.socket or f"{settings.listen} port {server.port}"))
        return tasks.create_task(observer.run(), name="observer")

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
        is_durable = self._journal is not None and self._journal.is_durable
        return self._connection.connected.is_set() or is_durable

    def _describe(self) -> str:
        broker = self._connection.described
        waiting = self._connection.waiting
        return f"{_counted(len(self._devices), 'device')}; {broker}" + (
            f"; {_counted(waiting, 'message')} waiting" if waiting else ""
        )

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
        self._submit(self._devices.receive(topic, payload, arrival_s=time.time()))

    def _take(self, samples: Samples, arrival_s: float) -> None:
        self._submit(self._devices.take(samples, arrival_s=arrival_s))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = time.time()
            self._submit(self._devices.tick(now_s))
            if self._bluetooth is not None:
                for device, limits in self._bluetooth.limits():
                    self._devices.limit(device, limits)
            self._vitals.look(now_s)

    def _submit(self, cuts: Iterable[tuple[Pipeline, Cut]]) -> None:
        for pipeline, cut in cuts:
            self._presence.appeared(pipeline.device)
            self._pulse.went_in()
            self._worker.submit(Job(pipeline, cut))

    def _deliver(self, job: Job, probabilities: NDArray[np.float32] | None) -> None:
        self._pulse.came_out()
        if self._devices.serves(job.pipeline):
            self._announcer.announce(job.pipeline, job.cut, probabilities)
        elif probabilities is not None:
            job.pipeline.ledger.windows.drop("paused", 1)

    def _skipped(self, job: Job, reason: Skipped) -> None:
        self._pulse.came_out()
        job.pipeline.ledger.windows.drop(reason, 1)
        self._tally.drop(job.pipeline.device, reason, _SKIPPED[reason])
        self._devices.skipped(job.pipeline.device, time.time())

    async def _replay(self, settings: Replay, messages: Recording) -> None:
        _log.info("replaying", recording=settings.recording, topic=settings.topic or "as recorded")
        try:
            await replay(
                messages,
                publish=self._connection.publish,
                connected=self._connection.connected,
                start_s=settings.start_s,
                speed=settings.speed,
                repeat=settings.repeat,
                topic=settings.topic,
            )
        except RecordingError as error:
            # The watches are served on, whatever becomes of a recording.
            _log.error("replay ended", reason=str(error))
        else:
            _log.info("replayed", recording=settings.recording)

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
