"""Trials become batches: varied ones to learn from, plain ones to be judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name everybody knows it by

from training.datasets import Trial
from training.teachers.kinds import Learner
from training.teachers.trn import TRN

Batch = tuple[NDArray[np.float32], NDArray[np.int64], *tuple[NDArray[Any], ...]]
"""Clips, labels and, of depth, poses."""


class Supply:
    """The clips of trials, for one kind of teacher.

    What an epoch draws depends on the seed and the epoch's number alone, so a resumed run sees what an
    undisturbed one would have seen.
    """

    def __init__(self, trials: Sequence[Trial], kind: Learner, *, labels: Sequence[str], seed: int) -> None:
        self.labels = np.array([labels.index(trial.label) for trial in trials], np.int64)
        self._clips = kind.clips(trials)
        self._seed = seed

    def epoch(self, number: int, *, batches: int, batch_size: int) -> Iterator[Batch]:
        """Clips, labels and, of depth, poses: every trial once before any is seen twice."""
        rng = np.random.default_rng([self._seed, number])
        count = len(self.labels)
        rounds = -(-batches * batch_size // count)
        order = np.concatenate([rng.permutation(count) for _ in range(rounds)])
        for batch in range(batches):
            which = order[batch * batch_size : (batch + 1) * batch_size]
            yield self.drawn(which, rng)

    def drawn(self, which: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """A varied batch of the trials ``which``."""
        clips, *others = _joined([self._clips.drawn(i, rng) for i in which.tolist()])
        return clips, self.labels[which], *others

    def plain(self, which: Sequence[int]) -> NDArray[np.float32]:
        """The trials ``which`` as they were recorded."""
        return _joined([self._clips.plain(i) for i in which])[0]


def _joined(trials: Sequence[tuple[NDArray[np.float32], ...]]) -> list[NDArray[np.float32]]:
    return [np.concatenate(arrays) for arrays in zip(*trials, strict=True)]


class TeacherTask(nn.Module):
    """The task of learning from labels, and from poses where they are given."""

    def __init__(self, teacher: nn.Module, *, label_smoothing: float, pose_weight: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.label_smoothing = label_smoothing
        self.pose_weight = pose_weight

    def forward(self, clips: Tensor, labels: Tensor, poses: Tensor | None = None) -> dict[str, Tensor]:
        """Clips, (b,) labels and (b, segments, 3 * joints) metres to a "loss" and (b, classes) "logits"."""
        teacher = self.teacher
        if poses is None or self.pose_weight == 0.0 or not isinstance(teacher, TRN):
            logits = teacher(clips)[0].float()
            return {"loss": self._supervised(logits, labels), "logits": logits}
        assert teacher.pose is not None
        features = teacher.frame_features(clips)
        logits = teacher.relations(features).float()
        pose_m = F.l1_loss(teacher.pose(features).float(), poses)
        return {
            "loss": self._supervised(logits, labels) + self.pose_weight * pose_m,
            "logits": logits,
            "pose_m": pose_m,
        }

    def _supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def make_task(
    kind: Learner, trials: Sequence[Trial], *, classes: int, label_smoothing: float, seed: int
) -> TeacherTask:
    """The task with fresh weights (or ImageNet's), a function of the seed alone."""
    torch.manual_seed(seed)
    network = kind.network(trials, classes=classes)
    return TeacherTask(network, label_smoothing=label_smoothing, pose_weight=kind.weight_of_poses)
