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
ALONE = 0.0
"""In the place of ``detail_g``: the acceleration, and nothing else."""
AROUND = 12
"""Segments to either side over which detail takes its mean."""

# scikit-learn's bound, which pyts inherits: a smaller range counts as constant.
_CONSTANT_RANGE = 10 * np.finfo(np.float64).eps
_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
_CACHE_LINE_BYTES = 64
_UNROLLED = 64
"""So many float32 the widest loops take at a time."""

# Of ``_decay``: the least power of e that is a normal float32; ln 2 as the sum of two, the higher of which
# has so few bits that its products with integers are exact; the series' coefficients, 1 / 2! to 1 / 7!.
_LEAST = np.float32(-87.0)
_PER_LN2 = np.float32(1.0 / np.log(2.0))
_LN2_HIGH = np.float32(355.0 / 512.0)
_LN2_LOW = np.float32(np.log(2.0) - 355.0 / 512.0)
_C2, _C3, _C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
_C5, _C6, _C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)
_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@jit_inner
def _piecewise_aggregate(
    windows: NDArray[np.float32], b: int, size: int, stride: int, means: NDArray[np.float64]
) -> None:
    """Each axis' means of ``size`` segments of window ``b``, a ``stride`` after those of the axis before.

    The bounds of segments are those of pyts: truncated multiples of n / size.
    """
    n = windows.shape[2]
    if n == size:
        for axis in range(AXES):
            for i in range(size):
                means[axis * stride + i] = windows[b, axis, i]
    elif n == 2 * size:
        # The usual case, apart because it vectorises.
        for axis in range(AXES):
            for i in range(size):
                both = np.float64(windows[b, axis, 2 * i]) + np.float64(windows[b, axis, 2 * i + 1])
                means[axis * stride + i] = both * 0.5
    else:
        step = n / size
        start = 0
        for i in range(size):
            end = n if i == size - 1 else int((i + 1) * step)
            x = y = z = 0.0
            # Three sums side by side: none waits for another.
            for j in range(start, end):
                x += np.float64(windows[b, 0, j])
                y += np.float64(windows[b, 1, j])
                z += np.float64(windows[b, 2, j])
            count = end - start
            means[i] = x / count
            means[stride + i] = y / count
            means[2 * stride + i] = z / count
            start = end


@jit_inner
def _scale_minmax(
    means: NDArray[np.float64], size: int, stride: int, x: NDArray[np.float32], s: NDArray[np.float32]
) -> None:
    for axis in range(AXES):
        start = axis * stride
        of_means = means[start : start + size]
        of_x = x[start : start + size]
        of_s = s[start : start + size]
        low = high = of_means[0]
        for i in range(size):
            # Not the array's min() and max(): looking for NaN at each step, they cost more than all the rest.
            low = min(low, of_means[i])
            high = max(high, of_means[i])
        extent = high - low
        scale = 2.0 if extent < _CONSTANT_RANGE else 2.0 / extent
        for i in range(size):
            # In float64: near |x| = 1 the square root would magnify float32 rounding to 3e-4.
            cosine = min((of_means[i] - low) * scale - 1.0, 1.0)
            of_x[i] = cosine
            of_s[i] = np.sqrt(1.0 - cosine * cosine)


@jit_inner
def _decay(means: NDArray[np.float64], rate: float, x: NDArray[np.float32], s: NDArray[np.float32]) -> None:
    """Fill x = rate * means and s = exp(-|x|), to 2 units in the last place.

    With k the integer next to y / ln 2, exp(y) is 2^k exp(y - k ln 2) (Cody and Waite 1980), by the Taylor
    series. Unlike calls of libm's, this loop vectorises.
    """
    for i in range(len(x)):
        x[i] = rate * means[i]
    for i in range(len(x)):
        y = -abs(x[i])
        # Not max: NaN is not less than anything, and stays.
        y = _LEAST if y < _LEAST else y  # noqa: FURB136
        k = np.rint(y * _PER_LN2)
        r = (y - k * _LN2_HIGH) - k * _LN2_LOW
        series = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))))
        # 2^k, by the bits of its exponent.
        s[i] = series * np.int32((np.int32(k) + _BIAS) << _MANTISSA_BITS).view(np.float32)


@jit_inner
def _tanh(x: NDArray[np.float32], s: NDArray[np.float32]) -> None:
    """Of x and s = exp(-|x|): tanh(x) and its complement sech(x), both exact to float32."""
    for i in range(len(x)):
        q = s[i]
        square = q * q
        divisor = _ONE / (_ONE + square)
        tanh = (_ONE - square) * divisor
        x[i] = tanh if x[i] >= _ZERO else -tanh
        s[i] = _TWO * q * divisor


@jit_inline
def _upper_half(x: np.float32, larger: np.float32, smaller: np.float32) -> tuple[np.float32, np.float32]:
    """Of two parts of 1, that which the sign of x chooses, as a cosine; and its sine."""
    cosine = larger if x >= _ZERO else smaller
    # 1 - cosine is the other part, not a difference: so the sine stays exact where cosine is next to 1.
    rest = smaller if x >= _ZERO else larger
    return cosine, np.sqrt(rest * (_ONE + cosine))


