"""The Gramian Angular Field kernels: they loop, and allocate nothing but scratch.

Wang and Oates (2015). With x = cos(phi) and s = sin(phi) >= 0, the summation field
cos(phi_i + phi_j) is x_i x_j - s_i s_j and the difference field sin(phi_i - phi_j) is
s_i x_j - x_i s_j, so no arccos is ever taken. The band holds what lies beside the diagonal, sheared upright:
its row k has the pairs (t, t + k + 1).

Types are checked by the two entries' signatures, shapes by ``_fit``: here that costs nothing, in
Python as much as half the encoding. What is wrong then, ``image`` finds out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vskd_stream._jit import jit_for, jit_inline, jit_inner

AXES = 3
SUMMATION, DIFFERENCE, BOTH = 0, 1, 2
MINMAX, FIXED, LOGISTIC = 0, 1, 2
WHOLE = 0
"""In the place of ``lags``: the whole field, not its band."""

# scikit-learn's bound, which pyts inherits: a smaller range counts as constant.
_CONSTANT_RANGE = 10 * np.finfo(np.float64).eps
_ONE, _TWO = np.float32(1.0), np.float32(2.0)
_CACHE_LINE_BYTES = 64


@jit_inner
def _piecewise_aggregate(series: NDArray[np.float32], size: int, means: NDArray[np.float64]) -> None:
    """Means of ``size`` segments; the bounds are those of pyts: truncated multiples of n / size."""
    n = len(series)
    if n == size:
        for i in range(size):
            means[i] = series[i]
    elif n == 2 * size:
        # The usual case, apart because it vectorises.
        for i in range(size):
            means[i] = (np.float64(series[2 * i]) + np.float64(series[2 * i + 1])) * 0.5
    else:
        step = n / size
        start = 0
        for i in range(size):
            end = n if i == size - 1 else int((i + 1) * step)
            total = 0.0
            for j in range(start, end):
                total += np.float64(series[j])
            means[i] = total / (end - start)
            start = end


@jit_inner
def _scale_minmax(means: NDArray[np.float64], x: NDArray[np.float32], s: NDArray[np.float32]) -> None:
    low = high = means[0]
    for i in range(len(means)):
        # Not the array's min() and max(): looking for NaN at each step, they cost more than all the rest.
        low = min(low, means[i])
        high = max(high, means[i])
    extent = high - low
    scale = 2.0 if extent < _CONSTANT_RANGE else 2.0 / extent
    for i in range(len(means)):
        # In float64: near |x| = 1 the square root would magnify float32 rounding to 3e-4.
        cosine = min((means[i] - low) * scale - 1.0, 1.0)
        x[i] = cosine
        s[i] = np.sqrt(1.0 - cosine * cosine)


@jit_inner
def _scale_fixed(
    means: NDArray[np.float64], range_g: float, x: NDArray[np.float32], s: NDArray[np.float32]
) -> None:
    # tanh and its complement sech from one exponential, both exact to float32 at any amplitude. In
    # three passes: around the call of libm's exponential the others vectorise.
    for i in range(len(means)):
        x[i] = -abs(means[i]) / range_g
    for i in range(len(means)):
        s[i] = np.exp(x[i])
    for i in range(len(means)):
        q = s[i]
        square = q * q
        divisor = _ONE / (_ONE + square)
        tanh = (_ONE - square) * divisor
        x[i] = tanh if means[i] >= 0.0 else -tanh
        s[i] = _TWO * q * divisor


@jit_inner
def _scale_logistic(
    means: NDArray[np.float64], range_g: float, x: NDArray[np.float32], s: NDArray[np.float32]
) -> None:
    # (1 + tanh(a / range)) / 2 is 1 / (1 + q), q = exp(-2 a / range). As above, in three passes; 1 - x is
    # computed, not subtracted, so that s stays exact where x is next to 1.
    for i in range(len(means)):
        x[i] = -2.0 * abs(means[i]) / range_g
    for i in range(len(means)):
        s[i] = np.exp(x[i])
    for i in range(len(means)):
        q = s[i]
        larger = _ONE / (_ONE + q)
        smaller = q * larger
        cosine, rest = (larger, smaller) if means[i] >= 0.0 else (smaller, larger)
        x[i] = cosine
        s[i] = np.sqrt(rest * (_ONE + cosine))


@jit_inner
def _summation(x: NDArray[np.float32], s: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    for i in range(len(x)):
        xi, si = x[i], s[i]
        for j in range(len(x)):
            image[i, j] = xi * x[j] - si * s[j]


@jit_inner
def _difference(x: NDArray[np.float32], s: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    for i in range(len(x)):
        xi, si = x[i], s[i]
        for j in range(len(x)):
            image[i, j] = si * x[j] - xi * s[j]


@jit_inner
def _summation_band(x: NDArray[np.float32], s: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    lags, width = image.shape
    for k in range(lags):
        later_x, later_s = x[k + 1 : k + 1 + width], s[k + 1 : k + 1 + width]
        for t in range(width):
            image[k, t] = x[t] * later_x[t] - s[t] * later_s[t]


@jit_inner
def _difference_band(x: NDArray[np.float32], s: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    lags, width = image.shape
    for k in range(lags):
        later_x, later_s = x[k + 1 : k + 1 + width], s[k + 1 : k + 1 + width]
        for t in range(width):
            image[k, t] = s[t] * later_x[t] - x[t] * later_s[t]


@jit_inline
def _scratch(size: int) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Room for means, x and s, each from the start of a cache line on.

    x and s are read again for every row of an image; were those reads to straddle two cache lines,
    the whole encoding would take a quarter longer.
    """
    stride = (size + 15) // 16 * 16
    doubles = np.empty(2 * stride + _CACHE_LINE_BYTES // 8, np.float64)
    first = (-doubles.ctypes.data % _CACHE_LINE_BYTES) // 8
    floats = doubles.view(np.float32)
    x = 2 * (first + stride)
    s = x + stride
    return doubles[first : first + size], floats[x : x + size], floats[s : s + size]


@jit_inner
def _fit(
    window_shape: tuple[int, int], image_shape: tuple[int, int, int], size: int, lags: int, method: int
) -> bool:
    channels = 2 * AXES if method == BOTH else AXES
    height, width = (size, size) if lags == WHOLE else (lags, size - lags)
    return window_shape[0] == AXES and window_shape[1] >= size and image_shape == (channels, height, width)


@jit_inline
def _encode(
    window: NDArray[np.float32],
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    image: NDArray[np.float32],
    scratch: tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]],
) -> None:
    means, x, s = scratch
    for axis in range(AXES):
        _piecewise_aggregate(window[axis], len(means), means)
        if scaling == MINMAX:
            _scale_minmax(means, x, s)
        elif scaling == FIXED:
            _scale_fixed(means, range_g, x, s)
        else:
            _scale_logistic(means, range_g, x, s)
        second = axis + AXES if method == BOTH else axis
        if method != DIFFERENCE:
            if lags == WHOLE:
                _summation(x, s, image[axis])
            else:
                _summation_band(x, s, image[axis])
        if method != SUMMATION:
            if lags == WHOLE:
                _difference(x, s, image[second])
            else:
                _difference_band(x, s, image[second])


