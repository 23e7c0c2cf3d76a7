"""A teacher's answers are found by the trial's key, or refused by a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.teaching import TeacherError, load

KEYS = ["a1", "a2", "a3"]
LOGITS = np.arange(6, dtype=np.float32).reshape(3, 2)
FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)


def saved(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "outputs.npz"
    arrays = {"keys": np.array(KEYS), "logits": LOGITS, "features": FEATURES} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    return path


def test_answers_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    lessons = load(saved(tmp_path), ["a3", "a1"], classes=2)
    assert np.array_equal(lessons.logits, LOGITS[[2, 0]])
    assert np.array_equal(lessons.features, FEATURES[[2, 0]])
    assert lessons.maps is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"logits": None}, "train it again"),
        ({"keys": np.array(["a1", "a1", "a3"])}, "a trial is in it twice"),
        ({"keys": np.array(["a1", "a2", "b3"])}, "1 trials have no answer, a3 first"),
        ({"features": FEATURES[:2]}, r"features \(2, 4\) do not fit 3 trials"),
        ({"logits": np.full_like(LOGITS, np.nan)}, "logits hold a number that is not finite"),
        ({"logits": np.zeros((3, 5), np.float32)}, "it knows 5 labels, the student 2"),
        ({"maps": np.zeros((3, 5), np.float32)}, r"maps \(3, 5\) do not fit"),
    ],
)
def test_what_is_wrong_with_them_is_told(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(TeacherError, match=sentence):
        load(saved(tmp_path, **changes), KEYS, classes=2)


def test_varied_answers_are_the_mean_probability_over_variations(tmp_path: Path) -> None:
    probabilities = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.4, 0.6]]], np.float32)
    views = {"view_keys": np.array(["a3", "a1"]), "view_logits": np.log(probabilities) + 3.0}
    lessons = load(saved(tmp_path, **views), ["a1", "a3"], classes=2, varied=True)
    assert np.exp(lessons.logits) == pytest.approx(np.array([[0.3, 0.7], [0.7, 0.3]]), abs=1e-6)
    assert np.array_equal(lessons.features, FEATURES[[0, 2]])
    with pytest.raises(TeacherError, match="1 trials have no answer, a2 first"):
        load(saved(tmp_path, **views), KEYS, classes=2, varied=True)
    with pytest.raises(TeacherError, match="not to be read"):
        load(saved(tmp_path), KEYS, classes=2, varied=True)


def test_a_teacher_that_was_never_trained_is_told_how_to(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="vskd-train teacher"):
        load(tmp_path / "outputs.npz", KEYS, classes=2)


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_damaged_file_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "outputs.npz"
    path.write_bytes(data)
    with pytest.raises(TeacherError, match="not to be read"):
        load(path, KEYS, classes=2)
