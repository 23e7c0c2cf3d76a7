from __future__ import annotations

import contextlib

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.configured import configured
from tests.streams import batch
from vskd_stream.devices import Devices
from vskd_stream.errors import VskdError
from vskd_stream.ledger import LATENCY_BOUNDS_S, Flow, Histogram
from vskd_stream.tally import Tally
from vskd_stream.window import Window

NOW_S = 1.79e9
DEVICES = ("a", "b", "c", "mute")


@pytest.fixture(autouse=True)
def _quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def devices_of(loaded) -> Devices:
    settings = configured(devices={"mute": {"silence": True}}, limits={"max_devices": 3})
    return Devices(settings, bundle=loaded, tally=Tally())


@st.composite
def batches(draw):
    """What a device may send at any time, and things that others may do meanwhile."""
    n = draw(st.integers(1, 60))
    rate_hz = draw(st.sampled_from([50.0, 50.0, 50.0, 20.0, 5.0]))
    start_s = draw(st.one_of(st.integers(0, 400).map(lambda i: i * 0.5), st.just(200_000.0)))
    made = batch(
        start_s + np.arange(n) / rate_hz,
        rate_hz=rate_hz,
        sequence=draw(st.one_of(st.none(), st.integers(0, 40))),
        device=draw(st.sampled_from(DEVICES)),
    )
    return replace(made, discarded=draw(st.sampled_from([0, 0, 0, 3])))


STEPS = st.one_of(
    batches(),
    batches(),
    batches(),
    st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from(DEVICES)),
    st.just(("silence", "")),
)


def commanded(devices, command, device):
    with contextlib.suppress(VskdError):
        getattr(devices, command)(device)


@given(st.lists(STEPS, max_size=60), st.sampled_from([0.0, 2.0]))
@hypothesis_settings(max_examples=150, deadline=None)
def test_whatever_is_sent_is_used_or_waits_or_was_dropped_by_name(loaded, steps, horizon_s):
    devices = devices_of(loaded)
    sent, cut, now_s = 0, 0, NOW_S
    for step in steps:
        now_s += 0.5
        if isinstance(step, tuple):
            now_s += 20.0 * (step[0] == "silence")
            found = list(devices.tick(now_s)) if step[0] == "silence" else commanded(devices, *step) or []
        else:
            sent += len(step) + step.discarded
            found = list(devices._take(step, now_s, horizon_s))
        cut += sum(isinstance(one.piece, Window) for _, one in found)
        balanced(devices, sent)
    cut += sum(isinstance(one.piece, Window) for _, one in devices.tick(now_s + 20.0))
    balanced(devices, sent)
    ledgers = [devices.ledger(name) for name in devices.names]
    assert all(ledger.samples.waiting == 0 for ledger in ledgers)
    assert sum(ledger.windows.waiting for ledger in ledgers) == cut
    assert all(min(ledger.samples.dropped.values(), default=1) > 0 for ledger in ledgers)


def balanced(devices, sent):
    ledgers = [devices.ledger(name) for name in devices.names]
    assert sum(ledger.samples.taken for ledger in ledgers) + devices.unserved.taken == sent
    assert devices.unserved.waiting == 0
    held = {pipeline.device: sum(map(len, pipeline._reorderer._held)) for pipeline in devices}
    for name in devices.names:
        assert devices.ledger(name).samples.waiting == held.get(name, 0), devices.ledger(name)


def test_a_pause_costs_what_was_held_and_what_comes(loaded):
    devices = devices_of(loaded)
    for start_s, sequence in ((0.0, 0), (1.0, 2)):
        one = batch(start_s + np.arange(25) / 50, sequence=sequence, device="a")
        list(devices._take(one, NOW_S + start_s, 2.0))
    flow = devices.ledger("a").samples
    assert (flow.taken, flow.used, flow.waiting) == (50, 25, 25)
    devices.pause("a")
    assert flow.dropped == {"paused": 25}
    list(devices._take(batch(1.5 + np.arange(25) / 50, sequence=3, device="a"), NOW_S + 1.5, 2.0))
    assert (flow.taken, flow.used, flow.waiting, flow.dropped) == (75, 25, 0, {"paused": 50})


def test_windows_are_used_once_they_are_decided_on(loaded):
    devices = devices_of(loaded)
    cuts = list(devices.take(batch(np.arange(300) / 50, device="a"), arrival_s=NOW_S))
    windows = devices.ledger("a").windows
    assert windows.waiting == windows.taken == len(cuts) > 2
    pipeline, cut = cuts[0]
    pipeline.decide(cut, np.array([0.5, 0.5], np.float32))
    assert (windows.used, windows.waiting) == (1, len(cuts) - 1)


def test_no_reason_is_named_for_nothing():
    flow = Flow(taken=2)
    flow.drop("late", 0)
    assert flow.dropped == {}
    flow.drop("late", 2)
    assert (flow.waiting, flow.dropped) == (0, {"late": 2})


def test_a_time_is_counted_where_it_belongs():
    histogram = Histogram()
    for seconds in (0.0, LATENCY_BOUNDS_S[0], 0.006, 1e9):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, *[0] * (len(LATENCY_BOUNDS_S) - 2), 1]
    assert histogram.sum_s == pytest.approx(1e9 + 0.011)
