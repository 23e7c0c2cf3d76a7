"""One readable loop. It knows batches and a task's "loss"; it knows no method and no data set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.averaging import MeanWeights
from training.experiment import Fit
from vskd_stream.errors import VskdError

Batch = tuple[NDArray[np.float32], NDArray[np.int64], *tuple[NDArray[Any], ...]]
"""(images, labels) and whatever else the task is called with."""
Batches = Callable[[int], Iterator[Batch]]
"""An epoch's number to its batches."""
Curve = dict[str, float]
"""What one epoch came to, by name: "loss", "accuracy" and every other scalar of the task's answer."""

_RISE = 0.25
_START = 1 / 25
_IMAGES = 4
"""Dimensions of a batch of images; windows have one less."""


class FitError(VskdError):
    """A run that cannot be continued."""


def one_cycle(step: int, *, steps: int, peak: float) -> float:
    """Learning rate of a step: up along half a cosine, then down to nothing along another."""
    rise = max(1.0, _RISE * steps)
    if step < rise:
        return peak * (_START + (1.0 - _START) * 0.5 * (1.0 - math.cos(math.pi * step / rise)))
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def fit(
    task: nn.Module,
    *,
    batches: Batches,
    settings: Fit,
    seed: int,
    checkpoint: Path,
    identity: str,
    say: Callable[[str], None] = print,
    after_epoch: Callable[[], str] = str,
    draw: Callable[[int, Curve], None] = lambda _epoch, _curve: None,
) -> list[Curve]:
    """Teach ``task``, beginning where ``checkpoint`` stops if it exists.

    Args:
        task: Called with images (b, channels, h, w) and labels (b,), answers with at least "loss" and
            "logits"; its parameters that require a gradient are learned.
        batches: The windows of an epoch; must depend on nothing but the epoch's number.
        settings: How long and how fast.
        seed: Seeds torch anew for each epoch, for what the task draws.
        checkpoint: Written after every epoch, never half.
        identity: What the run's outcome depends on; a checkpoint of another is refused.
        say: Receives a line per epoch.
        after_epoch: Its answer is appended to that line.
        draw: Receives an epoch's number, from 1, and its means, for whoever plots while it runs.

    Returns:
        The means of every epoch, those before a resumption included.

    Raises:
        FitError: The checkpoint is damaged or another run's, or the loss is no longer a number.
    """
    torch.set_num_threads(settings.threads)
    # torch's annotations do not know this form.
    task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learned = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=settings.peak_learning_rate, weight_decay=settings.weight_decay)
    mean = MeanWeights(task) if settings.averaged > 0.0 else None
    curves = _resume(checkpoint, task, identity, optimiser=optimiser, mean=mean)
    first = len(curves)
    if first > 0:
        say(f"resumed after epoch {first} of {settings.epochs}")
    began = time.monotonic()
    for epoch in range(first, settings.epochs):
        curve = _epoch(task, optimiser, mean, batches=batches, settings=settings, seed=seed, epoch=epoch)
        curves.append(curve)
        if mean is not None and epoch + 1 == settings.epochs:
            mean.settle(partial(_answer, task, batch, settings=settings) for batch in batches(epoch))
        _save(checkpoint, task, optimiser, mean, identity=identity, curves=curves)
        draw(epoch + 1, curve)
        note = after_epoch()
        spent_s = time.monotonic() - began
        left_s = spent_s / (epoch + 1 - first) * (settings.epochs - epoch - 1)
        say(
            f"epoch {epoch + 1}/{settings.epochs}  loss {curve['loss']:.4f}  "
            f"accuracy {curve['accuracy']:.4f}{note}  "
            f"{spent_s / 60:.1f} min, {left_s / 60:.1f} min to go at this pace"
        )
    return curves


