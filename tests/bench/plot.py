"""A run of ``capacity`` with several numbers of devices → how the cost grows with them, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 150, 20, 45
_FONT = 'font-family="sans-serif" font-size="13"'
_LINES = {"cpu_daemon": ("#1f5fa8", "daemon"), "cpu_daemon_loop": ("#c2571a", "its event loop")}


def drawing(runs: Sequence[dict[str, Any]]) -> str:
    """CPU against devices, both on logarithmic axes, where what grows linearly is a line of slope 1.

    Args:
        runs: What ``capacity.measure`` returned, each of one phase.
    """
    devices = [int(run["phases_wanted"].split("x")[0]) for run in runs]
    shares = {name: [float(run.get(name, 0.0)) for run in runs] for name in _LINES}
    seen = [share for each in shares.values() for share in each if share > 0.0]
    x = _Axis(min(devices), max(devices), _LEFT, _WIDTH - _RIGHT)
    y = _Axis(min(seen), max(seen), _HEIGHT - _BOTTOM, _TOP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            *_grid(x, y, devices),
            *(
                _curve(devices, shares[name], x, y, colour=colour, name=label)
                for name, (colour, label) in _LINES.items()
            ),
            "</svg>\n",
        ]
    )


class _Axis:
    """A logarithmic axis of whole decades."""

    def __init__(self, least: float, most: float, begin: int, end: int) -> None:
        self.decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.decades[0]) / (self.decades[-1] - self.decades[0])
        return round(self.begin + part * (self.end - self.begin), 1)


def _grid(x: _Axis, y: _Axis, devices: Sequence[int]) -> Iterator[str]:
    for decade in y.decades:
        at = y(10.0**decade)
        yield f'<path d="M{x.begin} {at}H{x.end}" stroke="#ddd"/>'
        yield f'<text x="{x.begin - 8}" y="{at + 4}" text-anchor="end">{10.0**decade:g}</text>'
    for number in devices:
        at = x(number)
        yield f'<path d="M{at} {y.begin}V{y.end}" stroke="#eee"/>'
        yield f'<text x="{at}" y="{y.begin + 18}" text-anchor="middle">{number}</text>'
    yield f'<text x="{(x.begin + x.end) / 2}" y="{y.begin + 37}" text-anchor="middle">devices at 50 Hz</text>'
    yield f'<text x="{x.begin}" y="{y.end - 6}">cores</text>'


def _curve(
    devices: Sequence[int], shares: Sequence[float], x: _Axis, y: _Axis, *, colour: str, name: str
) -> str:
    """A measured curve, and dashed beside it what its last value would be if cost grew linearly."""
    points = [(x(n), y(share)) for n, share in zip(devices, shares, strict=True) if share > 0.0]
    last_n, last = devices[-1], shares[-1]
    lowest_n = max(devices[0], last_n * 10.0 ** y.decades[0] / last)
    linear = f"M{x(lowest_n)} {y(last * lowest_n / last_n)}L{x(last_n)} {y(last)}"
    measured = " ".join(f"{px},{py}" for px, py in points)
    at_x, at_y = points[-1]
    return "\n".join(
        [
            f'<path d="{linear}" stroke="{colour}" stroke-dasharray="4 4" opacity="0.6"/>',
            f'<polyline points="{measured}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{px}" cy="{py}" r="3.5" fill="{colour}"/>' for px, py in points),
            f'<text x="{at_x + 10}" y="{at_y + 4}" fill="{colour}">{name} {last:.2f}</text>',
        ]
    )
