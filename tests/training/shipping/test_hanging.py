"""Where gravity points while an arm hangs is what most walkers show, each counted once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.walks import HANGING, RATE_HZ, about, walk
from training import experiment as experiments
from training.datasets import DatasetError, Recording
from training.experiment import Signal
from training.shipping.hanging import hanging, walked
from vskd_stream.bundle import load, shipped

CONFIGS = Path(__file__).parents[3] / "configs" / "train"

SIGNAL = Signal(sampling_rate_hz=RATE_HZ, window_samples=200, hop_samples=20, max_gap_s=0.5)


def walker(subject: str, gravity: np.ndarray, *, seconds: float = 60.0, strength_g: float = 0.3) -> Recording:
    acc_g = np.ascontiguousarray(walk(gravity, samples=int(seconds * RATE_HZ), strength_g=strength_g).T)
    return Recording(subject, 0, np.arange(len(acc_g)) / RATE_HZ, acc_g, RATE_HZ)


def test_it_is_the_median_of_people_on_whichever_wrist_and_a_unit_vector() -> None:
    straight = np.array(HANGING)
    people = [walker(f"s{axis}{side}", about(axis, side) @ straight) for axis in (1, 2) for side in (-9, 9)]
    people.append(walker("right", straight * [-1, 1, 1]))
    # Holds a rail for ten times as long as anybody else walks.
    people.append(walker("rail", about(1, 70.0) @ straight, seconds=600.0))
    found = hanging(people, SIGNAL)
    assert found == pytest.approx(HANGING, abs=0.08)
    assert np.linalg.norm(found) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["wrist", "wrist-small"])
def test_what_the_shipped_bundles_say_comes_of_their_configuration(name: str, shared_data: Path) -> None:
    experiment = experiments.load(CONFIGS / f"{name}.yaml")
    people = walked(experiment, experiment.recordings(shared_data))
    assert load(shipped(name)).manifest.hanging == pytest.approx(hanging(people, experiment.signal), abs=1e-6)


def test_who_only_stands_about_tells_nothing_and_alone_is_refused() -> None:
    stands = walker("stands", about(2, 60.0) @ np.array(HANGING), strength_g=0.01)
    alone = hanging([walker("walks", np.array(HANGING))], SIGNAL)
    assert hanging([walker("walks", np.array(HANGING)), stands], SIGNAL) == alone
    with pytest.raises(DatasetError, match="name another label"):
        hanging([stands], SIGNAL)
