"""The mean of the weights is that of all that were counted, and batch statistics are its own."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from training.averaging import MeanWeights


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.BatchNorm1d(2))


def wander(task: nn.Module) -> None:
    with torch.no_grad():
        for each in task.parameters():
            if each.requires_grad:
                each.add_(torch.randn_like(each))


def test_it_is_the_plain_mean_of_the_weights_that_were_counted() -> None:
    task, seen = net(), []
    mean = MeanWeights(task)
    for _ in range(5):
        wander(task)
        mean.add()
        seen.append([each.detach().clone() for each in task.parameters()])
    mean.settle([])
    for i, each in enumerate(task.parameters()):
        torch.testing.assert_close(each.detach(), torch.stack([weights[i] for weights in seen]).mean(0))


def test_statistics_are_those_of_all_batches_under_the_mean_weights() -> None:
    task = net()
    mean = MeanWeights(task)
    batches = [torch.randn(8, 3) + i for i in range(6)]
    for _ in range(3):
        wander(task)
        mean.add()
    mean.settle(partial(task, x) for x in batches)
    through = task[0](torch.cat(batches)).detach()
    torch.testing.assert_close(task[1].running_mean, through.mean(0))
    assert task[1].momentum == 0.1


def test_what_is_frozen_keeps_its_weights_and_statistics() -> None:
    task = net()
    frozen = task[2:]
    frozen.requires_grad_(requires_grad=False)
    frozen.eval()
    before = [value.clone() for value in frozen.state_dict().values()]
    mean = MeanWeights(task)
    wander(task)
    mean.add()
    mean.settle([lambda: task(torch.randn(8, 3))])
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.state_dict().values(), strict=True))


def test_it_goes_on_from_its_state() -> None:
    task = net()
    whole, first = MeanWeights(task), MeanWeights(task)
    for _ in range(2):
        wander(task)
        whole.add()
        first.add()
    second = MeanWeights(task)
    second.restore(first.state())
    wander(task)
    whole.add()
    second.add()
    assert whole.state()["steps"] == second.state()["steps"] == 3
    for a, b in zip(whole.state()["means"], second.state()["means"], strict=True):
        assert torch.equal(a, b)
