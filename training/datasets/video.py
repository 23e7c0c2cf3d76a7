"""Bytes of a video or a picture become frames; a video's are made small while decoding."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError

MAX_FRAMES = 4096


def decode(where: object, data: bytes, *, height_px: int) -> NDArray[np.uint8]:
    """(f, h, w, 3) RGB frames, ``height_px`` high and as wide as the picture's shape asks.

    Raises:
        DatasetError: No video can be read from the bytes, or it has no frame or more than ``MAX_FRAMES``.
    """
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            for frame in container.decode(video=0):
                if len(frames) == MAX_FRAMES:
                    raise DatasetError(where, f"has more than {MAX_FRAMES} frames")
                width_px = max(1, round(frame.width * height_px / frame.height))
                small = frame.reformat(width=width_px, height=height_px, format="rgb24")
                frames.append(np.asarray(small.to_ndarray(), np.uint8))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DatasetError(where, f"not a readable video ({error})") from error
    if not frames:
        raise DatasetError(where, "a video without a frame")
    return np.stack(frames)


def picture(where: object, data: bytes) -> NDArray[np.uint8]:
    """One grey picture (h, w) of a .pgm file's bytes; ``DatasetError`` if it is none."""
    try:
        with av.open(io.BytesIO(data), mode="r", format="pgm_pipe") as container:
            frame = next(container.decode(video=0))
            return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    except (av.FFmpegError, IndexError, ValueError, StopIteration) as error:
        raise DatasetError(where, f"not a readable picture ({error})") from error
