"""The kinds of teachers: which modality each needs, how clips are made of it, which network reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from training.datasets import DEPTH_STEP_M, Trial
from training.datasets.trial_sets import Modality
from training.documents import Frozen
from training.teachers.bninception import MULTIPLE_PX, load_imagenet
from training.teachers.depth import DepthClips, DepthView
from training.teachers.overhead import OverheadClips, OverheadNet, OverheadView
from training.teachers.skeleton import SkeletonClips, SkeletonTCN, SkeletonView
from training.teachers.trn import TRN


class Clips(Protocol):
    """Trials ready to be drawn, each as arrays that are joined along their first axis into a batch's."""

    def plain(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """A trial as it was recorded."""

    def drawn(self, number: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """A varied trial; beside the clip perhaps what else is to be told from it."""


class Learner(Frozen):
    """A teacher that learns."""

    views: ClassVar[int] = 8
    """Varied clips of each training trial whose answers are kept too."""

    @property
    def weight_of_poses(self) -> float:
        """How much it counts to tell the joints' positions as well."""
        return 0.0

    @property
    def needs(self) -> frozenset[Modality]:
        """What it must see of a trial."""
        raise NotImplementedError

    def clips(self, trials: Sequence[Trial]) -> Clips:
        """Of these trials; ``DatasetError`` if one lacks what it needs."""
        raise NotImplementedError

    def network(self, trials: Sequence[Trial], *, classes: int) -> nn.Module:
        """With fresh weights; clips to what is ``Seen`` in them."""
        raise NotImplementedError


class SkeletonChoice(Learner):
    """A temporal convolution network on the skeleton."""

    kind: Literal["skeleton-tcn"]
    frames: int = Field(default=64, ge=8, le=1024)
    width: int = Field(default=64, ge=4, le=1024)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    view: SkeletonView

    @property
    def needs(self) -> frozenset[Modality]:
        """See the base."""
        return frozenset({"skeleton"})

    def clips(self, trials: Sequence[Trial]) -> SkeletonClips:
        """See the base."""
        return SkeletonClips(trials, frames=self.frames, view=self.view)

    def network(self, trials: Sequence[Trial], *, classes: int) -> SkeletonTCN:
        """See the base."""
        return SkeletonTCN(joints=_joints(trials), classes=classes, width=self.width, dropout=self.dropout)


class DepthChoice(Learner):
    """The paper's multi-scale TRN on BN-Inception, with depth where the paper has RGB."""

    views: ClassVar[int] = 0
    """Eight times its answers to everything are an hour."""

    kind: Literal["depth-trn"]
    segments: int = Field(default=8, ge=2, le=16)
    size: int = Field(default=64, ge=MULTIPLE_PX, le=448, multiple_of=MULTIPLE_PX)
    """Side of a frame in pixels."""
    reach: int = Field(default=2, ge=1, le=32)
    """Frames between a frame and those it is compared with."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    pose_weight: float = Field(default=0.0, ge=0.0, le=1e3)
    """How much it counts to tell the joints' positions, of which training trials have skeletons, from a
    frame; mean absolute error in metres times this. 0 is the paper's loss."""
    weights: Path | None = None
    """ImageNet weights of the backbone; from scratch without."""
    view: DepthView

    @property
    def weight_of_poses(self) -> float:
        """See the base."""
        return self.pose_weight

    @property
    def needs(self) -> frozenset[Modality]:
        """See the base."""
        return frozenset({"depth", "skeleton"} if self.pose_weight else {"depth"})

    def clips(self, trials: Sequence[Trial]) -> DepthClips:
        """See the base."""
        return DepthClips(
            trials,
            segments=self.segments,
            size=self.size,
            reach=self.reach,
            step_m=DEPTH_STEP_M,
            view=self.view,
        )

    def network(self, trials: Sequence[Trial], *, classes: int) -> TRN:
        """See the base; with ImageNet's weights if they are named."""
        teacher = TRN(
            segments=self.segments,
            classes=classes,
            dropout=self.dropout,
            pretrained=self.weights is not None,
            joints=_joints(trials) if self.pose_weight else 0,
        )
        if self.weights is not None:
            load_imagenet(teacher.backbone, self.weights)
        return teacher


class OverheadChoice(Learner):
    """A small convolution and a temporal network on a few pixels of depth from above."""

    kind: Literal["overhead-tcn"]
    frames: int = Field(default=32, ge=8, le=1024)
    channels: int = Field(default=16, ge=4, le=256)
    width: int = Field(default=64, ge=4, le=1024)
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    view: OverheadView

    @property
    def needs(self) -> frozenset[Modality]:
        """See the base."""
        return frozenset({"overhead_depth"})

    def clips(self, trials: Sequence[Trial]) -> OverheadClips:
        """See the base."""
        return OverheadClips(trials, frames=self.frames, view=self.view)

    def network(self, trials: Sequence[Trial], *, classes: int) -> OverheadNet:
        """See the base."""
        frames = trials[0].frames
        assert frames is not None  # refused when the clips were made
        return OverheadNet(
            shape=(frames.shape[1], frames.shape[2]),
            channels=self.channels,
            classes=classes,
            width=self.width,
            dropout=self.dropout,
        )


class FusionChoice(Frozen):
    """The weighted mean of other teachers' log-probabilities; nothing is learned."""

    kind: Literal["fusion"]
    runs: dict[str, Annotated[float, Field(gt=0.0)]] = Field(min_length=2)
    """Names of runs beside this one, each with its weight."""

    @property
    def needs(self) -> frozenset[Modality]:
        """Nothing: the others have seen it."""
        return frozenset()


Choice = Annotated[SkeletonChoice | DepthChoice | OverheadChoice | FusionChoice, Field(discriminator="kind")]


def _joints(trials: Sequence[Trial]) -> int:
    skeleton = trials[0].skeleton_m
    assert skeleton is not None  # refused when the clips were made
    return int(skeleton.shape[1])
