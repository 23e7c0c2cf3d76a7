"""What learns from windows: a student reads their images, a temporal network the windows themselves."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.student import Student
from training.window_tcn import WindowTCN
from vskd_stream.image import ImageSpec, encode_batch

Network = Student | WindowTCN

_BATCH = 64


def told(
    network: Network, windows: NDArray[np.float32], *, image: ImageSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(w, labels) logits and the (w, 300) tap of (w, 3, n) windows in g, in full precision."""
    network.eval()
    logits, taps = [], []
    with torch.inference_mode():
        for start in range(0, len(windows), _BATCH):
            batch = windows[start : start + _BATCH]
            tap = network.embed(network.maps(_read(network, batch, image=image)))
            taps.append(tap)
            logits.append(network.answer(tap))
    return torch.cat(logits).float().numpy(), torch.cat(taps).float().numpy()


def _read(network: Network, windows: NDArray[np.float32], *, image: ImageSpec) -> Tensor:
    seen = windows if isinstance(network, WindowTCN) else encode_batch(windows, spec=image)
    return torch.from_numpy(seen)
