from __future__ import annotations

import importlib
import pkgutil

import pytest
from numba.core.registry import CPUDispatcher

import vskd_stream
from tests.fuzz.kernels import UNCOMPILED, compiled
from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_a_search_has_found_is_taken_or_refused_as_promised(name):
    target = TARGETS[name]
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    assert kept
    for data in (*target.seeds(), *kept):
        assert len(data) <= target.max_bytes
        target.run(data)


def test_a_search_counts_in_every_module_but_those_that_are_compiled():
    kernels = set()
    for module in pkgutil.walk_packages(vskd_stream.__path__, "vskd_stream."):
        if not module.name.endswith(("__main__", "_embedded_child")):
            loaded = vars(importlib.import_module(module.name)).values()
            kernels |= {each.__module__ for each in loaded if isinstance(each, CPUDispatcher)}
    assert set(compiled()) | UNCOMPILED == kernels
