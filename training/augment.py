"""Augmentation of the acceleration, before encoding, so that images always come from the serving kernel.

Only what happens between one watch and another: worn on the other wrist or a little turned, moved a little
faster or stronger; a noisier, coarser, narrower or slower sensor, and a link that loses samples.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_KNOTS = 4
_STEEPEST = 2.0  # log-speeds are clipped at so many standard deviations
_OCTAVES = 5
"""Below half the sampling rate; what is slower still is stronger or weaker as the lowest is."""
_HALTS = (0.1, 0.4)
_LEFT = 0.3
"""At most so much of a movement is left while it halts."""
_FADING = 0.03
"""Of a window: how long it takes to halt, and to go on."""


class Augmentation(BaseModel):
    """How strongly windows are varied; zeros leave them as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mirror: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that a window is worn on the other wrist (``mirrored``)."""
    upside_down: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that the watch is strapped on the other way round: half a turn about the axis through
    its face."""
    rotation_deg: float = Field(ge=0.0, le=180.0)
    """Standard deviation of the angle turned about a random axis."""
    scale: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the amplitude."""
    # Left out where it is what all runs had before there was a choice.
    vigour: float = Field(default=0.0, ge=0.0, le=1.0, exclude_if=lambda vigour: vigour == 0.0)
    """Standard deviation of the logarithm by which movement is stronger or weaker: what a window's
    acceleration differs from its mean by, while gravity stays what it is."""
    waver: float = Field(default=0.0, ge=0.0, le=1.0, exclude_if=lambda waver: waver == 0.0)
    """The same along the window: a movement grows and fades, as a walk does towards a turn or a door."""
    timbre: float = Field(default=0.0, ge=0.0, le=1.0, exclude_if=lambda timbre: timbre == 0.0)
    """The same along frequency, octave by octave: a loose strap, soft soles, a sensor's own filter."""
    halt: float = Field(default=0.0, ge=0.0, le=1.0, exclude_if=lambda halt: halt == 0.0)
    """Probability that a movement stops for a while: a tenth to two fifths of the window, less where that
    reaches beyond it."""
    speed: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the speed, for the window as a whole and along it."""
    noise_g: float = Field(ge=0.0, le=1.0)
    """Standard deviation of white noise."""
    slower: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that the sensor was slower: its samples as far apart as anything from one sample of the
    window to ``slowest_samples``, read in between by straight lines, as the gateway does."""
    slowest_samples: float = Field(default=2.0, ge=1.0, le=4.0)
    jitter_samples: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of the error of a sample's time, clipped at half a sample."""
    lossy: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that samples are lost, up to ``loss`` of them, and read in between by straight lines."""
    loss: float = Field(default=0.05, ge=0.0, le=0.5)
    ranges_g: tuple[Annotated[float, Field(ge=1.0, le=64.0)], ...] = ()
    """One of these, drawn for each window, is where the sensor rails; none: as recorded."""
    steps_g: tuple[Annotated[float, Field(ge=0.0, le=0.1)], ...] = ()
    """One of these, drawn for each window, is what the sensor rounds to; none: as recorded."""


def reach_samples(augmentation: Augmentation, n: int) -> int:
    """How many consecutive samples a window of ``n`` may need, played at the highest speed."""
    fastest = math.exp(2.0 * _STEEPEST * augmentation.speed)
    return n if augmentation.speed == 0.0 else math.ceil((n - 1) * fastest) + 2


def augment(
    segments: NDArray[np.float32],
    n: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    available: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Vary (b, m, 3) segments, m = ``reach_samples``, into (b, 3, n) windows, C-contiguous float32, in g.

    A segment of which only ``available`` (b,) samples are real, at least n, is played no faster than they
    allow.
    """
    batch = len(segments)
    if available is None:
        available = np.full(batch, segments.shape[1], np.int64)
    how = augmentation
    windows = segments[:, :n] if how.speed == 0.0 else _warp(segments, n, how.speed, rng, available)
    turned = np.einsum("bij,bnj->bin", _rotations(batch, how.rotation_deg, rng), windows)
    turned *= np.exp(how.scale * rng.standard_normal((batch, 1, 1)))
    if how.vigour > 0.0:
        turned = _stronger(turned, how.vigour * rng.standard_normal((batch, 1, 1)))
    if how.waver > 0.0:
        turned = _stronger(turned, _along(how.waver * rng.standard_normal((batch, _KNOTS)), n)[:, np.newaxis])
    if how.timbre > 0.0:
        turned = _coloured(turned, how.timbre * rng.standard_normal((batch, _OCTAVES + 1)))
    if how.halt > 0.0:
        turned = _stronger(turned, _halting(n, how.halt, rng, batch)[:, np.newaxis])
    if how.mirror > 0.0:
        turned = np.where(_some(rng, batch, how.mirror), mirrored(turned), turned)
    if how.upside_down > 0.0:
        turned = np.where(_some(rng, batch, how.upside_down), other_way_round(turned), turned)
    turned += how.noise_g * rng.standard_normal(turned.shape)
    if how.slower > 0.0 or how.jitter_samples > 0.0:
        turned = _resampled(turned, how, rng)
    if how.lossy > 0.0:
        rate = how.loss * rng.random((batch, 1)) * (rng.random((batch, 1)) < how.lossy)
        turned = bridged(turned, rng.random((batch, n)) >= rate)
    if how.ranges_g:
        limit = rng.choice(how.ranges_g, size=(batch, 1, 1))
        turned = np.clip(turned, -limit, limit)
    if how.steps_g:
        step = rng.choice(how.steps_g, size=(batch, 1, 1))
        turned = np.where(step > 0.0, np.round(turned / np.maximum(step, 1e-9)) * step, turned)
    return np.ascontiguousarray(turned, dtype=np.float32)


