from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vskd_stream.stillness import unrest_g


def test_a_device_at_rest_shows_its_sensors_noise_whichever_way_gravity_points() -> None:
    noise = np.random.default_rng(0).normal(scale=0.003, size=(3, 100))
    for gravity in ([0.0, 0.0, 1.0], [0.6, 0.0, -0.8], [1.0, 0.0, 0.0]):
        acc_g = (noise + np.array(gravity)[:, np.newaxis]).astype(np.float32)
        assert unrest_g(acc_g) == pytest.approx(0.003, rel=0.2)


def test_the_axis_that_moves_most_counts() -> None:
    acc_g = np.zeros((3, 4), np.float32)
    acc_g[1] = [0.5, -0.5, 0.5, -0.5]
    assert unrest_g(acc_g) == 0.5


@given(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=60).filter(lambda v: len(v) % 3 == 0))
def test_it_is_the_largest_root_mean_square_deviation(values: list[float]) -> None:
    axes = [values[i::3] for i in range(3)]
    means = [sum(axis) / len(axis) for axis in axes]
    slow = max(
        (sum((v - mean) ** 2 for v in axis) / len(axis)) ** 0.5
        for axis, mean in zip(axes, means, strict=True)
    )
    assert unrest_g(np.array(axes, np.float32)) == pytest.approx(slow, abs=1e-9)
