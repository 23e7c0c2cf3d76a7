"""Recordings of one activity each → streams of many, scored as a gateway does, with each sample's truth.

Where two recordings meet nothing is smoothed over: windows there hold both, as they do when someone
changes from one activity to another at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.datasets import Recording
from training.experiment import Signal
from training.windows import resample
from vskd_stream.pipeline import Classify
from vskd_stream.resample import Block
from vskd_stream.window import WindowCutter

_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """What a model says of one person's stream, and what is true."""

    subject: str
    ends: NDArray[np.int64]
    """(w,) grid samples at which the windows end."""
    probabilities: NDArray[np.float32]
    """(w, labels)."""
    truth: NDArray[np.int64]
    """(n,) true label of each grid sample."""

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """Runs of one true label: start and end in grid samples, and the label."""
        bounds = [0, *(np.flatnonzero(np.diff(self.truth)) + 1).tolist(), len(self.truth)]
        return [(start, end, int(self.truth[start])) for start, end in pairwise(bounds)]


def stitch(
    recordings: Sequence[Recording], signal: Signal, *, piece_s: float | None = None, seed: int = 0
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Each subject's (n, 3) acceleration and (n,) true labels on the grid.

    Args:
        recordings: Of several subjects, each with several activities.
        signal: The model's.
        piece_s: Recordings are cut into pieces of so many seconds, and these drawn in an order in which
            no activity follows itself, as far as there is another; None: as they were recorded.
        seed: Of that order.
    """
    streams = {}
    for subject in sorted({recording.subject for recording in recordings}):
        pieces = [
            (recording.label, block.acc_g)
            for recording in recordings
            if recording.subject == subject
            for block in resample(recording, signal)
        ]
        if piece_s is not None:
            pieces = _shuffled(pieces, round(piece_s * signal.sampling_rate_hz), np.random.default_rng(seed))
        labels = [np.full(len(acc_g), label, np.int64) for label, acc_g in pieces]
        streams[subject] = (np.concatenate([acc_g for _, acc_g in pieces]), np.concatenate(labels))
    return streams


def score(
    stitched: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]], classify: Classify, signal: Signal
) -> list[Stream]:
    """Cut and classify every window of every stream."""
    streams = []
    for subject, (acc_g, truth) in stitched.items():
        cutter = WindowCutter(window_samples=signal.window_samples, hop_samples=signal.hop_samples)
        windows = cutter.push(Block(0, acc_g))
        stacked = np.stack([window.acc_g for window in windows])
        parts = [classify(stacked[i : i + _BATCH]) for i in range(0, len(stacked), _BATCH)]
        ends = np.array([window.end_sample for window in windows], np.int64)
        streams.append(Stream(subject, ends, np.concatenate(parts), truth))
    return streams


def _shuffled(
    recorded: list[tuple[int, NDArray[np.float32]]], samples: int, rng: np.random.Generator
) -> list[tuple[int, NDArray[np.float32]]]:
    pieces = [
        (label, acc_g[start : start + samples])
        for label, acc_g in recorded
        for start in range(0, len(acc_g) - samples + 1, samples)
    ]
    left = [pieces[i] for i in rng.permutation(len(pieces))]
    ordered: list[tuple[int, NDArray[np.float32]]] = []
    while left:
        last = ordered[-1][0] if ordered else None
        ordered.append(left.pop(next((i for i, (label, _) in enumerate(left) if label != last), 0)))
    return ordered
