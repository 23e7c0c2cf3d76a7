"""Curves for TensorBoard, where somebody asks for them and it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training.fit import Curve
from vskd_stream.errors import VskdError


class TensorBoardError(VskdError):
    """It was asked for and is not there."""


@contextmanager
def drawing(run: Path, *, wanted: bool) -> Iterator[Callable[[int, Curve], None]]:
    """What draws an epoch's means; nothing is drawn, and nothing imported, unless it is ``wanted``."""
    if not wanted:
        yield lambda _epoch, _curve: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TensorBoardError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        ) from error
    writer = SummaryWriter(run / "tensorboard")

    def draw(epoch: int, curve: Curve) -> None:
        for name, value in curve.items():
            writer.add_scalar(name, value, epoch)

    try:
        yield draw
    finally:
        writer.close()
