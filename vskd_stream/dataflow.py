"""Messages → cuts → the model → what is told: the way of all devices' samples, under one model at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from vskd_stream.announce import Announcer
from vskd_stream.devices import Devices
from vskd_stream.equipment import Equipment
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.presence import Presence
from vskd_stream.samples import Samples
from vskd_stream.supervision.liveness import Progress
from vskd_stream.tally import Tally
from vskd_stream.worker import Job, Skipped, Worker

_SILENT_AT_ONCE, _SILENT_PAUSE_S = 50, 0.03
"""Of a fleet that falls silent at once so many are told of, and then whoever still speaks has a turn."""

_SKIPPED: dict[Skipped, str] = {
    "hop_widened": "the model cannot keep up: windows are classified less often, of all devices alike",
    "overload": "more windows than the model can take",
}

_log = structlog.get_logger()


class Dataflow:
    """What comes in is cut and queued; what the model makes of it is decided on and told."""

    _tasks: asyncio.TaskGroup
    _working: asyncio.Task[None]

    def __init__(
        self,
        equipment: Equipment,
        *,
        devices: Devices,
        announcer: Announcer,
        presence: Presence,
        progress: Progress,
        tally: Tally,
    ) -> None:
        self._devices = devices
        self._announcer = announcer
        self._presence = presence
        self._progress = progress
        self._tally = tally
        self._worker = self._make_worker(equipment)
        self._retiring: set[Pipeline] = set()
        """Pipelines of the model before, until all that they have cut is decided on."""

    @property
    def waiting(self) -> int:
        """Windows that wait for the model."""
        return self._worker.waiting

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Classify from now on."""
        self._tasks = tasks
        self._working = tasks.create_task(self._worker.run(), name="worker")

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message."""
        if cuts := self._devices.receive(topic, payload, arrival_s=time.time()):
            self._submit(cuts)

    def take(self, samples: Samples, arrival_s: float) -> None:
        """Take a batch from a source that keeps the order."""
        self._submit(self._devices.take(samples, arrival_s=arrival_s))

    async def tick(self) -> None:
        """Take that time passes, for the devices that have fallen silent."""
        while fell_silent := list(self._devices.tick(time.time(), most=_SILENT_AT_ONCE)):
            self._submit(fell_silent)
            await asyncio.sleep(_SILENT_PAUSE_S)

    async def exchange(
        self,
        after: Equipment,
        replaced: Sequence[tuple[Pipeline, Pipeline]],
        *,
        hand_over: Callable[[], None],
    ) -> None:
        """Go over to another model; ``hand_over`` is called when the old one has done all it was given."""
        self._retiring.update(pipeline for pipeline, _ in replaced)
        # What comes from now on waits for the new worker, until the old one has done all it was given.
        retiring, self._worker = self._worker, self._make_worker(after)
        await retiring.drain()
        self._working.cancel()
        hand_over()
        self._retiring.clear()
        self._working = self._tasks.create_task(self._worker.run(), name="worker")

    async def drain(self) -> None:
        """Return when all that came in is decided on."""
        await self._worker.drain()

    def end(self) -> None:
        """Decide on nothing any more."""
        self._working.cancel()

    def pipelines(self) -> Iterator[Pipeline]:
        """All that may have something to end, those first that are being replaced."""
        yield from self._retiring
        yield from self._devices

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


def _tell_widening(hops: int) -> None:
    if hops == 1:
        _log.info("the model keeps up: every window is classified again")
    else:
        _log.warning("the model cannot keep up", classified=f"one window in {hops} of each device")