@jit_inner
def _logistic(x: NDArray[np.float32], s: NDArray[np.float32]) -> None:
    """Of x and s = exp(-|x|): 1 / (1 + exp(-x)) and its complement."""
    for i in range(len(x)):
        q = s[i]
        larger = _ONE / (_ONE + q)
        x[i], s[i] = _upper_half(x[i], larger, q * larger)


@jit_inner
def _less_around(means: NDArray[np.float64], size: int, stride: int, x: NDArray[np.float32]) -> None:
    """Fill x with what each mean differs from the mean of itself and ``AROUND`` segments on either side.

    At a window's ends its first and its last segment stand for those that are not there.
    """
    y, z = stride, 2 * stride
    last = size - 1
    # Three sums side by side: none waits for another.
    of_x, of_y, of_z = AROUND * means[0], AROUND * means[y], AROUND * means[z]
    for i in range(AROUND + 1):
        ahead = min(i, last)
        of_x += means[ahead]
        of_y += means[y + ahead]
        of_z += means[z + ahead]
    per_segment = 1.0 / (2 * AROUND + 1)
    for i in range(size):
        x[i] = means[i] - of_x * per_segment
        x[y + i] = means[y + i] - of_y * per_segment
        x[z + i] = means[z + i] - of_z * per_segment
        ahead, behind = min(i + AROUND + 1, last), max(i - AROUND, 0)
        of_x += means[ahead] - means[behind]
        of_y += means[y + ahead] - means[y + behind]
        of_z += means[z + ahead] - means[z + behind]


@jit_inner
def _soft(half_g: float, x: NDArray[np.float32], s: NDArray[np.float32]) -> None:
    """(1 + x / (|x| + half)) / 2 and its complement: half of its way it goes within ``half_g``."""
    half = np.float32(half_g)
    for i in range(len(x)):
        smaller = _HALF * half / (abs(x[i]) + half)
        x[i], s[i] = _upper_half(x[i], _ONE - smaller, smaller)


# Fields are written for all axes by one call each: an array that is sliced for a call is counted up and down
# by atomic instructions, which for a small image cost more than all the rest. Both fields are
# p_i x_j - q_i s_j: p and q are x and s for summation, s and x for difference.


@jit_inner
def _field(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    stride: int,
    images: NDArray[np.float32],
    b: int,
    channel: int,
) -> None:
    size = images.shape[3]
    for axis in range(AXES):
        start = axis * stride
        of_p, of_q = p[start : start + size], q[start : start + size]
        of_x, of_s = x[start : start + size], s[start : start + size]
        for i in range(size):
            pi, qi = of_p[i], of_q[i]
            row = images[b, channel + axis, i]
            for j in range(size):
                row[j] = pi * of_x[j] - qi * of_s[j]


@jit_inner
def _band(
    p: NDArray[np.float32],
    q: NDArray[np.float32],
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    stride: int,
    images: NDArray[np.float32],
    b: int,
    channel: int,
) -> None:
    lags, width = images.shape[2], images.shape[3]
    for axis in range(AXES):
        of_axis = slice(axis * stride, axis * stride + width + lags)
        of_p, of_q, of_x, of_s = p[of_axis], q[of_axis], x[of_axis], s[of_axis]
        image = images[b, channel + axis]
        for k in range(lags):
            for t in range(width):
                image[k, t] = of_p[t] * of_x[t + k + 1] - of_q[t] * of_s[t + k + 1]


@jit_inner
def _both_bands(
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    stride: int,
    images: NDArray[np.float32],
    b: int,
    channel: int,
) -> None:
    """Summation and difference in one pass: reading costs more than computing."""
    lags, width = images.shape[2], images.shape[3]
    for axis in range(AXES):
        of_axis = slice(axis * stride, axis * stride + width + lags)
        of_x, of_s = x[of_axis], s[of_axis]
        above, below = images[b, channel + axis], images[b, channel + AXES + axis]
        for k in range(lags):
            for t in range(width):
                # All is read before anything is written, so that it is read once.
                now_x, now_s, later_x, later_s = of_x[t], of_s[t], of_x[t + k + 1], of_s[t + k + 1]
                above[k, t] = now_x * later_x - now_s * later_s
                below[k, t] = now_s * later_x - now_x * later_s


@jit_inner
def _stride(size: int) -> int:
    """From one axis' values to the next one's in scratch: whole cache lines of float32."""
    return (size + 15) // 16 * 16


