"""Where gravity points while an arm hangs: told by the people who were learned from, as they walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError, Recording
from training.experiment import Experiment, Signal
from training.windows import cut
from vskd_stream.mounting import walks


def walked(experiment: Experiment, recordings: Sequence[Recording]) -> list[Recording]:
    """Those in which the arms of who is learned from hang, as ``export.hanging`` says."""
    return [
        recording
        for recording in experiment.split.select(recordings, "train")
        if experiment.labels[recording.label] == experiment.export.hanging
    ]


def hanging(recordings: Sequence[Recording], signal: Signal) -> tuple[float, float, float]:
    """The manifest's ``hanging``: the median of what each walker shows, x positive.

    Args:
        recordings: Of walks, by people who were learned from.
        signal: The model's.

    Raises:
        DatasetError: Nobody walks in them for a window, as the gateway knows a walk.
    """
    by_subject: dict[str, list[NDArray[np.float64]]] = {}
    for stretch in cut(recordings, signal):
        for window in stretch.windows:
            if walks(window, sampling_rate_hz=signal.sampling_rate_hz):
                gravity = window.mean(axis=1, dtype=np.float64)
                by_subject.setdefault(stretch.subject, []).append(gravity)
    if not by_subject:
        raise DatasetError("export.hanging", "nobody walks for the length of a window: name another label")
    # Everybody counts once, as if the watch were on the wrist on which x is positive.
    shown = [_unit(np.median(gravity, axis=0)) for gravity in by_subject.values()]
    x, y, z = _unit(np.median([[abs(x), y, z] for x, y, z in shown], axis=0))
    return (float(x), float(y), float(z))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return scaled
