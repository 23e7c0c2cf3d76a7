"""BN-Inception, one frame to 1024 features, under the names of the published ImageNet weights.

Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift" (2015), the variant that TSN and TRN use; ``bn_inception-9f5701afb96c8044.pth`` holds its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  the name everybody knows it by
from torch import Tensor, nn

from vskd_stream.errors import VskdError

OUTPUTS = 1024
MULTIPLE_PX = 32
"""A frame's sides are multiples of it, or the strided branches of a block do not meet."""


class WeightsError(VskdError):
    """A file of weights that does not fit the network."""


class Block(NamedTuple):
    """Channels of an Inception block's branches; a block without ``one`` halves the picture."""

    name: str
    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    projected: int


_BLOCKS = (
    Block("3a", 64, (64, 64), (64, 96), "mean", 32),
    Block("3b", 64, (64, 96), (64, 96), "mean", 64),
    Block("3c", 0, (128, 160), (64, 96), "max", 0),
    Block("4a", 224, (64, 96), (96, 128), "mean", 128),
    Block("4b", 192, (96, 128), (96, 128), "mean", 128),
    Block("4c", 160, (128, 160), (128, 160), "mean", 128),
    Block("4d", 96, (128, 192), (160, 192), "mean", 128),
    Block("4e", 0, (128, 192), (192, 256), "max", 0),
    Block("5a", 352, (192, 320), (160, 224), "mean", 128),
    Block("5b", 352, (192, 320), (192, 224), "max", 128),
)


class BNInception(nn.Module):
    """(b, 3, h, w) frames, sides multiples of 32, to (b, 1024) features."""

    def __init__(self) -> None:
        super().__init__()
        self._unit("conv1_7x7_s2", 3, 64, size=7, stride=2)
        self._unit("conv2_3x3_reduce", 64, 64)
        self._unit("conv2_3x3", 64, 192, size=3)
        inputs = 192
        for block in _BLOCKS:
            name, stride = f"inception_{block.name}", 1 if block.one else 2
            if block.one:
                self._unit(f"{name}_1x1", inputs, block.one)
                self._unit(f"{name}_pool_proj", inputs, block.projected)
            self._unit(f"{name}_3x3_reduce", inputs, block.three[0])
            self._unit(f"{name}_3x3", *block.three, size=3, stride=stride)
            self._unit(f"{name}_double_3x3_reduce", inputs, block.double[0])
            self._unit(f"{name}_double_3x3_1", *block.double, size=3)
            self._unit(f"{name}_double_3x3_2", block.double[1], block.double[1], size=3, stride=stride)
            passed = block.projected if block.one else inputs
            inputs = block.one + block.three[1] + block.double[1] + passed
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _unit(self, name: str, inputs: int, outputs: int, *, size: int = 1, stride: int = 1) -> None:
        # The published convolutions have a bias, though the norm behind them takes it away again.
        self.add_module(name, nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = F.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)), inplace=True)
        return x

    def _block(self, x: Tensor, block: Block) -> Tensor:
        name = f"inception_{block.name}"
        three = self._run(x, f"{name}_3x3_reduce", f"{name}_3x3")
        double = self._run(x, f"{name}_double_3x3_reduce", f"{name}_double_3x3_1", f"{name}_double_3x3_2")
        if not block.one:
            return torch.cat([three, double, F.max_pool2d(x, 3, stride=2, ceil_mode=True)], 1)
        pool = F.avg_pool2d if block.pool == "mean" else F.max_pool2d
        pooled = self._run(pool(x, 3, stride=1, padding=1), f"{name}_pool_proj")
        return torch.cat([self._run(x, f"{name}_1x1"), three, double, pooled], 1)

    def maps(self, frames: Tensor) -> Tensor:
        """(b, 3, h, w) frames to the last block's (b, 1024, h / 32, w / 32) maps."""
        x = F.max_pool2d(self._run(frames, "conv1_7x7_s2"), 3, stride=2, ceil_mode=True)
        x = F.max_pool2d(self._run(x, "conv2_3x3_reduce", "conv2_3x3"), 3, stride=2, ceil_mode=True)
        for block in _BLOCKS:
            x = self._block(x, block)
        return x

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        return self.maps(frames).mean(dim=(2, 3))


def load_imagenet(backbone: BNInception, path: Path) -> None:
    """Fill ``backbone`` from the published file; its classifier is left out.

    Raises:
        WeightsError: The file cannot be read, or a weight is missing or of another shape.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith(("fc.", "last_linear."))}
        # Some editions keep a norm's vectors as (1, channels).
        own = backbone.state_dict()
        state = {
            name: value.reshape(own[name].shape) if name in own else value for name, value in state.items()
        }
        lacking = set(own) - set(state) - {name for name in own if name.endswith("num_batches_tracked")}
        if lacking or set(state) - set(own):
            raise WeightsError(
                f"weights {path}: {len(lacking)} are missing ({sorted(lacking)[:3]}), "
                f"{len(set(state) - set(own))} are unknown"
            )
        backbone.load_state_dict(state, strict=False)
    except WeightsError:
        raise
    except Exception as error:  # torch raises anything from KeyError to UnpicklingError
        raise WeightsError(f"weights {path} cannot be read as BN-Inception's: {error}") from error


def freeze_norms(backbone: BNInception) -> None:
    """Put every batch norm but the first in evaluation: TSN's partial BN, for few clips on good weights."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name != "conv1_7x7_s2_bn":
            module.eval()
