"""The student: a ResNet18 that reads Gramian Angular Fields, with the paper's 300-d tap.

He et al., "Deep Residual Learning for Image Recognition" (2016), basic blocks [2, 2, 2, 2]; the two
layers after the pooling are those of VSKD (arXiv 2112.01849): 512 -> features -> ReLU -> logits.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor, nn

Stem = Literal["wide", "narrow"]

FEATURES = 300
RESNET18_WIDTH = 64
"""Channels of the first stage."""
_STAGES = 4
_BLOCKS_PER_STAGE = 2


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + cast("Tensor", self.shortcut(x)))


class Student(nn.Module):
    """ResNet18 from images to logits.

    Args:
        channels: Image channels, 3 or 6.
        classes: Number of labels.
        width: Channels of the first stage; the others double it. 64 is ResNet18.
        features: Size of the tap.
        stem: "wide": ResNet18's, 7 x 7 and a pooling, which leaves a quarter of the image's sides. "narrow":
            3 x 3, which leaves half of them, for images too small to lose more.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = RESNET18_WIDTH,
        features: int = FEATURES,
        stem: Stem = "wide",
    ) -> None:
        super().__init__()
        self.width = width
        """Channels of the first stage."""
        side = 7 if stem == "wide" else 3
        first: list[nn.Module] = [
            nn.Conv2d(channels, width, side, stride=2, padding=side // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        if stem == "wide":
            first.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.stem = nn.Sequential(*first)
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(_STAGES):
            outputs = width << stage
            for block in range(_BLOCKS_PER_STAGE):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride=stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.tap = nn.Linear(inputs, features)
        self.head = nn.Linear(features, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, images: Tensor) -> Tensor:
        """(b, channels, h, w) images to the last stage's (b, 8 width, h', w') maps.

        A side is a thirty-second of the image's, rounded up; after a narrow stem a sixteenth.
        """
        return cast("Tensor", self.blocks(self.stem(images)))

    def features(self, images: Tensor) -> Tensor:
        """(b, channels, h, w) images to the (b, features) tap, after its ReLU."""
        return self.embed(self.maps(images))

    def embed(self, maps: Tensor) -> Tensor:
        """``maps`` to the (b, features) tap, after its ReLU."""
        return F.relu(self.tap(maps.mean(dim=(2, 3))))

    def answer(self, tap: Tensor) -> Tensor:
        """The tap to (b, classes) logits."""
        return cast("Tensor", self.head(tap))

    def forward(self, images: Tensor) -> Tensor:
        """(b, channels, h, w) images in [-1, 1] to (b, classes) logits."""
        return self.answer(self.features(images))


def multiply_adds(student: Student, *, shape: tuple[int, int, int]) -> int:
    """Multiplications with an addition that an image of (channels, h, w) costs; no other arithmetic."""
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d):
            counted += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            counted += output.numel() * inputs[0].shape[-1]

    watched = [module.register_forward_hook(count) for module in student.modules()]
    was_training = student.training
    try:
        with torch.inference_mode():
            student.eval()(torch.zeros(1, *shape))
    finally:
        student.train(was_training)
        for hook in watched:
            hook.remove()
    return counted


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())
