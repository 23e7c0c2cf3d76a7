from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.manifests import manifest
from vskd_stream.manifest import STATES, Manifest


def test_a_manifest_survives_its_own_json() -> None:
    written = manifest(sampling_rate_hz=62.5, card="# Wrist\n")

    assert Manifest.model_validate_json(written.model_dump_json(), strict=True) == written


def test_a_window_is_told_in_seconds() -> None:
    assert manifest(sampling_rate_hz=20.0, window_samples=40).window_s == 2.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": ("still", "still")}, "labels repeat"),
        ({"labels": ("still",)}, "labels"),
        ({"labels": ("still", "Walking")}, "labels.1"),
        ({"hop_samples": 41}, "hop_samples exceeds window_samples"),
        ({"image": {"size": 41}}, "image.size exceeds window_samples"),
        ({"image": {"size": 16, "scaling": "fixed"}}, "range_g is needed"),
        ({"image": {"size": 16, "range_g": 1.0}}, "range_g is needed"),
        ({"hanging": (0.9, -0.3, 0.0), "window_samples": 200}, "hanging has the length 0.949, not 1"),
        ({"hanging": (1.0, 0.0, 0.0)}, r"windows of 2\.8 s"),
        ({"schema_version": 2}, "schema_version"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"golden_tolerance": 0.0}, "golden_tolerance"),
        ({"max_gap_s": 0.0}, "max_gap_s"),
        ({"name": "../wrist"}, "name"),
        ({"graph_sha256": "F" * 64}, "graph_sha256"),
        ({"weights": "best.pt"}, "weights"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        manifest(**changes)


@pytest.mark.parametrize("label", STATES)
def test_a_label_cannot_be_the_name_of_a_state_of_the_stream(label: str) -> None:
    with pytest.raises(ValidationError, match="reserved"):
        manifest(labels=("still", label))


@given(st.sets(st.sampled_from(["still", "moving", "walking", "running"])))
def test_there_is_exactly_one_threshold_per_label(labels: set[str]) -> None:
    decision = manifest().decision.model_dump() | {"unknown_below": dict.fromkeys(labels, 0.5)}

    if labels == {"still", "moving"}:
        manifest(decision=decision)
    else:
        with pytest.raises(ValidationError, match="exactly one threshold per label"):
            manifest(decision=decision)


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().temperature = 2.0  # type: ignore[misc]
