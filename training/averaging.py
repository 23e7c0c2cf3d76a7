"""The mean of the weights along the way: flatter, and less the accident of one seed, than where the way ends.

Izmailov et al., "Averaging weights leads to wider optima and better generalization" (2018); that it is worth
most on data unlike those learned from, and begun early: Arpit et al., "Ensemble of averages" (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Any]


class MeanWeights:
    """The mean over steps of what a task learns; batch statistics are taken anew for it."""

    def __init__(self, task: nn.Module) -> None:
        self._learned = [each for each in task.parameters() if each.requires_grad]
        self._means = [torch.zeros_like(each) for each in self._learned]
        self._steps = 0
        self._norms = [
            module
            for module in task.modules()
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            # Of who is frozen, nothing changes.
            and any(each.requires_grad for each in module.parameters())
        ]

    def add(self) -> None:
        """Count the weights as they stand."""
        self._steps += 1
        with torch.no_grad():
            for mean, each in zip(self._means, self._learned, strict=True):
                mean.lerp_(each, 1.0 / self._steps)

    def settle(self, passes: Iterable[Callable[[], object]]) -> None:
        """Put the means into the task.

        Args:
            passes: Each computes a batch; over all of them batch statistics are taken anew.
        """
        with torch.no_grad():
            for mean, each in zip(self._means, self._learned, strict=True):
                each.copy_(mean)
            momenta = [norm.momentum for norm in self._norms]
            for norm in self._norms:
                norm.reset_running_stats()
                # None: the plain mean over all batches.
                norm.momentum = None
            for compute in passes:
                compute()
            for norm, momentum in zip(self._norms, momenta, strict=True):
                norm.momentum = momentum

    def state(self) -> State:
        """For a checkpoint."""
        return {"means": self._means, "steps": self._steps}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` gave."""
        means: list[Tensor] = state["means"]
        for mean, found in zip(self._means, means, strict=True):
            mean.copy_(found)
        self._steps = state["steps"]
