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
from vskd_stream.worker import BUDGET_S, Job, Worker

CLOCK = ClockReading("host", 0.0)


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
        return windows[:, 0, :1].copy()


def pipeline(device: str) -> Pipeline:
    return Pipeline(
        device, manifest=manifest(), bundle_sha256="ab" * 32, reorder_horizon_s=2.0, no_data_after_s=10.0
    )


PIPELINE = pipeline("watch")


def window(number: int, *, of: Pipeline = PIPELINE) -> Job:
    return Job(of, Cut(Window(number, np.full((3, 8), number, np.float32)), CLOCK))


def gap(number: int) -> Job:
    return Job(PIPELINE, Cut(Gap("watch", number, number, "missing"), CLOCK))


def worker_of(model, *, max_queued=1000, **options) -> Worker:
    hooks: dict[str, Any] = {"deliver": lambda job, p: None, "on_skip": lambda job, reason: None}
    return Worker(model, hop_samples=1, max_queued=max_queued, **(hooks | options))


async def delivered(jobs, *, model, max_queued=1000):
    out: list[tuple[Job, Any]] = []
    dropped: list[Job] = []
    worker = worker_of(
        model,
        deliver=lambda job, p: out.append((job, p)),
        on_skip=lambda job, reason: dropped.append(job),
        max_queued=max_queued,
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
    assert model.batches == [64, 36]
    assert threading.current_thread().name not in model.threads


async def test_beyond_the_bound_the_oldest_windows_give_way_but_gaps_stay():
    jobs = [gap(0), *(window(i) for i in range(1, 21))]
    out, dropped = await delivered(jobs, model=Model(), max_queued=5)
    assert [job.cut.piece.end_sample for job in dropped] == list(range(1, 16))
    assert [job for job, _ in out] == [jobs[0], *jobs[16:]]


async def test_the_event_loop_goes_on_while_the_model_computes():
    model = Model()
    model.gate.clear()
    worker = worker_of(model, max_queued=10)
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

    worker = worker_of(broken, max_queued=10)
    worker.submit(window(1))
    with pytest.raises(RuntimeError, match="no memory"):
        await worker.run()


async def reached(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (a turn of the loop is all that is waited for)
            await asyncio.sleep(0)


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


async def test_a_window_that_comes_alone_is_classified_at_once():
    model, delivered_at = Model(), asyncio.Event()
    worker = worker_of(model, deliver=lambda job, p: delivered_at.set(), monotonic_s=Clock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        worker.submit(window(1))
        # The clock stands still: whoever waited for a deadline would wait for ever.
        async with asyncio.timeout(30):
            await delivered_at.wait()
        running.cancel()


async def test_windows_that_come_thickly_are_gathered_until_the_oldest_must_go():
    clock, model = Clock(), Model()
    out: list[Job] = []
    worker = worker_of(model, deliver=lambda job, p: out.append(job), monotonic_s=clock, max_queued=5000)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        model.gate.clear()
        # A second of a thousand windows tells how many are to be expected; the model has not begun.
        for i in range(1001):
            worker.submit(window(i))
            clock.now_s += 0.001
        model.gate.set()
        await reached(lambda: len(out) == 1001)
        model.batches.clear()
        for i in range(5):
            worker.submit(window(2000 + i))
        for _ in range(100):
            await asyncio.sleep(0)
        assert model.batches == []
        clock.now_s += BUDGET_S
        worker.submit(window(3000))
        await reached(lambda: len(out) == 1007)
        running.cancel()
    assert model.batches == [6]


async def test_whoever_has_windows_waiting_gives_way_before_others_do():
    greedy, modest = pipeline("greedy"), pipeline("modest")
    skipped: list[tuple[str, int, str]] = []
    worker = worker_of(
        Model(),
        max_queued=4,
        on_skip=lambda job, reason: skipped.append((job.pipeline.device, job.cut.piece.end_sample, reason)),
    )
    worker.submit(window(1, of=modest))
    for i in range(10):
        worker.submit(window(10 + i, of=greedy))
    assert skipped == [("greedy", 10 + i, "overload") for i in range(7)]
    worker.submit(window(2, of=modest))
    assert skipped[7:] == [("modest", 1, "overload")]


async def test_a_widened_hop_takes_the_windows_at_its_multiples_and_names_the_others():
    clock, model = Clock(), Model()
    skipped: list[tuple[int, str]] = []
    out: list[int] = []
    told: list[int] = []
    worker = worker_of(
        model,
        deliver=lambda job, p: out.append(job.cut.piece.end_sample),
        on_skip=lambda job, reason: skipped.append((job.cut.piece.end_sample, reason)),
        on_widening=told.append,
        max_widening=4,
        monotonic_s=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        for late in range(2):
            # The batch before was long: these have waited for a second.
            for i in range(80):
                worker.submit(window(160 * late + 2 * i))
            clock.now_s += 2.0
            await worker.drain()
        assert told == [2, 4]
        out.clear()
        for i in range(1000, 1008):
            worker.submit(window(i))
        await worker.drain()
        running.cancel()
    assert out == [1000, 1004]
    assert skipped == [(i, "hop_widened") for i in (1001, 1002, 1003, 1005, 1006, 1007)]
