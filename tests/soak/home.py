"""The daemon's own rooms, put together as it does it, on a clock that somebody else turns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from tests.configured import configured
from tests.models import tiny_bundle
from tests.soak.broker import Broker
from tests.soak.watch import BATCH, RATE_HZ, Watch
from vskd_stream import bundle as bundles
from vskd_stream.announce import Announcer
from vskd_stream.backoff import Backoff
from vskd_stream.broker import connection as connections
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.broker.journal import Journal
from vskd_stream.bundle import Bundle
from vskd_stream.classify import Classifier
from vskd_stream.control import Control
from vskd_stream.devices import Devices
from vskd_stream.payloads import Origin
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.presence import Presence
from vskd_stream.publication import Publication, Request
from vskd_stream.supervision.liveness import Progress
from vskd_stream.supervision.metrics import render
from vskd_stream.supervision.observe import Observer
from vskd_stream.tally import Tally
from vskd_stream.topics import will
from vskd_stream.vitals import Vitals
from vskd_stream.worker import Job, Skipped, Worker

STEP_S = BATCH / RATE_HZ
_BEGIN_S = 1.79e9
_DEVICES = 20
_STRANGERS = 2
"""More than the gateway has places for."""
_MAX_QUEUED = 64
_PATIENCE_S = 60.0


@dataclass
class Books:
    """What the outside knows: what the inside counts has to agree with it."""

    samples: Counter[str] = field(default_factory=Counter)
    """Sent in good payloads, by device."""
    garbage: int = 0
    windows: Counter[str] = field(default_factory=Counter)
    """Cut, by device."""
    messages: int = 0


@dataclass(frozen=True)
class Weight:
    """What the process has."""

    rss_bytes: int
    tasks: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> Weight:
        """Measured, after what is garbage has gone."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE"), len(asyncio.all_tasks()), files, threading.active_count()
        )