def mirrored(acc_g: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same movement of the other arm, with the watch on that wrist; (..., 3, n) acceleration.

    A watch reads the same way up on either wrist: y points to 12 o'clock, away from the thumb, and z out
    of the back of the hand, on the left as on the right. x points to 3 o'clock: to the hand on the left
    wrist, to the elbow on the right. The plane that makes a left arm of a right one keeps what is up and
    what is forward, and with it y and z, but the mirrored watch's x is the other watch's -x. So x changes
    its sign, and nothing else. (No turn of the watch does that; of angular rate it would be y and z.)
    """
    other: NDArray[np.floating] = acc_g * _OTHER_WRIST
    return other


def other_way_round(acc_g: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same movement with the watch strapped on upside down: half a turn about z; (..., 3, n)."""
    turned: NDArray[np.floating] = acc_g * _HALF_TURN
    return turned


_OTHER_WRIST = np.array([-1.0, 1.0, 1.0])[:, np.newaxis]
_HALF_TURN = np.array([-1.0, -1.0, 1.0])[:, np.newaxis]


def bridged(windows: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(b, 3, n) windows in which only (b, n) ``kept`` samples came, read in between by straight lines.

    The outermost samples always came: the stream goes on to both sides.
    """
    n = windows.shape[2]
    kept = kept.copy()
    kept[:, [0, -1]] = True
    at = np.arange(n)
    left = np.maximum.accumulate(np.where(kept, at, 0), axis=1)
    right = np.minimum.accumulate(np.where(kept, at, n - 1)[:, ::-1], axis=1)[:, ::-1]
    part = (at - left) / np.maximum(right - left, 1)
    return _between(windows, left, right, part)


def _resampled(
    windows: NDArray[np.float64], how: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What is read of (b, 3, n) windows on their grid when the sensor's samples lie elsewhere."""
    batch, _, n = windows.shape
    at = np.arange(n)
    step = np.where(
        rng.random((batch, 1)) < how.slower, 1.0 + (how.slowest_samples - 1.0) * rng.random((batch, 1)), 1.0
    )
    # A phase only where the sensor's grid is another one.
    phase = np.where(step > 1.0, rng.random((batch, 1)), 0.0) * step
    count = np.floor((at - phase) / step)
    values = []
    for k in (count, count + 1):
        sensed = np.clip(phase + k * step, 0.0, n - 1.0)
        low = np.minimum(sensed.astype(np.int64), n - 2)
        values.append(_between(windows, low, low + 1, sensed - low))
    part = np.clip((at - phase) / step - count, 0.0, 1.0)
    read: NDArray[np.float64] = values[0] + (values[1] - values[0]) * part[:, np.newaxis]
    if how.jitter_samples > 0.0:
        off = np.clip(how.jitter_samples * rng.standard_normal((batch, n)), -0.5, 0.5)
        position = np.clip(at + off, 0.0, n - 1.0)
        low = np.minimum(position.astype(np.int64), n - 2)
        read = _between(read, low, low + 1, position - low)
    return read


def _between(
    windows: NDArray[np.float64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    part: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(b, 3, n) values so far between two samples of each window, by (b, n) indices."""
    low = np.take_along_axis(windows, left[:, np.newaxis], axis=2)
    high = np.take_along_axis(windows, right[:, np.newaxis], axis=2)
    return low + (high - low) * part[:, np.newaxis]


def _some(rng: np.random.Generator, count: int, probability: float) -> NDArray[np.bool_]:
    return rng.random((count, 1, 1)) < probability


def _warp(
    segments: NDArray[np.float32],
    n: int,
    deviation: float,
    rng: np.random.Generator,
    available: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Play each segment at its own, slowly changing speed; (b, n, 3)."""
    batch, m, _ = segments.shape
    bound = _STEEPEST * deviation
    overall = np.clip(deviation * rng.standard_normal((batch, 1)), -bound, bound)
    knots = np.clip(deviation * rng.standard_normal((batch, _KNOTS)), -bound, bound)
    position = np.zeros((batch, n))
    np.cumsum(np.exp(overall + _along(knots, n - 1)), axis=1, out=position[:, 1:])
    last = available[:, np.newaxis] - 1.0
    position *= np.minimum(1.0, last / position[:, -1:])
    position += rng.random((batch, 1)) * (last - position[:, -1:])
    low = np.clip(position.astype(np.int64), 0, m - 2)
    part = (position - low)[..., np.newaxis]
    row = np.arange(batch)[:, np.newaxis]
    warped: NDArray[np.float64] = segments[row, low] * (1.0 - part) + segments[row, low + 1] * part
    return warped


def _along(knots: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(b, n) straight lines through (b, k) values, evenly apart."""
    return _read_at(knots, np.linspace(0.0, knots.shape[1] - 1.0, n))


def _read_at(knots: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, k) values to (b, n), along straight lines, at (n,) places from 0 to k - 1."""
    left = np.minimum(at.astype(np.int64), knots.shape[1] - 2)
    lines: NDArray[np.float64] = knots[:, left] * (1.0 - (at - left)) + knots[:, left + 1] * (at - left)
    return lines


def _stronger(windows: NDArray[np.float64], log: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, 3, n) windows whose movement is ``exp(log)`` times as strong, and whose gravity is the same."""
    mean = windows.mean(axis=2, keepdims=True)
    stronger: NDArray[np.float64] = mean + np.exp(log) * (windows - mean)
    return stronger


def _coloured(windows: NDArray[np.float64], log: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, 3, n) windows, movement at each octave below half the sampling rate ``exp(log)`` times as strong.

    ``log`` is (b, ``_OCTAVES`` + 1), the lowest frequency first; straight lines in between. The mean stays.
    """
    n = windows.shape[2]
    spectrum = np.fft.rfft(windows, axis=2)
    octave = np.clip(np.log2(2.0 * np.fft.rfftfreq(n)[1:]) + _OCTAVES, 0.0, _OCTAVES)
    spectrum[:, :, 1:] *= np.exp(_read_at(log, octave))[:, np.newaxis]
    coloured: NDArray[np.float64] = np.fft.irfft(spectrum, n, axis=2)
    return coloured


def _halting(n: int, probability: float, rng: np.random.Generator, batch: int) -> NDArray[np.float64]:
    """(b, n) logarithms by which movement is weaker: 0, but for a while of some of the windows."""
    length = rng.uniform(*_HALTS, (batch, 1))
    start = rng.uniform(-_HALTS[1], 1.0, (batch, 1))
    left = rng.uniform(0.0, _LEFT, (batch, 1))
    at = np.linspace(0.0, 1.0, n)
    inside = np.clip(np.minimum(at - start, start + length - at) / _FADING, 0.0, 1.0)
    inside *= rng.random((batch, 1)) < probability
    halting: NDArray[np.float64] = np.log(np.maximum(1.0 - (1.0 - left) * inside, 1e-3))
    return halting


def _rotations(count: int, deviation_deg: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3, 3) rotations about axes that point anywhere alike (Rodrigues' formula)."""
    axis = rng.standard_normal((count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.deg2rad(deviation_deg) * rng.standard_normal((count, 1, 1))
    cross = np.zeros((count, 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross -= cross.transpose(0, 2, 1)
    rotations: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    )
    return rotations
