"""Manifests for tests: a small, fast model's."""

from __future__ import annotations

from typing import Any

from vskd_stream.manifest import Manifest

LABELS = ("still", "moving")


def manifest(*, labels: tuple[str, ...] = LABELS, threshold: float = 0.5, **changes: Any) -> Manifest:
    """A manifest at 20 Hz with windows of 2 s every 0.5 s."""
    values: dict[str, Any] = {
        "schema_version": 1,
        "name": "tiny",
        "labels": labels,
        "sampling_rate_hz": 20.0,
        "window_samples": 40,
        "hop_samples": 10,
        "max_gap_s": 0.25,
        "image": {"size": 16, "method": "summation", "scaling": "fixed", "range_g": 1.5},
        "temperature": 1.0,
        "decision": {
            "smoothing_windows": 3,
            "switch_after_s": 1.0,
            "update_every_s": 5.0,
            "unknown_below": dict.fromkeys(labels, threshold),
        },
        "precision": "fp32",
        "golden_tolerance": 1e-4,
        "graph_bytes": 1,
        "graph_sha256": "0" * 64,
        "trained_on": [],
        "card": "",
    }
    return Manifest.model_validate(values | changes)
