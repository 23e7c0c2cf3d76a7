"""The multi-scale temporal relation network: which frames, in which order, make an action.

Zhou, Andonian, Oliva and Torralba, "Temporal Relational Reasoning in Videos" (ECCV 2018), as VSKD uses it:
scales 8 to 2, three tuples of frames at most per scale, 300-d frame features whose mean is the tap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from training.teachers import FEATURES, Seen, energy
from training.teachers.bninception import BNInception, freeze_norms

_HIDDEN = 256
_TUPLES_PER_SCALE = 3


class Relations(nn.Module):
    """(b, frames, features) to (b, classes) logits, the sum over scales and tuples of frames.

    While learning, each scale's tuples are drawn anew; in evaluation they are always the same: spread evenly
    over the ordered list of all tuples.
    """

    def __init__(self, *, frames: int, features: int, classes: int) -> None:
        super().__init__()
        self.tuples = [list(itertools.combinations(range(frames), scale)) for scale in range(frames, 1, -1)]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Linear(len(tuples[0]) * features, _HIDDEN),
                nn.ReLU(),
                nn.Linear(_HIDDEN, classes),
            )
            for tuples in self.tuples
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits = x.new_zeros(())
        for head, tuples in zip(self.heads, self.tuples, strict=True):
            chosen = self._drawn(tuples) if self.training else fixed(tuples)
            relations = torch.stack([head(x[:, list(one)].flatten(1)) for one in chosen])
            logits = logits + relations.mean(0)
        return logits

    @staticmethod
    def _drawn(tuples: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        order = torch.randperm(len(tuples))[:_TUPLES_PER_SCALE]
        return [tuples[index] for index in order.tolist()]


def fixed(tuples: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """At most three of the tuples, the same whenever asked, spread over their order."""
    places = np.linspace(0, len(tuples) - 1, num=min(_TUPLES_PER_SCALE, len(tuples)))
    return [tuples[round(place)] for place in places.tolist()]


class TRN(nn.Module):
    """BN-Inception on every frame, relations over frames.

    Args:
        segments: Frames of a clip.
        classes: Number of labels.
        dropout: Part of the backbone's features that is dropped while learning.
        pretrained: Its backbone brings ImageNet weights: all its norms but the first stay as they are.
        joints: If not 0, ``pose`` tells so many body joints from a frame's feature.
    """

    def __init__(
        self, *, segments: int, classes: int, dropout: float, pretrained: bool = False, joints: int = 0
    ) -> None:
        super().__init__()
        self.segments = segments
        self.pretrained = pretrained
        self.backbone = BNInception()
        self.dropout = nn.Dropout(dropout)
        self.tap = nn.Linear(1024, FEATURES)
        self.relations = Relations(frames=segments, features=FEATURES, classes=classes)
        self.pose = nn.Linear(FEATURES, 3 * joints) if joints else None

    def train(self, mode: bool = True) -> TRN:
        """As torch's; keeps ImageNet's norms."""
        super().train(mode)
        if self.pretrained:
            freeze_norms(self.backbone)
        return self

    def frame_features(self, clip: Tensor) -> Tensor:
        """(b * segments, 3, h, w) frames to (b, segments, 300) features."""
        return self._features(self.backbone.maps(clip))

    def _features(self, maps: Tensor) -> Tensor:
        features = cast("Tensor", self.tap(self.dropout(maps.mean(dim=(2, 3)))))
        return features.view(-1, self.segments, FEATURES)

    def forward(self, clip: Tensor) -> Seen:
        """(b * segments, 3, h, w) frames, a clip's in a row, to what is seen in them."""
        maps = self.backbone.maps(clip)
        features = self._features(maps)
        return Seen(self.relations(features), features.mean(1), energy(maps, self.segments))
