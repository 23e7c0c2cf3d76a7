"""The process: ``build`` wires, ``run`` is one TaskGroup, and a stop ends things in the order of the data."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from vskd_stream import logs, memory
from vskd_stream._jit import CACHE_DIRECTORY
from vskd_stream.announce import Announcer
from vskd_stream.backoff import Backoff
from vskd_stream.broker import retained
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.embedded import EmbeddedBroker
from vskd_stream.broker.journal import Journal
from vskd_stream.control import Control
from vskd_stream.devices import Devices
from vskd_stream.equipment import Equipment, equip, outbox_path
from vskd_stream.errors import RecordingError, VskdError
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.presence import Presence
from vskd_stream.publication import Publication, Request
from vskd_stream.recording import Recording
from vskd_stream.reload import Reloader
from vskd_stream.samples import Samples
from vskd_stream.settings import EmbeddedBroker as EmbeddedSettings
from vskd_stream.settings import Http, Replay, Settings
from vskd_stream.sources.replay import replay
from vskd_stream.supervision.liveness import HUNG_AFTER_S, Progress
from vskd_stream.supervision.notify import Notifier, Supervision
from vskd_stream.tally import Tally
from vskd_stream.topics import command_filter, will
from vskd_stream.vitals import Vitals
from vskd_stream.worker import Job, Skipped, Worker

if TYPE_CHECKING:
    from vskd_stream.sources.ble.manager import Manager

_SWITCH_S = 0.001
"""A thread that waits for the interpreter gets it after so long. The model's asks for it a few times a batch:
by Python's own 5 ms a busy event loop would keep it from windows that there is a core for."""
_TICK_S = 0.5
_SILENT_AT_ONCE, _SILENT_PAUSE_S = 50, 0.03
"""Of a fleet that falls silent at once so many are told of, and then whoever still speaks has a turn."""
_SUMMARY_EVERY_S = 300.0
_LEAVE_S, _DRAIN_S = 0.25, 0.5
_RECONNECT_CAP_S = 2.5
"""A home's broker has few gateways, and they are to be back within seconds however long it was away."""

_SKIPPED: dict[Skipped, str] = {
    "hop_widened": "the model cannot keep up: windows are classified less often, of all devices alike",
    "overload": "more windows than the model can take",
}

_log = structlog.get_logger()


def build(settings: Settings, *, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Daemon:
    """Load and check everything that a configuration names, and warm what must be warm before it serves.

    ``path`` is its file, which a reload reads again.

    Raises:
        VskdError: Something that the configuration names is not usable.
    """
    if CACHE_DIRECTORY is None:
        _log.warning("no writable cache directory: kernels are compiled at every start; set NUMBA_CACHE_DIR")
    equipment = equip(settings, environ=environ)
    return Daemon(equipment, journal=_journal_of(settings, environ), path=path)


def _journal_of(settings: Settings, environ: Mapping[str, str]) -> Journal | None:
    wanted, limit = settings.outbox, settings.limits.max_queued_events
    path = outbox_path(settings, environ)
    if path is None:
        return None
    bounds = Bounds(wanted.max_bytes, wanted.max_age_s, max_in_memory=limit)
    return Journal(Keeper(path, bounds), max_pending=limit)


def serve(daemon: Daemon) -> None:
    """Run until SIGTERM or SIGINT, reload on SIGHUP; a second signal to end waits for nothing.

    Raises:
        VskdError: The embedded broker cannot be started, or has died; another daemon has the outbox.
    """
    began_on_terminal = sys.stderr.isatty()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang_up() -> None:
            # A terminal that is closed says the same as who wants a reload.
            if began_on_terminal and not os.isatty(sys.stderr.fileno()):
                # What we say last would find nobody, and fail.
                with Path(os.devnull).open("wb") as nowhere:
                    os.dup2(nowhere.fileno(), sys.stderr.fileno())
                stop.set()
            else:
                daemon.reload()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_leave, stop)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        await daemon.run(stop)

    # Both are the whole process's: whoever only has a configuration checked keeps its own ways.
    memory.settle()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())
    except* VskdError as group:
        # The TaskGroup's: whatever failed first brought the others down.
        raise group.exceptions[0] from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed (the extra ``fast``), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _tell_widening(hops: int) -> None:
    if hops == 1:
        _log.info("the model keeps up: every window is classified again")
    else:
        _log.warning("the model cannot keep up", classified=f"one window in {hops} of each device")


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)
    stop.set()


