"""One thread that classifies the windows of all devices in batches; the event loop never does.

A batch begins when it is full, or when its oldest window could not wait longer and still be in time:
the moment follows from the window's age and from what batches have cost. Nobody waits for windows that
are not expected. Gaps travel in the same queue, so each device's cuts come out in the order they went in.

When the model cannot keep up the hop is widened first (``load``), of all devices alike; then windows give
way, the oldest of whoever has one waiting already; samples are never dropped here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream.load import Load
from vskd_stream.pipeline import Classify, Cut, Pipeline
from vskd_stream.thread import CallThread
from vskd_stream.window import Window

BUDGET_S: Final = 0.020
"""From a window's coming to the end of its batch, while the model keeps up: below what anyone notices,
and enough for the windows of a thousand devices to come in tens."""

Skipped = Literal["hop_widened", "overload"]
"""Why a window is not classified: the hop is widened, or there is no room even so."""


class Job(msgspec.Struct, frozen=True, eq=False):
    """What a device's stream was cut into, on its way to the model."""

    pipeline: Pipeline
    cut: Cut


class _Entry(msgspec.Struct, eq=False):
    job: Job
    since_s: float
    window: Window | None
    gave_way: bool = False


Deliver = Callable[[Job, NDArray[np.float32] | None], None]
"""Called on the event loop with each job, in order, and its probabilities if it is a window."""


class Worker:
    """The queue before the model, and the thread that runs it."""

    def __init__(
        self,
        classify: Classify,
        *,
        deliver: Deliver,
        on_skip: Callable[[Job, Skipped], None],
        on_widening: Callable[[int], None] = lambda _: None,
        hop_samples: int,
        max_widening: int = 1,
        max_queued: int,
        max_batch: int = 64,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_widening(hops)`` tells that from now on windows are classified every so many hops."""
        self._classify = classify
        self._deliver = deliver
        self._on_skip = on_skip
        self._on_widening = on_widening
        self._hop_samples = hop_samples
        self._max_queued = max_queued
        self._max_batch = max_batch
        self._monotonic_s = monotonic_s
        self._load = Load(max_widening=max_widening)
        self._entries: deque[_Entry] = deque()
        self._waiting: dict[Pipeline, deque[_Entry]] = {}
        self._windows = 0
        self._has_given_way = False
        """Since the load was looked at last."""
        self._batch: NDArray[np.float32] | None = None
        self._draining = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def widening(self) -> int:
        """Windows are classified every so many hops."""
        return self._load.widening

    @property
    def waiting(self) -> int:
        """Windows that wait for the model."""
        return self._windows

    def submit(self, job: Job) -> None:
        """Queue a job, never blocking; where there is no room a window is skipped, and reported."""
        now_s = self._monotonic_s()
        window = job.cut.piece if isinstance(job.cut.piece, Window) else None
        entry = _Entry(job, now_s, window)
        if window is not None:
            self._load.offer(now_s)
            if not self._load.takes(window.end_sample, hop_samples=self._hop_samples):
                self._on_skip(job, "hop_widened")
                self._look(now_s)
                return
            if (own := self._waiting.get(job.pipeline)) is None:
                self._waiting[job.pipeline] = deque((entry,))
            else:
                own.append(entry)
            self._windows += 1
        self._entries.append(entry)
        if self._windows > self._max_queued:
            self._give_way(job.pipeline)
        self._idle.clear()
        # While a batch gathers, a window that does not change when it begins wakes nobody.
        if self._windows == 1 or self._remaining_s() <= 0.0:
            self._wake.set()

    async def run(self) -> None:
        """Classify until cancelled."""
        loop = asyncio.get_running_loop()
        with contextlib.closing(CallThread("vskd-worker")) as thread:
            while True:
                await self._gathered(loop)
                entries = self._take()
                windows = [entry.window.acc_g for entry in entries if entry.window is not None]
                if windows:
                    probabilities, cost_s = await thread.call(self._compute, windows)
                    self._load.measure(cost_s, windows=len(windows))
                    scores = iter(probabilities)
                for entry in entries:
                    self._deliver(entry.job, None if entry.window is None else next(scores))
                self._look(self._monotonic_s())
                if not self._entries:
                    self._idle.set()

    async def drain(self) -> None:
        """Wait until everything that was submitted has been delivered; nothing is waited for any more."""
        self._draining = True
        self._wake.set()
        await self._idle.wait()

    async def _gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return when a batch should begin."""
        while True:
            self._wake.clear()
            if self._entries and (remaining_s := self._remaining_s()) <= 0.0:
                return
            alarm = loop.call_later(remaining_s, self._wake.set) if self._entries else None
            try:
                await self._wake.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()

    def _remaining_s(self) -> float:
        """For how long it pays to wait for more windows; at most 0 if it does not."""
        if self._draining or self._windows != len(self._entries) or self._windows >= self._max_batch:
            # A gap costs nothing, and what ends with it is to be told.
            return 0.0
        cost_s = self._load.cost_s * (self._windows + 1)
        remaining_s = self._entries[0].since_s + BUDGET_S - cost_s - self._monotonic_s()
        return remaining_s if remaining_s * self._load.rate_hz / self._load.widening >= 1.0 else 0.0

    def _compute(self, windows: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], float]:
        """On the worker's own thread: gather the windows and classify them; what it took, in seconds."""
        begun_s = time.perf_counter()
        if self._batch is None:
            self._batch = np.empty((self._max_batch, *windows[0].shape), np.float32)
        for row, window in zip(self._batch, windows, strict=False):
            row[:] = window
        probabilities = self._classify(self._batch[: len(windows)])
        return probabilities, time.perf_counter() - begun_s

    def _take(self) -> list[_Entry]:
        entries: list[_Entry] = []
        windows = 0
        while self._entries and windows < self._max_batch:
            entry = self._entries.popleft()
            if entry.gave_way:
                continue
            if entry.window is not None:
                windows += 1
                self._forget(entry)
            entries.append(entry)
        return entries

    def _give_way(self, pipeline: Pipeline) -> None:
        """The device's own oldest window, else the oldest of all: who sends most loses most."""
        own = self._waiting[pipeline]
        oldest = (
            own[0]
            if len(own) > 1
            else next(entry for entry in self._entries if entry.window is not None and not entry.gave_way)
        )
        oldest.gave_way = self._has_given_way = True
        self._forget(oldest)
        while self._entries and self._entries[0].gave_way:
            self._entries.popleft()
        self._on_skip(oldest.job, "overload")

    def _forget(self, entry: _Entry) -> None:
        """A window waits no more; it is its device's oldest."""
        own = self._waiting[entry.job.pipeline]
        own.popleft()
        if not own:
            del self._waiting[entry.job.pipeline]
        self._windows -= 1

    def _look(self, now_s: float) -> None:
        oldest_s = now_s - self._entries[0].since_s if self._entries else 0.0
        gave_way, self._has_given_way = self._has_given_way, False
        if self._load.look(now_s, oldest_s=oldest_s, gave_way=gave_way):
            self._on_widening(self._load.widening)
