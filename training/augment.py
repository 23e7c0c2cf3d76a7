"""Augmentation of the acceleration, before encoding, so that images always come from the serving kernel.

A watch sits a little turned on another wrist, another hand moves a little faster or stronger, another
sensor is a little noisier; nothing else is invented.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_KNOTS = 4
_STEEPEST = 2.0  # log-speeds are clipped at so many standard deviations


class Augmentation(BaseModel):
    """How strongly windows are varied; zeros leave them as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation_deg: float = Field(ge=0.0, le=180.0)
    """Standard deviation of the angle turned about a random axis."""
    scale: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the amplitude."""
    speed: float = Field(ge=0.0, le=0.5)
    """Standard deviation of the logarithm of the speed, for the window as a whole and along it."""
    noise_g: float = Field(ge=0.0, le=1.0)
    """Standard deviation of white noise."""


def reach_samples(augmentation: Augmentation, n: int) -> int:
    """How many consecutive samples a window of ``n`` may need, played at the highest speed."""
    fastest = math.exp(2.0 * _STEEPEST * augmentation.speed)
    return n if augmentation.speed == 0.0 else math.ceil((n - 1) * fastest) + 2


def augment(
    segments: NDArray[np.float32], n: int, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Vary (b, m, 3) segments, m = ``reach_samples``, into (b, 3, n) windows, C-contiguous float32, in g."""
    windows = segments[:, :n] if augmentation.speed == 0.0 else _warp(segments, n, augmentation.speed, rng)
    turned = np.einsum("bij,bnj->bin", _rotations(len(segments), augmentation.rotation_deg, rng), windows)
    turned *= np.exp(augmentation.scale * rng.standard_normal((len(segments), 1, 1)))
    turned += augmentation.noise_g * rng.standard_normal(turned.shape)
    return np.ascontiguousarray(turned, dtype=np.float32)


def _warp(
    segments: NDArray[np.float32], n: int, deviation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Play each segment at its own, slowly changing speed; (b, n, 3)."""
    batch, m, _ = segments.shape
    bound = _STEEPEST * deviation
    overall = np.clip(deviation * rng.standard_normal((batch, 1)), -bound, bound)
    knots = np.clip(deviation * rng.standard_normal((batch, _KNOTS)), -bound, bound)
    at = np.linspace(0.0, _KNOTS - 1.0, n - 1)
    left = np.minimum(at.astype(np.int64), _KNOTS - 2)
    along = knots[:, left] * (1.0 - (at - left)) + knots[:, left + 1] * (at - left)
    position = np.zeros((batch, n))
    np.cumsum(np.exp(overall + along), axis=1, out=position[:, 1:])
    position += rng.random((batch, 1)) * (m - 1 - position[:, -1:])
    low = np.minimum(position.astype(np.int64), m - 2)
    part = (position - low)[..., np.newaxis]
    row = np.arange(batch)[:, np.newaxis]
    warped: NDArray[np.float64] = segments[row, low] * (1.0 - part) + segments[row, low + 1] * part
    return warped


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