@dataclass(slots=True)
class _Sums:
    """Of one epoch, weighted by windows."""

    seen: int = 0
    known: int = 0
    right: int = 0
    of: dict[str, float] = field(default_factory=dict)

    def add(self, result: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
        self.seen += len(labels)
        self.known += int((labels >= 0).sum())
        self.right += int((result["logits"].argmax(1) == labels).sum())
        for name, value in result.items():
            if value.ndim == 0:
                self.of[name] = self.of.get(name, 0.0) + value.item() * len(labels)

    def means(self) -> Curve:
        return {"accuracy": self.right / max(1, self.known)} | {k: v / self.seen for k, v in self.of.items()}


def _epoch(
    task: nn.Module,
    optimiser: torch.optim.Optimizer,
    mean: MeanWeights | None,
    *,
    batches: Batches,
    settings: Fit,
    seed: int,
    epoch: int,
) -> Curve:
    """One epoch; its means on what was learned from."""
    task.train()
    torch.manual_seed((seed << 20) + epoch)
    step = epoch * settings.batches
    steps = settings.epochs * settings.batches
    sums = _Sums()
    for batch in batches(epoch):
        for group in optimiser.param_groups:
            group["lr"] = one_cycle(step, steps=steps, peak=settings.peak_learning_rate)
        result = _answer(task, batch, settings=settings)
        loss = result["loss"]
        if not math.isfinite(loss.item()):
            raise FitError(f"the loss became {loss.item()} in epoch {epoch + 1}: lower peak_learning_rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        sums.add(result, torch.from_numpy(batch[1]))
        step += 1
        if mean is not None and step > (1.0 - settings.averaged) * steps:
            mean.add()
    return sums.means()


def _answer(task: nn.Module, batch: Batch, *, settings: Fit) -> dict[str, torch.Tensor]:
    """What the task says of a batch, while it learns."""
    images, labels, *others = batch
    x = torch.from_numpy(images)
    if x.ndim == _IMAGES:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.autocast == "bfloat16"):
        result: dict[str, torch.Tensor] = task(x, torch.from_numpy(labels), *map(torch.from_numpy, others))
    return result


def _save(
    path: Path,
    task: nn.Module,
    optimiser: torch.optim.Optimizer,
    mean: MeanWeights | None,
    *,
    identity: str,
    curves: list[Curve],
) -> None:
    unfinished = path.with_suffix(".partial")
    state = {
        "identity": identity,
        "curves": curves,
        "task": task.state_dict(),
        "optimiser": optimiser.state_dict(),
    } | ({} if mean is None else {"mean": mean.state()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, unfinished)
        # A kill in the middle of writing must leave the last whole checkpoint in place.
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        raise FitError(
            f"checkpoint {path} cannot be written ({error}): make room; the last whole one goes on"
        ) from error


def _resume(
    path: Path,
    task: nn.Module,
    identity: str,
    *,
    optimiser: torch.optim.Optimizer | None = None,
    mean: MeanWeights | None = None,
) -> list[Curve]:
    """Load what ``_save`` wrote, if it is there; the means of the epochs done."""
    if not path.exists():
        return []
    try:
        state = torch.load(path, weights_only=True)
        found, _ = state["identity"], state["curves"]
    except Exception as error:  # torch raises anything from KeyError to UnpicklingError
        raise FitError(f"checkpoint {path} cannot be read ({error}); remove it to start over") from error
    if found != identity:
        raise FitError(f"checkpoint {path} belongs to another configuration; remove it to start over")
    task.load_state_dict(state["task"])
    if optimiser is not None:
        optimiser.load_state_dict(state["optimiser"])
    if mean is not None:
        mean.restore(state["mean"])
    curves: list[Curve] = state["curves"]
    return curves


def restore(task: nn.Module, *, checkpoint: Path, identity: str, epochs: int) -> None:
    """Load a finished run's weights into ``task``; ``FitError`` if there is none."""
    done = len(_resume(checkpoint, task, identity))
    if done < epochs:
        raise FitError(f"checkpoint {checkpoint}: {done} of {epochs} epochs done; run vskd-train train first")
