"""Strangers are far from all that was learned; near and far are the same in any batch, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from vskd_stream.familiarity import Familiarity

FEATURES = 5


def familiarity(**changes: Any) -> Familiarity:
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "whitening": rng.normal(size=(FEATURES, FEATURES)).astype(np.float32),
        "means": rng.normal(size=(3, FEATURES)).astype(np.float32),
        "half": 4.0,
        "spread": 0.5,
    }
    return Familiarity(**(fields | changes))


Taps = arrays(np.float32, (7, FEATURES), elements=st.floats(0.0, 64.0, width=32))


@given(taps=Taps)
def test_the_distance_is_the_least_of_the_whitened_ones(taps: NDArray[np.float32]) -> None:
    known = familiarity()
    white = taps.astype(np.float64) @ known.whitening.astype(np.float64)
    expected = np.linalg.norm(white[:, np.newaxis] - known.means, axis=2).min(1)
    np.testing.assert_allclose(known.distances(taps), expected, rtol=1e-9, atol=1e-9)


@given(taps=Taps)
def test_a_window_is_as_familiar_alone_as_among_others(taps: NDArray[np.float32]) -> None:
    known = familiarity()
    assert np.array_equal(known.known(taps), np.concatenate([known.known(tap[np.newaxis]) for tap in taps]))


def test_half_is_where_it_is_as_likely_as_not_and_spread_how_gradually() -> None:
    line = Familiarity(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), half=4.0, spread=0.5)
    told = line.known(np.array([[0.0], [3.5], [4.0], [4.5], [1e30]], np.float32))
    np.testing.assert_allclose(told, [1.0, 0.7311, 0.5, 0.2689, 0.0], atol=4e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"whitening": np.ones((4, 5), np.float32)}, r"whitening of the shape \(4, 5\)"),
        ({"whitening": np.ones(5, np.float32)}, r"whitening of the shape \(5,\)"),
        ({"means": np.ones((3, 4), np.float32)}, r"means of the shape \(3, 4\) for 5 features"),
        ({"means": np.ones((0, 5), np.float32)}, r"means of the shape \(0, 5\)"),
        ({"half": 0.0}, "must be positive"),
        ({"spread": float("nan")}, "must be positive"),
        ({"half": float("inf")}, "must be positive"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        familiarity(**changes)
