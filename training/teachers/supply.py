"""Trials become batches: varied ones to learn from, plain ones to be judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name everybody knows it by

from training.datasets import Trial, utd_mhad
from training.teachers.bninception import load_imagenet
from training.teachers.depth import DepthClips
from training.teachers.experiment import DepthChoice, SkeletonChoice
from training.teachers.skeleton import SkeletonClips, SkeletonTCN
from training.teachers.trn import TRN

Batch = tuple[NDArray[np.float32], NDArray[np.int64], *tuple[NDArray[Any], ...]]
"""Clips, labels and, of depth, poses."""


class Supply:
    """The clips of trials, for one kind of teacher.

    What an epoch draws depends on the seed and the epoch's number alone, so a resumed run sees what an
    undisturbed one would have seen.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        choice: SkeletonChoice | DepthChoice,
        *,
        labels: Sequence[str],
        seed: int,
    ) -> None:
        self.labels = np.array([labels.index(trial.label) for trial in trials], np.int64)
        self._choice, self._seed = choice, seed
        if isinstance(choice, SkeletonChoice):
            self._skeletons = SkeletonClips(trials, frames=choice.frames)
        else:
            self._depths = DepthClips(
                trials,
                segments=choice.segments,
                size=choice.size,
                reach=choice.reach,
                step_m=utd_mhad.DEPTH_STEP_MM / 1e3,
            )

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
        if isinstance(self._choice, SkeletonChoice):
            clips = np.stack([self._skeletons.drawn(i, self._choice.view, rng) for i in which.tolist()])
            return clips, self.labels[which]
        frames, poses = zip(
            *(self._depths.drawn(i, self._choice.view, rng) for i in which.tolist()), strict=True
        )
        return np.concatenate(frames), self.labels[which], np.stack(poses)

    def plain(self, which: Sequence[int]) -> NDArray[np.float32]:
        """The trials ``which`` as they were recorded."""
        if isinstance(self._choice, SkeletonChoice):
            return np.stack([self._skeletons.plain(i) for i in which])
        return np.concatenate([self._depths.plain(i) for i in which])


class TeacherTask(nn.Module):
    """The task of learning from labels, and from poses where they are given."""

    def __init__(self, teacher: SkeletonTCN | TRN, *, label_smoothing: float, pose_weight: float) -> None:
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


def make_teacher(
    choice: SkeletonChoice | DepthChoice, *, classes: int, joints: int, seed: int
) -> SkeletonTCN | TRN:
    """A teacher with fresh weights (or ImageNet's), a function of the seed alone."""
    torch.manual_seed(seed)
    if isinstance(choice, SkeletonChoice):
        return SkeletonTCN(joints=joints, classes=classes, width=choice.width, dropout=choice.dropout)
    teacher = TRN(
        segments=choice.segments,
        classes=classes,
        dropout=choice.dropout,
        pretrained=choice.weights is not None,
        joints=joints if choice.pose_weight else 0,
    )
    if choice.weights is not None:
        load_imagenet(teacher.backbone, choice.weights)
    return teacher
