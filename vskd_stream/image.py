"""Window → image: the Gramian Angular Field of each axis, stacked as channels.

Wang and Oates, "Encoding Time Series as Images" (2015), as VSKD uses it (arXiv 2112.01849); the
reduction to ``size`` is the piecewise aggregate of pyts. This file allocates and refuses, the
kernels in ``_gaf`` loop.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vskd_stream import _gaf
from vskd_stream.errors import ImageSpecError

AXES = _gaf.AXES

_FLOAT32 = np.dtype(np.float32)
_METHODS = {"summation": _gaf.SUMMATION, "difference": _gaf.DIFFERENCE, "both": _gaf.BOTH}


class ImageSpec(BaseModel):
    """How a window becomes an image; part of a bundle's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=2, le=512)]
    """Height and width in pixels; at most the window's number of samples."""
    method: Literal["summation", "difference", "both"] = "summation"
    """Which field; "both" stacks three summation channels over three difference channels."""
    scaling: Literal["minmax", "fixed"] = "minmax"
    """"minmax": per window and axis to [-1, 1], as the paper. "fixed": tanh(acc / range_g), which
    keeps amplitude and gravity."""
    range_g: Annotated[float, Field(ge=0.001, le=64.0)] | None = None
    """The acceleration in g that "fixed" maps to tanh(1) = 0.76; absent for "minmax"."""

    @model_validator(mode="after")
    def _range_fits_scaling(self) -> Self:
        if (self.scaling == "fixed") != (self.range_g is not None):
            raise ValueError('range_g is needed for scaling "fixed", and for nothing else')
        return self

    @property
    def channels(self) -> int:
        """3, or 6 for "both"."""
        return 2 * AXES if self.method == "both" else AXES


def encode(
    window: NDArray[np.float32], *, spec: ImageSpec, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Encode one window.

    Args:
        window: (3, n) float32, C-contiguous, acceleration in g, n >= spec.size. Finite: a NaN makes
            NaN of its pixel's row and column at least, never an error.
        spec: How to encode.
        out: (spec.channels, size, size) float32, C-contiguous, to write into; made if absent.

    Returns:
        ``out``; values in [-1, 1], give or take float32 rounding (3e-7).

    Raises:
        ImageSpecError: The window or ``out`` does not fit ``spec``; nothing was written.
    """
    if out is None:
        out = np.empty((spec.channels, spec.size, spec.size), np.float32)
    # The kernel's signature refuses other types as well, yet numba mixes up byte orders once it has met
    # an unaligned array.
    try:
        fit = window.dtype == _FLOAT32 and _gaf.encode_window(
            window, spec.size, _METHODS[spec.method], spec.range_g or _gaf.MINMAX, out
        )
    except TypeError:
        fit = False
    if not fit:
        raise _misfit(window, form="(3, n)", spec=spec, out=out)
    return out


def encode_batch(
    windows: NDArray[np.float32], *, spec: ImageSpec, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Encode (b, 3, n) windows into (b, channels, size, size), without the GIL; otherwise as ``encode``."""
    if out is None:
        out = np.empty((*windows.shape[:1], spec.channels, spec.size, spec.size), np.float32)
    try:
        fit = windows.dtype == _FLOAT32 and _gaf.encode_windows(
            windows, spec.size, _METHODS[spec.method], spec.range_g or _gaf.MINMAX, out
        )
    except TypeError:
        fit = False
    if not fit:
        raise _misfit(windows, form="(b, 3, n)", spec=spec, out=out)
    return out


def _misfit(
    windows: NDArray[Any], *, form: Literal["(3, n)", "(b, 3, n)"], spec: ImageSpec, out: NDArray[Any]
) -> ImageSpecError:
    """Say why the kernels did not take these."""
    *batch, axes, samples = windows.shape if windows.ndim == form.count(",") + 1 else (0, 0)
    if axes != AXES:
        return ImageSpecError(f"the shape must be {form}, not {windows.shape}: 3 axes of n samples")
    if not _is_plain(windows):
        return ImageSpecError(f"samples must be C-contiguous float32, not {_layout(windows)}")
    if samples < spec.size:
        return ImageSpecError(
            f"{samples} samples are fewer than the image's {spec.size} pixels: "
            "use a longer window or a smaller image"
        )
    shape = (*batch, spec.channels, spec.size, spec.size)
    return ImageSpecError(
        f"out must be writable C-contiguous float32 of the shape {shape}, not {_layout(out)} of {out.shape}"
    )


def _is_plain(array: NDArray[Any]) -> bool:
    return array.dtype == _FLOAT32 and array.flags.c_contiguous and array.flags.aligned


def _layout(array: NDArray[Any]) -> str:
    flags = array.flags
    return " ".join(
        word
        for word, applies in (
            ("read-only", not flags.writeable),
            ("unaligned", not flags.aligned),
            ("C-contiguous" if flags.c_contiguous else "non-contiguous", True),
            (str(array.dtype), True),
        )
        if applies
    )