# One window takes less time than it takes to give the GIL away and get it back.
@jit_for(
    "boolean(Array(float32, 2, 'C', readonly=True), int64, int64, int64, int64, float64, float32[:, :, ::1])",
    nogil=False,
)
def encode_window(
    window: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    image: NDArray[np.float32],
) -> bool:
    """Encode (3, n) into an image; False, and nothing written, where shapes do not fit.

    Args:
        window: Acceleration in g.
        size: Segments to which each axis is reduced.
        lags: WHOLE for the (3 or 6, size, size) field; else its (3 or 6, lags, size - lags) band.
        method: SUMMATION, DIFFERENCE or BOTH.
        scaling: MINMAX, FIXED or LOGISTIC.
        range_g: Of the last two.
        image: Written to.
    """
    if not _fit(window.shape, image.shape, size, lags, method):
        return False
    _encode(window, lags, method, scaling, range_g, image, _scratch(size))
    return True


@jit_for(
    "boolean(Array(float32, 3, 'C', readonly=True), int64, int64, int64, int64, float64,"
    " float32[:, :, :, ::1])"
)
def encode_windows(
    windows: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    images: NDArray[np.float32],
) -> bool:
    """Encode (b, 3, n) into b images; otherwise as ``encode_window``."""
    if len(windows) != len(images) or not _fit(windows.shape[1:], images.shape[1:], size, lags, method):
        return False
    scratch = _scratch(size)
    for b in range(len(windows)):
        _encode(windows[b], lags, method, scaling, range_g, images[b], scratch)
    return True
