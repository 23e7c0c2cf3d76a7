from __future__ import annotations

import ctypes
import gc
import sys

import pytest

from vskd_stream import memory, process
from vskd_stream.daemon import Daemon


@pytest.fixture(autouse=True)
def thawed():
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_was_loaded_is_not_collected_through_again():
    memory.settle()
    assert gc.get_freeze_count() > 10_000


def test_a_c_library_without_a_trim_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.settle()


class Idle(Daemon):
    """It ends at once, and looks around before."""

    def __init__(self):
        self.frozen = 0

    async def run(self, stop):
        self.frozen = gc.get_freeze_count()


def test_a_process_is_settled_before_it_serves():
    switch_s, idle = sys.getswitchinterval(), Idle()
    try:
        process.serve(idle)
    finally:
        sys.setswitchinterval(switch_s)
    assert idle.frozen > 10_000
