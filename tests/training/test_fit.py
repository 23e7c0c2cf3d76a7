"""The loop: it learns, resumes as if nothing had happened, and refuses what it cannot continue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.disks import writing_fails
from training.experiment import Fit
from training.fit import Curve, FitError, fit, one_cycle, restore

SETTINGS = Fit(
    epochs=4,
    windows_per_epoch=64,
    batch_size=16,
    peak_learning_rate=0.01,
    weight_decay=0.01,
    label_smoothing=0.0,
    threads=1,
    autocast="off",
)
AVERAGED = SETTINGS.model_copy(update={"averaged": 0.6})


class KilledError(Exception):
    """Stands for a process that dies."""


class ToyTask(nn.Module):
    """One convolution, batch statistics, and randomness of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(4 * 36, 2),
        )

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(images)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def batches(epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    rng = np.random.default_rng([9, epoch])
    for _ in range(SETTINGS.batches):
        labels = rng.integers(2, size=16)
        images = rng.standard_normal((16, 3, 8, 8)) + labels[:, np.newaxis, np.newaxis, np.newaxis]
        yield images.astype(np.float32), labels


def run(
    path: Path, *, stop_after: int | None = None, identity: str = "a", settings: Fit = SETTINGS
) -> tuple[ToyTask, list[str]]:
    task, lines = ToyTask(), []

    def say(line: str) -> None:
        lines.append(line)
        if stop_after is not None and line.startswith(f"epoch {stop_after}/"):
            raise KilledError

    with contextlib.suppress(KilledError):
        fit(task, batches=batches, settings=settings, seed=3, checkpoint=path, identity=identity, say=say)
    return task, lines


def test_the_loss_falls_and_every_epoch_says_so(tmp_path: Path) -> None:
    _, lines = run(tmp_path / "checkpoint.pt")
    assert [line.split("  ")[0] for line in lines] == [f"epoch {i}/4" for i in range(1, 5)]
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.5 * losses[0]
    assert "0.0 min to go" in lines[-1]


@pytest.mark.parametrize("settings", [SETTINGS, AVERAGED])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path, stop_after: int, settings: Fit) -> None:
    whole, _ = run(tmp_path / "whole.pt", settings=settings)
    run(tmp_path / "killed.pt", stop_after=stop_after, settings=settings)
    resumed, lines = run(tmp_path / "killed.pt", settings=settings)
    assert lines[0] == f"resumed after epoch {stop_after} of 4"
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    run(tmp_path / "checkpoint.pt")
    _, lines = run(tmp_path / "checkpoint.pt")
    assert lines == ["resumed after epoch 4 of 4"]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "checkpoint.pt", stop_after=1)
    with pytest.raises(FitError, match="belongs to another configuration; remove it"):
        run(tmp_path / "checkpoint.pt", identity="b")


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a checkpoint")
    with pytest.raises(FitError, match="cannot be read"):
        run(tmp_path / "checkpoint.pt")


def test_weights_of_an_unfinished_run_are_not_restored(tmp_path: Path) -> None:
    for name, stop_after in (("none.pt", None), ("half.pt", 2)):
        if stop_after:
            run(tmp_path / name, stop_after=stop_after)
        with pytest.raises(FitError, match="run vskd-train train first"):
            restore(ToyTask(), checkpoint=tmp_path / name, identity="a", epochs=4)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    def poisoned(epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        for images, labels in batches(epoch):
            yield np.full_like(images, np.nan), labels

    with pytest.raises(FitError, match="the loss became nan in epoch 1"):
        fit(
            ToyTask(),
            batches=poisoned,
            settings=SETTINGS,
            seed=3,
            checkpoint=tmp_path / "checkpoint.pt",
            identity="a",
        )
    assert not (tmp_path / "checkpoint.pt").exists()


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step, steps=100, peak=2.0) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / 25)
    assert max(rates) == rates[25] == 2.0
    assert np.all(np.diff(rates[:26]) > 0)
    assert np.all(np.diff(rates[25:]) < 0)
    assert rates[-1] < 0.002


def test_a_full_disk_is_told_and_the_last_whole_checkpoint_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run(path, stop_after=2)
    before = path.read_bytes()
    with writing_fails(), pytest.raises(FitError, match=r"cannot be written .*: make room"):
        run(path)
    assert path.read_bytes() == before
    _, lines = run(path)
    assert lines[0] == "resumed after epoch 2 of 4"


def test_every_epochs_means_are_returned_those_before_a_resumption_too(tmp_path: Path) -> None:
    drawn: list[int] = []

    def go(path: Path) -> list[Curve]:
        return fit(
            ToyTask(),
            batches=batches,
            settings=SETTINGS,
            seed=3,
            checkpoint=path,
            identity="a",
            say=lambda _: None,
            draw=lambda epoch, _: drawn.append(epoch),
        )

    whole = go(tmp_path / "whole.pt")
    run(tmp_path / "killed.pt", stop_after=3)
    drawn.clear()
    assert go(tmp_path / "killed.pt") == whole
    assert drawn == [4]
    assert [set(curve) for curve in whole] == [{"loss", "accuracy"}] * 4