class Home:
    """One gateway and all that it serves."""

    def __init__(self, folder: Path, *, seed: int = 1) -> None:
        self.now_s = _BEGIN_S
        self.rng = random.Random(seed)
        self.books = Books()
        self.broker = Broker()
        self.tally = Tally(monotonic_s=lambda: self.now_s)
        self.watches = [Watch(f"watch{i}", self.rng) for i in range(_DEVICES + _STRANGERS)]
        self.progress = Progress()
        self.retiring: set[Pipeline] = set()
        self.reloads = 0
        self.settings = settings = configured(
            gateway="soak",
            limits={"max_devices": _DEVICES, "max_queued_windows": _MAX_QUEUED},
            no_data_after_s=25.0,
            publish={"scores": True},
        )
        self.models = [
            bundles.load(
                tiny_bundle(
                    folder / f"{name}.onnx",
                    name=name,
                    sampling_rate_hz=rate_hz,
                    window_samples=round(20 * rate_hz),
                    hop_samples=round(10 * rate_hz),
                )
            )
            for name, rate_hz in (("tiny", RATE_HZ), ("other", RATE_HZ), ("slow", RATE_HZ / 2))
        ]
        loaded = self.models[0]
        origin = self.origin = Origin("soak", "tiny", loaded.sha256, "soak")
        self.devices = Devices(settings, bundle=loaded, tally=self.tally)
        self.worker = self._make_worker(loaded)
        bounds = Bounds(2**22, 604_800.0, max_in_memory=1000)
        self.journal = Journal(
            Keeper(folder / "outbox.sqlite3", bounds, utc_s=lambda: self.now_s), max_pending=1000
        )
        self.connection = MqttConnection(
            "soak",  # type: ignore[arg-type]
            will=will(origin=origin),
            subscriptions=self.devices.reader.topic_filters,
            on_message=lambda _, __: None,
            birth=self._birth,
            max_queued=1000,
            tally=self.tally,
            journal=self.journal,
            backoff=Backoff(base_s=0.001, cap_s=0.002),
            monotonic_s=lambda: self.now_s,
        )
        self.announcer = Announcer(
            origin=origin,
            manifest=loaded.manifest,
            publish=self._publish,
            utc_s=lambda: self.now_s,
            scores=True,
        )
        self.presence = Presence(
            state=self.announcer.state,
            status=lambda device: self.vitals.status(device, self.now_s),
            idle=self.announcer.idle,
            discovery=None,
            forget_after_days=30.0,
            send=self.connection.greet,
            read=_reads_nothing,
            connected=self.connection.connected,
            utc_s=lambda: self.now_s,
        )
        self.vitals = Vitals(self.devices, origin=origin, no_data_after_s=25.0, publish=self.connection.greet)
        self.control = Control(
            origin=origin,
            discovery_prefix="homeassistant",
            devices=self.devices,
            vitals=self.vitals,
            announcer=self.announcer,
            reload=None,
            tell_all=self._tell_all,
            publish=self.connection.greet,
            tally=self.tally,
            utc_s=lambda: self.now_s,
            monotonic_s=lambda: self.now_s,
        )
        self.observer = Observer(
            devices=self.devices,
            connection=self.connection,
            tally=self.tally,
            progress=self.progress,
            origin=lambda: self.origin,
            settings=lambda: settings,
            is_durable=lambda: self.journal.is_durable,
            monotonic_s=lambda: self.now_s,
            utc_s=lambda: self.now_s,
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Everything runs, and has ended in order afterwards."""
        with mock.patch.object(connections, "Link", self.broker.link):
            await self.journal.open()
            tasks = [asyncio.create_task(each) for each in (self.connection.run(), self.presence.run())]
            self.working = asyncio.create_task(self.worker.run())
            yield
            self.broker.is_up = True
            await self.settle()
            async with asyncio.timeout(_PATIENCE_S):
                await self.connection.connected.wait()
                while self.connection.waiting:  # noqa: ASYNC110 (only the broker knows)
                    await asyncio.sleep(0.01)
            await self.connection.close(self.announcer.farewell())
            await self.journal.close()
            tasks.append(self.working)
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def pass_time(self) -> None:
        """One step: what watches send, what people and brokers do, and what the daemon's timers do."""
        self.now_s += STEP_S
        for watch in self.watches:
            for sent in watch.pass_time():
                topic = f"imu/{watch.name}/samples"
                self.books.samples[watch.name] += sent.samples
                self.books.garbage += not sent.samples
                self._submit(self.devices.receive(topic, sent.payload, arrival_s=self.now_s))
        self._submit(self.devices.tick(self.now_s))
        self.vitals.look(self.now_s)
        chance = self.rng.random()
        if chance < 0.002:
            self.broker.go_down()
        elif chance < 0.02:
            self.broker.is_up = True
        elif chance < 0.03:
            self._command("pause" if chance < 0.025 else "resume")
        elif chance < 0.033:
            await self._reload()
        elif chance < 0.3:
            # Now and then nobody waits for the model, and its queue runs over.
            await self.settle()
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Wait until the model has answered everything."""
        async with asyncio.timeout(_PATIENCE_S):
            await self.worker.drain()

    async def scrape(self) -> bytes:
        """What Prometheus would read."""
        return render(await self.observer._read())

    def check(self) -> None:
        """The books balance; call after ``settle``."""
        for device in self.devices.names:
            ledger = self.devices.ledger(device)
            assert ledger.samples.taken == self.books.samples[device], device
            held = sum(sum(map(len, p._reorderer._held)) for p in self.devices if p.device == device)
            assert ledger.samples.waiting == held, (device, ledger.samples)
            assert ledger.windows.waiting == 0, (device, ledger.windows)
            # What a suspicion cost was never handed on.
            handed_on = ledger.windows.taken - ledger.windows.dropped["suspect_windows"]
            assert handed_on == self.books.windows[device], device
            assert sum(ledger.latency.counts) == ledger.windows.used
        strangers = sum(self.books.samples[each] for each in self.books.samples.keys() - self.devices.names)
        assert self.devices.unserved.taken == self.devices.unserved.dropped["device_limit"] == strangers
        refused = ("unrecognised", "malformed", "unsupported_schema", "empty", "no_device")
        assert sum(self.tally.counts[reason] for reason in refused) == self.books.garbage

    def totals(self) -> dict[str, Any]:
        """Of all devices."""
        ledgers = [self.devices.ledger(device) for device in self.devices.names]
        return {
            "samples": sum(ledger.samples.taken for ledger in ledgers),
            "samples used": sum(ledger.samples.used for ledger in ledgers),
            "samples dropped": dict(sum((ledger.samples.dropped for ledger in ledgers), Counter())),
            "samples waiting": sum(ledger.samples.waiting for ledger in ledgers),
            "samples of strangers": self.devices.unserved.taken,
            "windows": sum(ledger.windows.taken for ledger in ledgers),
            "windows classified": sum(ledger.windows.used for ledger in ledgers),
            "windows dropped": dict(sum((ledger.windows.dropped for ledger in ledgers), Counter())),
            "gaps": dict(sum((ledger.gaps for ledger in ledgers), Counter())),
            "events and states": self.books.messages,
            "taken by the broker": self.broker.taken,
            "replayed": self.connection.replayed,
            "broker restarts": self.broker.restarts,
            "reloads": self.reloads,
            "refused and dropped": dict(self.tally.counts),
        }

    async def _reload(self) -> None:
        """Another model, as the daemon takes it over; watches and people go on meanwhile."""
        self.reloads += 1
        loaded = self.rng.choice(self.models)
        ended, replaced = self.devices.follow(self.settings, bundle=loaded)
        assert not ended
        self.retiring.update(pipeline for pipeline, _ in replaced)
        retiring, self.worker = self.worker, self._make_worker(loaded)
        if self.rng.random() < 0.5:
            self._command("pause")
        async with asyncio.timeout(_PATIENCE_S):
            await retiring.drain()
        self.working.cancel()
        begun = []
        for pipeline, successor in replaced:
            if self.devices.serves(successor):
                over, begins = pipeline.hand_over(successor)
                self.announcer.tell(pipeline, over)
                begun.append((successor, begins))
            else:
                self.announcer.stop(pipeline, reason="paused")
        self.retiring.clear()
        self.origin = Origin("soak", loaded.manifest.name, loaded.sha256, "soak")
        self.announcer.follow(
            origin=self.origin, manifest=loaded.manifest, scores=True, event_expiry_s=None, silent=()
        )
        for successor, begins in begun:
            self.announcer.tell(successor, begins)
        self.working = asyncio.create_task(self.worker.run())

    def _make_worker(self, loaded: Bundle) -> Worker:
        return Worker(
            Classifier(loaded).classify,
            deliver=self._deliver,
            on_skip=self._skipped,
            hop_samples=loaded.manifest.hop_samples,
            max_widening=loaded.manifest.max_widening,
            max_queued=_MAX_QUEUED,
        )

    def _submit(self, cuts: Iterable[tuple[Pipeline, Cut]]) -> None:
        for pipeline, cut in cuts:
            self.presence.appeared(pipeline.device)
            self.progress.went_in(self.now_s)
            job = Job(pipeline, cut)
            self.books.windows[pipeline.device] += hasattr(cut.piece, "end_sample")
            self.worker.submit(job)

    def _deliver(self, job: Job, probabilities: Any) -> None:
        self.progress.came_out(self.now_s)
        if self.devices.serves(job.pipeline) or job.pipeline in self.retiring:
            self.announcer.announce(job.pipeline, job.cut, probabilities)
        elif probabilities is not None:
            job.pipeline.ledger.windows.drop("paused", 1)

    def _skipped(self, job: Job, reason: Skipped) -> None:
        self.progress.gave_way()
        job.pipeline.ledger.windows.drop(reason, 1)
        self.tally.drop(job.pipeline.device, reason)
        self.devices.skipped(job.pipeline.device, self.now_s)

    def _publish(self, publication: Publication) -> None:
        self.books.messages += publication.qos
        self.connection.publish(publication)

    def _birth(self) -> list[Publication]:
        self._tell_all()
        return self.announcer.birth()

    def _tell_all(self) -> None:
        self.presence.tell_all()
        self.vitals.tell_all()

    def _command(self, name: str) -> None:
        device = self.rng.choice(sorted(self.devices.names) or ["nobody"])
        payload = f'{{"device":"{device}"}}'.encode()
        self.control.take(Request(f"vskd/soak/cmd/{name}", payload, None, None))


async def _reads_nothing(_: object) -> dict[str, bytes]:
    return {}


def quiet() -> None:
    """Nobody reads a week's log."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
