from __future__ import annotations

import pytest

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_a_search_has_found_is_taken_or_refused_as_promised(name):
    target = TARGETS[name]
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    assert kept
    for data in (*target.seeds(), *kept):
        assert len(data) <= target.max_bytes
        target.run(data)
