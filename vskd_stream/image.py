"""Window → image: the Gramian Angular Field of each axis, stacked as channels.

Wang and Oates, "Encoding Time Series as Images" (2015), as VSKD uses it (arXiv 2112.01849); the
reduction to ``size`` is the piecewise aggregate of pyts. The band is the field in coordinates of time and
lag, as the close returns plot has them for recurrence (Mindlin and Gilmore 1992): it keeps every sample
where the whole field of as many pixels must average them. This file allocates and refuses, the kernels in
``_gaf`` loop.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vskd_stream import _gaf
from vskd_stream.errors import ImageSpecError

AXES = _gaf.AXES

_FLOAT32 = np.dtype(np.float32)
_METHODS = {"summation": _gaf.SUMMATION, "difference": _gaf.DIFFERENCE, "both": _gaf.BOTH}
_SCALINGS = {"minmax": _gaf.MINMAX, "fixed": _gaf.FIXED, "logistic": _gaf.LOGISTIC}


def _is_absent(value: object) -> bool:
    return value is None


class ImageSpec(BaseModel):
    """How a window becomes an image; part of a bundle's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=2, le=512)]
    """Segments to which a window is reduced, at most its number of samples: the field's sides in pixels."""
    method: Literal["summation", "difference", "both"] = "summation"
    """Which field; "both" stacks three summation channels over three difference channels."""
    scaling: Literal["minmax", "fixed", "logistic"] = "minmax"
    """"minmax": per window and axis to [-1, 1], as the paper. "fixed": tanh(acc / range_g), which
    keeps amplitude and gravity, but for its sign: the summation field of -x is that of x. "logistic":
    (1 + tanh(acc / range_g)) / 2, in [0, 1], where the sign is kept as well."""
    range_g: Annotated[float, Field(ge=0.001, le=64.0)] | None = None
    """The acceleration in g that "fixed" maps to tanh(1) = 0.76; absent for "minmax"."""
    # Left out where it is what all images had before there was a choice.
    lags: Annotated[int, Field(ge=1, le=256)] | None = Field(default=None, exclude_if=_is_absent)
    """Absent: the whole field. Else the band of so many lags beside its diagonal, sheared upright: the pixel
    in row k and column t holds the segments t and t + k + 1."""
    detail_g: Annotated[float, Field(ge=0.001, le=64.0)] | None = Field(default=None, exclude_if=_is_absent)
    """Absent: the acceleration alone. Else the same fields once more, of detail: what each segment d differs
    from its mean with the twelve before and the twelve after it, as (1 + d / (|d| + detail_g)) / 2. Beside
    gravity, the small movements of a hand that seems to rest are next to nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.scaling == "minmax") != (self.range_g is None):
            raise ValueError('range_g is needed for scaling "fixed" or "logistic", and for nothing else')
        if self.lags is not None and self.lags >= self.size:
            raise ValueError(f"{self.lags} lags do not fit in a field of {self.size} segments")
        return self

    @property
    def channels(self) -> int:
        """3, twice as many for "both", and twice as many with detail."""
        fields = 2 if self.method == "both" else 1
        return AXES * fields * (1 if self.detail_g is None else 2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """An image's (channels, height, width)."""
        if self.lags is None:
            return self.channels, self.size, self.size
        return self.channels, self.lags, self.size - self.lags

    @cached_property
    def kernel_arguments(self) -> tuple[int, int, int, int, float, float]:
        """Size, lags, method, scaling, range and detail, as ``_gaf`` takes them."""
        method, scaling = _METHODS[self.method], _SCALINGS[self.scaling]
        detail_g = self.detail_g or _gaf.ALONE
        return self.size, self.lags or _gaf.WHOLE, method, scaling, self.range_g or 0.0, detail_g


def encode(
    window: NDArray[np.float32], *, spec: ImageSpec, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Encode one window.

    Args:
        window: (3, n) float32, C-contiguous, acceleration in g, n >= spec.size. Finite: a NaN makes
            NaN of its pixel's row and column at least, never an error.
        spec: How to encode.
        out: ``spec.shape`` float32, C-contiguous, to write into; made if absent.

    Returns:
        ``out``; values in [-1, 1], give or take float32 rounding (3e-7).

    Raises:
        ImageSpecError: The window or ``out`` does not fit ``spec``; nothing was written.
    """
    if out is None:
        out = np.empty(spec.shape, np.float32)
    # The kernel's signature refuses other types as well, yet numba mixes up byte orders once it has met
    # an unaligned array.
    try:
        fit = window.dtype == _FLOAT32 and _gaf.encode_window(window, *spec.kernel_arguments, out)
    except TypeError:
        fit = False
    if not fit:
        raise _misfit(window, form="(3, n)", spec=spec, out=out)
    return out


def encode_batch(
    windows: NDArray[np.float32], *, spec: ImageSpec, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Encode (b, 3, n) windows into (b, *spec.shape), without the GIL; otherwise as ``encode``."""
    if out is None:
        out = np.empty((*windows.shape[:1], *spec.shape), np.float32)
    try:
        fit = windows.dtype == _FLOAT32 and _gaf.encode_windows(windows, *spec.kernel_arguments, out)
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
    shape = (*batch, *spec.shape)
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
