"""One thread that classifies the windows of all devices in batches; the event loop never does.

Batches form by themselves: whatever came while the last batch was computed is the next one. Gaps
travel in the same queue as windows, so each device's cuts come out in the order they went in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vskd_stream.pipeline import Classify, Cut, Pipeline
from vskd_stream.window import Window


@dataclass(frozen=True, slots=True)
class Job:
    """What a device's stream was cut into, on its way to the model."""

    pipeline: Pipeline
    cut: Cut


Deliver = Callable[[Job, NDArray[np.float32] | None], None]
"""Called on the event loop with each job, in order, and its probabilities if it is a window."""


class Worker:
    """The queue before the model, and the thread that runs it."""

    def __init__(
        self,
        classify: Classify,
        *,
        deliver: Deliver,
        on_drop: Callable[[Job], None],
        max_queued: int,
        max_batch: int = 32,
    ) -> None:
        self._classify = classify
        self._deliver = deliver
        self._on_drop = on_drop
        self._max_queued = max_queued
        self._max_batch = max_batch
        self._jobs: deque[Job] = deque()
        self._windows = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, job: Job) -> None:
        """Queue a job, never blocking; beyond the bound the oldest window gives way, and is reported."""
        self._jobs.append(job)
        self._windows += isinstance(job.cut.piece, Window)
        if self._windows > self._max_queued:
            # Gaps stay: they are few, and an event must end where its stream did.
            oldest = next(i for i, queued in enumerate(self._jobs) if isinstance(queued.cut.piece, Window))
            dropped = self._jobs[oldest]
            del self._jobs[oldest]
            self._windows -= 1
            self._on_drop(dropped)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Classify until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="vskd-worker") as executor:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._jobs:
                    jobs = self._take()
                    windows = [job.cut.piece.acc_g for job in jobs if isinstance(job.cut.piece, Window)]
                    scores = iter(
                        await loop.run_in_executor(executor, self._classify, np.stack(windows))
                        if windows
                        else ()
                    )
                    for job in jobs:
                        self._deliver(job, next(scores) if isinstance(job.cut.piece, Window) else None)
                self._idle.set()

    async def drain(self) -> None:
        """Wait until everything that was submitted has been delivered."""
        await self._idle.wait()

    def _take(self) -> list[Job]:
        jobs: list[Job] = []
        windows = 0
        while self._jobs and windows < self._max_batch:
            job = self._jobs.popleft()
            windows += isinstance(job.cut.piece, Window)
            jobs.append(job)
        self._windows -= windows
        return jobs
