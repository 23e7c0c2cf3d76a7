"""Rows of a kernel that only ever meet padding, left out: the same function for less arithmetic.

The band of a Gramian field is a few lags high. Once maps are one row high, the upper and the lower row of
a 3 x 3 kernel multiply nothing but zeros: of an image of 4 lags, more than half of a student's products.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from training.student import Student


class _Axis(NamedTuple):
    """What is kept of a kernel along one axis."""

    rows: slice
    padding: int


def trimmed(student: Student, *, shape: tuple[int, int, int]) -> Student:
    """A copy of ``student`` that answers alike to images of (channels, h, w), and of no other size."""
    copied = copy.deepcopy(student).eval()
    sizes: dict[str, tuple[torch.Size, torch.Size]] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes[name] = inputs[0].shape[2:], output.shape[2:]

        return module.register_forward_hook(note)

    convolutions = {name: m for name, m in copied.named_modules() if isinstance(m, nn.Conv2d)}
    watched = [watch(name, module) for name, module in convolutions.items()]
    with torch.inference_mode():
        copied(torch.zeros(1, *shape))
    for hook in watched:
        hook.remove()
    for name, convolution in convolutions.items():
        _trim(convolution, *sizes[name])
    return copied


def _trim(convolution: nn.Conv2d, size: torch.Size, outputs: torch.Size) -> None:
    high, wide = (
        _kept(kernel, stride=stride, padding=padding, size=n, outputs=positions)
        for kernel, stride, padding, n, positions in zip(
            convolution.kernel_size,
            convolution.stride,
            cast("tuple[int, int]", convolution.padding),
            size,
            outputs,
            strict=True,
        )
    )
    convolution.weight = nn.Parameter(convolution.weight.detach()[:, :, high.rows, wide.rows].contiguous())
    convolution.kernel_size = (convolution.weight.shape[2], convolution.weight.shape[3])
    convolution.padding = (high.padding, wide.padding)


def _kept(kernel: int, *, stride: int, padding: int, size: int, outputs: int) -> _Axis:
    met = [
        row
        for row in range(kernel)
        if any(0 <= stride * position - padding + row < size for position in range(outputs))
    ]
    first, length = met[0], met[-1] + 1 - met[0]
    before = padding - first
    after = stride * (outputs - 1) + length - size - before
    if before != max(0, after):  # a convolution pads both sides alike
        return _Axis(slice(None), padding)
    return _Axis(slice(first, first + length), before)