class Daemon:
    """A gateway: one broker connection, one model at a time, many devices."""

    _tasks: asyncio.TaskGroup
    """Of everything that goes on while it runs."""
    _working: asyncio.Task[None]

    def __init__(
        self, equipment: Equipment, *, journal: Journal | None = None, path: Path | None = None
    ) -> None:
        """``path``: the configuration's file; None: nothing can be reloaded."""
        settings, bundle, origin = equipment.settings, equipment.bundle, equipment.origin
        self._equipment = equipment
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
        self._worker = self._make_worker(equipment)
        self._retiring: set[Pipeline] = set()
        """Pipelines of the model before, until all that they have cut is decided on."""
        self._settled = asyncio.Event()
        """Set while no configuration is being exchanged for another."""
        self._settled.set()
        self._bluetooth: Manager | None = None
        self._sources: set[asyncio.Task[None]] = set()
        self._replaying: list[tuple[Replay, asyncio.Task[None]]] = []
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
            current=lambda: self._equipment,
            exchange=self._exchange,
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
            settings = self._equipment.settings
            if isinstance(settings.broker, EmbeddedSettings):
                broker = EmbeddedBroker(settings.broker, max_payload_bytes=settings.limits.max_payload_bytes)
                await stack.enter_async_context(broker)
                _log.info("embedded broker listening", address=" and ".join(broker.listeners))
            self._tasks = tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._connection.run(), name="mqtt")
            self._working = tasks.create_task(self._worker.run(), name="worker")
            self._begin(self._tick(), "tick")
            self._begin(self._summarise(), "summary")
            self._begin(self._presence.run(), "presence")
            self._begin(self._supervision.run(), "supervision")
            if broker is not None:
                self._begin(broker.watch(), "broker")
            self._stream_bluetooth(settings)
            self._replay_all(self._equipment.replays)
            if settings.http is not None:
                await self._observe(settings.http, stack)
            if self._reloader:
                self._begin(self._reloader.run(), "reload")
            await stop.wait()
            _log.info("stopping")
            self._notifier.stopping()
            await self._run_dry()
            for pipeline in (*self._retiring, *self._devices):
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
                    await self._settled.wait()
                finally:
                    for source in list(self._sources):
                        source.cancel()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LEAVE_S):
                        await self._connection.leave()
                await self._worker.drain()
        except TimeoutError:
            # Its thread is left behind: what it does cannot be ended, and nobody waits for it.
            _log.warning("the model has not answered in time", windows=self._worker.waiting)
        self._connection.deafen()
        self._working.cancel()

    def reload(self) -> None:
        """Read the configuration again, if it has a file; what comes of it is told in the log."""
        if self._reloader:
            self._reloader.ask()

    async def _exchange(self, after: Equipment) -> None:
        """Go over to another configuration, all of it good; no sample, window or event is lost by that."""
        self._settled.clear()
        before, self._equipment = self._equipment, after
        settings, is_other_model = after.settings, before.bundle.sha256 != after.bundle.sha256
        if settings.log != before.settings.log:
            logs.configure(settings.log)
        ended, replaced = self._devices.follow(settings, bundle=after.bundle)
        for pipeline, events in ended:
            self._announcer.tell(pipeline, events)
        self._retiring.update(pipeline for pipeline, _ in replaced)
        # What comes from now on waits for the new worker, until the old one has done all it was given.
        retiring, self._worker = self._worker, self._make_worker(after)
        await retiring.drain()
        self._working.cancel()
        self._hand_over(replaced, after)
        self._working = self._tasks.create_task(self._worker.run(), name="worker")
        if is_other_model:
            for publication in self._announcer.birth():
                self._connection.greet(publication)
        self._stream_bluetooth(settings)
        self._replay_all(after.replays)
        self._settled.set()
        await self._connection.follow(
            endpoint=after.endpoint, will=will(origin=after.origin), subscriptions=self._subscriptions()
        )

    def _hand_over(self, replaced: Sequence[tuple[Pipeline, Pipeline]], after: Equipment) -> None:
        settings, origin = after.settings, after.origin
        begun = []
        for pipeline, successor in replaced:
            if self._devices.serves(successor):
                ended, begins = pipeline.hand_over(successor)
                self._announcer.tell(pipeline, ended)
                begun.append((successor, begins))
            else:
                self._announcer.stop(pipeline, reason="paused")
        self._retiring.clear()
        self._announcer.follow(
            origin=origin,
            manifest=after.bundle.manifest,
            scores=settings.publish.scores,
            event_expiry_s=settings.publish.event_expiry_s,
            silent=settings.silent,
        )
        self._presence.follow(
            discovery=after.discovery,
            forget_after_days=settings.home_assistant.forget_after_days,
            silent=settings.silent,
        )
        self._vitals.follow(origin=origin, no_data_after_s=settings.no_data_after_s, silent=settings.silent)
        self._control.follow(origin=origin)
        for successor, begins in begun:
            self._announcer.tell(successor, begins)

    def _make_worker(self, equipment: Equipment) -> Worker:
        return Worker(
            equipment.classifier.classify,
            deliver=self._deliver,
            on_skip=self._skipped,
            on_widening=_tell_widening,
            hop_samples=equipment.bundle.manifest.hop_samples,
            max_widening=equipment.bundle.manifest.max_widening,
            max_queued=equipment.settings.limits.max_queued_windows,
        )

    def _begin(self, source: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Something that goes on until the daemon is to stop, or until it ends by itself."""
        task = self._tasks.create_task(source, name=name)
        self._sources.add(task)
        task.add_done_callback(self._sources.discard)
        return task

    def _subscriptions(self) -> tuple[str, ...]:
        filters = self._devices.reader.topic_filters
        return (*filters, self._home_assistant) if self._home_assistant else filters

    def _stream_bluetooth(self, settings: Settings) -> None:
        if self._bluetooth is not None:
            self._bluetooth.exchange(settings.bluetooth)
        elif settings.bluetooth:
            # Who has no Bluetooth device does without D-Bus and a second of imports.
            from vskd_stream.sources.ble.manager import Manager

            self._bluetooth = Manager(settings.bluetooth, deliver=self._take, tally=self._tally)
            self._begin(self._bluetooth.run(), "bluetooth")

    def _replay_all(self, wanted: Iterable[tuple[Replay, Recording]]) -> None:
        """Play these recordings; those that play already go on."""
        playing, self._replaying = self._replaying, []
        for settings, messages in wanted:
            running = next((one for one in playing if one[0] == settings), None)
            if running is not None:
                playing.remove(running)
            else:
                replaying = self._replay(settings, messages)
                running = (settings, self._begin(replaying, f"replay {settings.recording}"))
            self._replaying.append(running)
        for _, task in playing:
            task.cancel()

    async def _read_retained(self, filters: Sequence[str]) -> dict[str, bytes]:
        return await retained.read(self._equipment.endpoint, filters)

    async def _observe(self, settings: Http, stack: contextlib.AsyncExitStack) -> None:
        # Who is not asked over HTTP does without a parser of it and Prometheus' client.
        from vskd_stream.supervision.http import Address, HttpServer
        from vskd_stream.supervision.observe import Observer

        observer = Observer(
            devices=self._devices,
            connection=self._connection,
            tally=self._tally,
            progress=self._progress,
            origin=lambda: self._equipment.origin,
            settings=lambda: self._equipment.settings,
            bluetooth=lambda: self._bluetooth,
            is_durable=self._is_durable,
        )
        address = Address(settings.listen, settings.port or 0, settings.socket)
        server = HttpServer(address, observer.routes, token=self._equipment.http_token)
        await stack.enter_async_context(server)
        _log.info("http listening", address=str(settings.socket or f"{settings.listen} port {server.port}"))
        self._begin(observer.run(), "observer")

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
        if cuts := self._devices.receive(topic, payload, arrival_s=time.time()):
            self._submit(cuts)

    def _take(self, samples: Samples, arrival_s: float) -> None:
        self._submit(self._devices.take(samples, arrival_s=arrival_s))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            while fell_silent := list(self._devices.tick(time.time(), most=_SILENT_AT_ONCE)):
                self._submit(fell_silent)
                await asyncio.sleep(_SILENT_PAUSE_S)
            now_s = time.time()
            if self._bluetooth is not None:
                for device, limits in self._bluetooth.limits():
                    self._devices.limit(device, limits)
            self._vitals.look(now_s)

    def _submit(self, cuts: Iterable[tuple[Pipeline, Cut]]) -> None:
        for pipeline, cut in cuts:
            self._presence.appeared(pipeline.device)
            self._progress.went_in(time.monotonic())
            self._worker.submit(Job(pipeline, cut))

    def _deliver(self, job: Job, probabilities: NDArray[np.float32] | None) -> None:
        self._progress.came_out(time.monotonic())
        if self._devices.serves(job.pipeline) or job.pipeline in self._retiring:
            self._announcer.announce(job.pipeline, job.cut, probabilities)
        elif probabilities is not None:
            job.pipeline.ledger.windows.drop("paused", 1)

    def _skipped(self, job: Job, reason: Skipped) -> None:
        self._progress.gave_way()
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
