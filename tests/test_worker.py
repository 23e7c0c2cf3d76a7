from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from tests.manifests import manifest
from vskd_stream.clock import ClockReading
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.samples import Gap
from vskd_stream.window import Window
from vskd_stream.worker import Job, Worker

CLOCK = ClockReading("host", 0.0)
PIPELINE = Pipeline(
    "watch", manifest=manifest(), bundle_sha256="ab" * 32, reorder_horizon_s=2.0, no_data_after_s=10.0
)


class Model:
    """Answers each window's first number; waits at a gate, and keeps what it saw."""

    def __init__(self):
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, windows):
        self.gate.wait(10)
        self.batches.append(len(windows))
        self.threads.add(threading.current_thread().name)
        return windows[:, 0, :1]


def window(number: int) -> Job:
    return Job(PIPELINE, Cut(Window(number, np.full((3, 8), number, np.float32)), CLOCK))


def gap(number: int) -> Job:
    return Job(PIPELINE, Cut(Gap("watch", number, number, "missing"), CLOCK))


async def delivered(jobs, *, model, max_queued=1000, before=lambda worker: None):
    out: list[tuple[Job, Any]] = []
    dropped: list[Job] = []
    worker = Worker(
        model, deliver=lambda job, p: out.append((job, p)), on_drop=dropped.append, max_queued=max_queued
    )
    for job in jobs:
        worker.submit(job)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await worker.drain()
        running.cancel()
    return out, dropped


async def test_windows_and_gaps_come_out_in_the_order_they_went_in():
    jobs = [window(i) if i % 7 else gap(i) for i in range(100)]
    out, dropped = await delivered(jobs, model=Model())
    assert [job for job, _ in out] == jobs
    assert not dropped
    for job, probabilities in out:
        if isinstance(job.cut.piece, Window):
            assert probabilities[0] == job.cut.piece.end_sample
        else:
            assert probabilities is None


async def test_waiting_windows_form_batches_on_a_thread_of_their_own():
    model = Model()
    await delivered([window(i) for i in range(100)], model=model)
    assert model.batches == [32, 32, 32, 4]
    assert threading.current_thread().name not in model.threads


async def test_beyond_the_bound_the_oldest_windows_give_way_but_gaps_stay():
    jobs = [gap(0), *(window(i) for i in range(1, 21))]
    out, dropped = await delivered(jobs, model=Model(), max_queued=5)
    assert [job.cut.piece.end_sample for job in dropped] == list(range(1, 16))
    assert [job for job, _ in out] == [jobs[0], *jobs[16:]]


async def test_the_event_loop_goes_on_while_the_model_computes():
    model = Model()
    model.gate.clear()
    worker = Worker(model, deliver=lambda job, p: None, on_drop=lambda job: None, max_queued=10)
    worker.submit(window(1))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not model.batches
        model.gate.set()
        await worker.drain()
        running.cancel()
    assert model.batches == [1]


async def test_a_model_that_fails_ends_the_worker_loudly():
    def broken(windows):
        raise RuntimeError("no memory")

    worker = Worker(broken, deliver=lambda job, p: None, on_drop=lambda job: None, max_queued=10)
    worker.submit(window(1))
    with pytest.raises(RuntimeError, match="no memory"):
        await worker.run()
