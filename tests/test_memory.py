from __future__ import annotations

import ctypes
import gc

import pytest

from vskd_stream import memory


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
