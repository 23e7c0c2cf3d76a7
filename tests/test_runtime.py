from __future__ import annotations

import pytest

from vskd_stream import _ort, runtime

BUNDLE = "ab" * 32


def test_what_was_measured_is_remembered(tmp_path):
    assert runtime.remember(BUNDLE, threads=3, directory=tmp_path) is not None
    assert runtime.threads(BUNDLE, directory=tmp_path) == 3


def test_models_do_not_forget_each_other(tmp_path):
    runtime.remember(BUNDLE, threads=3, directory=tmp_path)
    runtime.remember("cd" * 32, threads=2, directory=tmp_path)
    assert runtime.threads(BUNDLE, directory=tmp_path) == 3


def test_nothing_measured_is_one_thread(tmp_path):
    assert runtime.threads(BUNDLE, directory=tmp_path) == 1
    assert runtime.threads(BUNDLE, directory=None) == 1
    assert runtime.threads(BUNDLE, directory=tmp_path / "nowhere") == 1


def test_another_machine_or_release_or_bundle_is_as_if_nothing_were_known(tmp_path, monkeypatch):
    runtime.remember(BUNDLE, threads=3, directory=tmp_path)
    with monkeypatch.context() as changed:
        changed.setattr(runtime, "machine", lambda: "another")
        assert runtime.threads(BUNDLE, directory=tmp_path) == 1
    with monkeypatch.context() as changed:
        changed.setattr(_ort, "VERSION", "99.0")
        assert runtime.threads(BUNDLE, directory=tmp_path) == 1
    # Files are named by the digest's beginning; what counts is all of it.
    assert runtime.threads(BUNDLE[:16] + "cd" * 24, directory=tmp_path) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"threads": 2}', "\0" * 10_000])
def test_a_damaged_memory_is_none(tmp_path, text):
    path = runtime.remember(BUNDLE, threads=3, directory=tmp_path)
    assert path is not None
    path.write_text(text)
    assert runtime.threads(BUNDLE, directory=tmp_path) == 1


def test_where_nothing_can_be_written_nothing_is(tmp_path):
    assert runtime.remember(BUNDLE, threads=3, directory=None) is None
    assert runtime.remember(BUNDLE, threads=3, directory=tmp_path / "nowhere") is None
