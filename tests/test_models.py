"""The bundles that come with the package keep what their names promise."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from vskd_stream._ort import Arithmetic
from vskd_stream.bundle import load, shipped
from vskd_stream.classify import Classifier
from vskd_stream.manifest import Manifest

NAMES = sorted(path.stem for path in Path(str(resources.files("vskd_stream"))).glob("models/*.onnx"))


def test_there_is_a_model_and_a_smaller_one() -> None:
    assert NAMES == ["wrist", "wrist-small"]
    assert shipped("wrist-small").stat().st_size < shipped("wrist").stat().st_size / 3


@pytest.mark.parametrize("name", NAMES)
def test_its_golden_windows_come_out_in_either_arithmetic(name: str) -> None:
    bundle = load(shipped(name))
    exact, close = (
        Classifier(bundle, arithmetic=each).classify(bundle.golden.windows) for each in get_args(Arithmetic)
    )
    assert bundle.manifest.precision == "int8"
    assert np.array_equal(exact, bundle.golden.probabilities)
    assert np.abs(close - exact).max() <= bundle.manifest.golden_tolerance


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_in_the_notice_whose_data_is_in_it(name: str) -> None:
    notice = shipped(name).with_name("NOTICE.md").read_text(encoding="utf-8")
    assert f"{name}.onnx" in notice
    for dataset in load(shipped(name)).manifest.trained_on:
        # Whoever made it, by the first name that the attribution begins with.
        assert dataset.attribution.split(",")[0] in notice
        assert dataset.licence in {"CC BY 4.0", "BSD-3-Clause (as part of seglearn)"}


def test_the_smaller_one_may_take_the_place_of_the_other() -> None:
    def promises(manifest: Manifest) -> dict[str, object]:
        signal = {"sampling_rate_hz", "window_samples", "hop_samples", "max_gap_s", "hanging"}
        told = manifest.model_dump(include=signal | {"labels", "decision"})
        # Each has its own thresholds: they are found with its own probabilities.
        del told["decision"]["unknown_below"], told["decision"]["coarse_unknown_below"]
        return told

    wrist, small = (load(shipped(name)).manifest for name in ("wrist", "wrist-small"))
    assert promises(small) == promises(wrist)
    assert {each.subjects for each in small.trained_on} == {each.subjects for each in wrist.trained_on}
