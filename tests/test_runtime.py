from __future__ import annotations

import pytest

from tests.models import tiny_bundle
from vskd_stream import _ort, runtime
from vskd_stream.bundle import load
from vskd_stream.runtime import Way

BUNDLE = "ab" * 32
WAY = Way(threads=3, arithmetic="float")


def test_what_was_measured_is_remembered(tmp_path):
    assert runtime.remember(BUNDLE, WAY, directory=tmp_path) is not None
    assert runtime.recall(BUNDLE, directory=tmp_path) == WAY


def test_models_do_not_forget_each_other(tmp_path):
    runtime.remember(BUNDLE, WAY, directory=tmp_path)
    runtime.remember("cd" * 32, Way(threads=2), directory=tmp_path)
    assert runtime.recall(BUNDLE, directory=tmp_path) == WAY


def test_nothing_measured_is_not_guessed(tmp_path):
    assert runtime.recall(BUNDLE, directory=tmp_path) is None
    assert runtime.recall(BUNDLE, directory=None) is None
    assert runtime.recall(BUNDLE, directory=tmp_path / "nowhere") is None


def test_another_machine_or_release_or_bundle_is_as_if_nothing_were_known(tmp_path, monkeypatch):
    runtime.remember(BUNDLE, WAY, directory=tmp_path)
    with monkeypatch.context() as changed:
        changed.setattr(runtime, "machine", lambda: "another")
        assert runtime.recall(BUNDLE, directory=tmp_path) is None
    with monkeypatch.context() as changed:
        changed.setattr(_ort, "VERSION", "99.0")
        assert runtime.recall(BUNDLE, directory=tmp_path) is None
    # Files are named by the digest's beginning; what counts is all of it.
    assert runtime.recall(BUNDLE[:16] + "cd" * 24, directory=tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"threads": 2}',
        "\0" * 10_000,
        '{"machine": "x", "onnxruntime": "1", "way": {"threads": 0}}',
    ],
)
def test_a_damaged_memory_is_none(tmp_path, text):
    path = runtime.remember(BUNDLE, WAY, directory=tmp_path)
    assert path is not None
    path.write_text(text)
    assert runtime.recall(BUNDLE, directory=tmp_path) is None


def test_where_nothing_can_be_written_nothing_is(tmp_path):
    assert runtime.remember(BUNDLE, WAY, directory=None) is None
    assert runtime.remember(BUNDLE, WAY, directory=tmp_path / "nowhere") is None


def test_a_model_is_run_in_the_way_that_was_measured_and_else_in_the_same_way_everywhere(
    tmp_path, monkeypatch
):
    bundle = load(tiny_bundle(tmp_path / "tiny.onnx"))
    opened = []
    monkeypatch.setattr(runtime, "Classifier", lambda _, **way: opened.append(way))

    runtime.classifier(bundle, directory=tmp_path)
    runtime.remember(bundle.sha256, WAY, directory=tmp_path)
    runtime.classifier(bundle, directory=tmp_path)

    assert opened == [{"threads": 1, "arithmetic": "integer"}, {"threads": 3, "arithmetic": "float"}]