@jit_inline
def _scratch(size: int) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Room for the three axes' means, x and s, (3, stride) each.

    Each axis begins with a cache line: x and s are read again for every row of an image, and were those reads
    to straddle two lines, the whole encoding would take a quarter longer. Whoever goes over all of it meets a
    whole number of ``_UNROLLED`` values, so no loop ends one by one.
    """
    length = (AXES * _stride(size) + _UNROLLED - 1) // _UNROLLED * _UNROLLED
    # Zeros: what lies between the axes is computed with as well.
    doubles = np.zeros(2 * length + _CACHE_LINE_BYTES // 8, np.float64)
    first = (-doubles.ctypes.data % _CACHE_LINE_BYTES) // 8
    floats = doubles.view(np.float32)
    x = 2 * (first + length)
    s = x + length
    return doubles[first : first + length], floats[x : x + length], floats[s : s + length]


@jit_inner
def _fit(
    window_shape: tuple[int, int],
    image_shape: tuple[int, int, int],
    size: int,
    lags: int,
    method: int,
    detail_g: float,
) -> bool:
    channels = 2 * AXES if method == BOTH else AXES
    if detail_g != ALONE:
        channels *= 2
    height, width = (size, size) if lags == WHOLE else (lags, size - lags)
    return window_shape[0] == AXES and window_shape[1] >= size and image_shape == (channels, height, width)


@jit_inner
def _fields(
    x: NDArray[np.float32],
    s: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    images: NDArray[np.float32],
    b: int,
    channel: int,
) -> None:
    """Those that ``method`` names, from ``channel`` on."""
    stride = _stride(size)
    if lags == WHOLE:
        if method != DIFFERENCE:
            _field(x, s, x, s, stride, images, b, channel)
        if method != SUMMATION:
            _field(s, x, x, s, stride, images, b, channel + AXES if method == BOTH else channel)
    elif method == BOTH:
        _both_bands(x, s, stride, images, b, channel)
    elif method == SUMMATION:
        _band(x, s, x, s, stride, images, b, channel)
    else:
        _band(s, x, x, s, stride, images, b, channel)


@jit_inner
def _encode(
    windows: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    detail_g: float,
    images: NDArray[np.float32],
    means: NDArray[np.float64],
    x: NDArray[np.float32],
    s: NDArray[np.float32],
) -> None:
    """(b, 3, n) windows to b images, by way of scratch."""
    stride = _stride(size)
    for b in range(len(windows)):
        _piecewise_aggregate(windows, b, size, stride, means)
        # Each a kernel of its own: of loops that stand together too few vectorise.
        if scaling == MINMAX:
            _scale_minmax(means, size, stride, x, s)
        elif scaling == FIXED:
            _decay(means, 1.0 / range_g, x, s)
            _tanh(x, s)
        else:
            # (1 + tanh(a / range)) / 2 is 1 / (1 + exp(-2 a / range)).
            _decay(means, 2.0 / range_g, x, s)
            _logistic(x, s)
        _fields(x, s, size, lags, method, images, b, 0)
        if detail_g != ALONE:
            _less_around(means, size, stride, x)
            _soft(detail_g, x, s)
            _fields(x, s, size, lags, method, images, b, images.shape[1] // 2)


# One window takes less time than it takes to give the GIL away and get it back.
@jit_for(
    "boolean(Array(float32, 2, 'C', readonly=True), int64, int64, int64, int64, float64, float64,"
    " float32[:, :, ::1])",
    nogil=False,
)
def encode_window(
    window: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    detail_g: float,
    image: NDArray[np.float32],
) -> bool:
    """Encode (3, n) into an image; False, and nothing written, where shapes do not fit.

    Args:
        window: Acceleration in g.
        size: Segments to which each axis is reduced.
        lags: WHOLE for the (channels, size, size) field; else its (channels, lags, size - lags) band.
        method: SUMMATION, DIFFERENCE or BOTH.
        scaling: MINMAX, FIXED or LOGISTIC.
        range_g: Of the last two.
        detail_g: ALONE, or the same fields of small movements follow, on as many channels.
        image: Written to.
    """
    if not _fit(window.shape, image.shape, size, lags, method, detail_g):
        return False
    axes, n = window.shape
    channels, height, width = image.shape
    windows, images = window.reshape(1, axes, n), image.reshape(1, channels, height, width)
    means, x, s = _scratch(size)
    _encode(windows, size, lags, method, scaling, range_g, detail_g, images, means, x, s)
    return True


@jit_for(
    "boolean(Array(float32, 3, 'C', readonly=True), int64, int64, int64, int64, float64, float64,"
    " float32[:, :, :, ::1])"
)
def encode_windows(
    windows: NDArray[np.float32],
    size: int,
    lags: int,
    method: int,
    scaling: int,
    range_g: float,
    detail_g: float,
    images: NDArray[np.float32],
) -> bool:
    """Encode (b, 3, n) into b images; otherwise as ``encode_window``."""
    if len(windows) != len(images) or not _fit(
        windows.shape[1:], images.shape[1:], size, lags, method, detail_g
    ):
        return False
    means, x, s = _scratch(size)
    _encode(windows, size, lags, method, scaling, range_g, detail_g, images, means, x, s)
    return True
