"""How a watch sits on its wrist: where gravity points while its wearer walks tells, and it is turned back.

While people walk their arms hang, and gravity lies along the forearm: for half of 46 people, with three makes
of sensor, within 10 degrees of one direction, and for 43 within 20. A watch that is strapped on askew, or
whose maker laid the axes otherwise, shows another direction, and a turn brings the two together. What this
cannot see is a turn about the forearm itself.

Of x the sign is the wrist's, and of y which way round the watch is strapped on: people wear it either way,
and models know both. So a watch is turned to the nearest of four directions.

Whether somebody walks is told by the length of the acceleration alone, which no turn changes; so the
correction does not depend on the model, nor on itself.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vskd_stream.window import Window

_STRIDE_S: Final = (0.8, 1.4)
"""Two steps of a walk."""
LEAST_WINDOW_S: Final = 2 * _STRIDE_S[1]
"""Two strides: what is shorter repeats nothing."""
_UNREST_G: Final = (0.08, 0.6)
"""Standard deviation of the length of the acceleration: less is a shuffle, more is a run."""
_ALIKE: Final = 0.6
"""A walk's correlation with itself a stride later."""
_HANGING: Final = np.cos(np.deg2rad(55.0))
"""An arm further from hanging is held: by a rail, a pram, a pocket."""
_LEAST_GRAVITY_G: Final = 0.5
_WALKS: Final = 30
"""Windows of walks that are remembered."""
_LEAST: Final = 6
_AGREE: Final = 2 / 3
"""So many of them must show about the same direction, or what they last agreed on holds."""
_USUAL_DEG: Final = 20.0
"""By so much people's arms differ: of 46 walkers 43 lie within. Whoever does is left as they are."""
_ALIKE_DIRECTION: Final = np.cos(np.deg2rad(25.0))


class Mounting:
    """One device's, learned from its own stream; what it says depends on nothing else."""

    def __init__(self, hanging: tuple[float, float, float], *, sampling_rate_hz: float) -> None:
        """``hanging`` is a manifest's, of one wrist and one way round."""
        self._hanging = hanging
        self._rate_hz = sampling_rate_hz
        # A ring: so many arrays of their own would be a tenth of all that is kept of a device.
        self._walks = np.empty((_WALKS, 3))
        self._count = 0
        self.turned_deg: float | None = None
        """By what angle windows are turned; None until the wearer has walked for a minute or two."""
        self._turn: NDArray[np.float32] | None = None
        self._learned_until: int | None = None

    def push(self, window: Window) -> Window:
        """Learn from a window, unless it overlaps with the last that was learned from, and turn it back."""
        samples = window.acc_g.shape[1]
        before = self._learned_until
        # A clock that was set back begins anew.
        if before is None or not 0 <= window.end_sample - before < samples:
            self._learned_until = window.end_sample
            self.learn(window.acc_g)
        return window if self._turn is None else Window(window.end_sample, self.turned(window.acc_g))

    def learn(self, acc_g: NDArray[np.float32]) -> None:
        """Take a (3, n) window in g; one in which nobody walks with a hanging arm tells nothing."""
        if not walks(acc_g, sampling_rate_hz=self._rate_hz):
            return
        gravity = acc_g.mean(axis=1, dtype=np.float64)
        strength_g = float(np.linalg.norm(gravity))
        if gravity @ self._nearest(gravity) >= _HANGING * max(strength_g, _LEAST_GRAVITY_G):
            self._walks[self._count % _WALKS] = gravity / strength_g
            self._count += 1
            self._agree()

    def turned(self, acc_g: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (3, n) window as a watch that sits like others would have measured it, C-contiguous."""
        return acc_g if self._turn is None else self._turn @ acc_g

    def _agree(self) -> None:
        directions = self._walks[: self._count]
        # By axis: a few arms in pockets, or a few windows of the other wrist, do not pull it.
        gravity = np.median(directions, axis=0)
        gravity /= max(float(np.linalg.norm(gravity)), _LEAST_GRAVITY_G)
        if (directions @ gravity >= _ALIKE_DIRECTION).sum() < max(_LEAST, _AGREE * len(directions)):
            return
        straight = self._nearest(gravity)
        askew_deg = float(np.rad2deg(np.arccos(min(1.0, float(gravity @ straight)))))
        is_askew = askew_deg > _USUAL_DEG
        self.turned_deg = askew_deg if is_askew else 0.0
        self._turn = shortest_turn(gravity, straight).astype(np.float32) if is_askew else None

    def _nearest(self, gravity: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y, z = self._hanging
        return np.array([math.copysign(x, gravity[0]), math.copysign(y, gravity[1]), z])


def walks(acc_g: NDArray[np.float32], *, sampling_rate_hz: float) -> bool:
    """Whether somebody walks throughout a (3, n) window in g: its length repeats itself by strides."""
    length = np.linalg.norm(acc_g.astype(np.float64), axis=0)
    length -= length.mean()
    variance = float(length @ length) / len(length)
    if not _UNREST_G[0] ** 2 < variance < _UNREST_G[1] ** 2:
        return False
    first, last = (int(stride_s * sampling_rate_hz) for stride_s in _STRIDE_S)
    alike = (float(length[lag:] @ length[:-lag]) / (len(length) - lag) for lag in range(first, last + 1))
    return max(alike) > _ALIKE * variance


def shortest_turn(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation by the smallest angle that takes one unit vector to another, not its opposite."""
    x, y, z = np.cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn: NDArray[np.float64] = np.eye(3) + cross + cross @ cross / (1.0 + start @ end)
    return turn
