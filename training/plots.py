"""Numbers → SVG and PNG for a page that has to stand alone: no script, no font, no file beside it."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 640, 300
_LEFT, _BOTTOM, _TOP = 52, 30, 10
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b")
"""Okabe and Ito's, which most colour-blind people tell apart."""


def curves(lines: Mapping[str, Sequence[float]], *, title: str) -> str:
    """An SVG of one line a name over epochs from 1; values that are not finite are left out."""
    finite = [value for values in lines.values() for value in values if np.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    last = max(len(values) for values in lines.values())
    width, height = _WIDTH - _LEFT - 150, _HEIGHT - _BOTTOM - _TOP

    def x(epoch: int) -> float:
        return _LEFT + width * (epoch - 1) / max(last - 1, 1)

    def y(value: float) -> float:
        return _TOP + height * (1.0 - (value - low) / span)

    parts = [_open(_WIDTH, _HEIGHT, title)]
    parts += [
        f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>'
        f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in np.linspace(low, high, 5)
    ]
    parts += [
        f'<text x="{x(epoch):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{epoch}</text>'
        for epoch in sorted({1, (last + 1) // 2, last})
    ]
    for i, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        points = " ".join(
            f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in enumerate(values, 1) if np.isfinite(value)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{_LEFT + width + 8}" y="{_TOP + 14 * (i + 1)}" fill="{colour}">{escape(name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], *, title: str) -> str:
    """An SVG of a confusion matrix, rows what is true; darker is a larger part of its row."""
    cell, margin = 18, 170
    side = margin + cell * len(labels)
    parts = [_open(side + 4, side + 4, title)]
    for i, (label, row) in enumerate(zip(labels, matrix, strict=True)):
        middle = margin + cell * i + 13
        parts.append(f'<text x="{margin - 6}" y="{middle}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<text transform="translate({middle},{margin - 6}) rotate(-90)">{escape(label)}</text>')
        whole = max(sum(row), 1)
        for j, count in enumerate(row):
            if count:
                colour = "0,114,178" if i == j else "213,94,0"
                parts.append(
                    f'<rect x="{margin + cell * j}" y="{margin + cell * i}" width="{cell}" height="{cell}" '
                    f'fill="rgba({colour},{count / whole:.3f})"><title>{escape(label)} told as '
                    f"{escape(labels[j])}: {count} of {whole}</title></rect>"
                )
    parts.append(
        f'<rect x="{margin}" y="{margin}" width="{side - margin}" height="{side - margin}" class="frame"/>'
    )
    return "".join([*parts, "</svg>"])


def picture(channel: NDArray[np.float32], *, title: str, zoom: int = 2) -> str:
    """An <img> of one image channel (h, w) in [-1, 1], as greys."""
    greys = np.clip((channel + 1.0) * 127.5, 0, 255).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
    height, width = greys.shape
    rows = np.insert(greys, 0, 0, axis=1).tobytes()  # each row begins with its filter: none
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )
    name = escape(title)
    return f'<img alt="{name}" title="{name}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def _open(width: int, height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><title>{escape(title)}</title>'
    )
