"""SPAR: a pickled dictionary becomes recordings; one that would run code is refused."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.datasets import DatasetError, spar

CODES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]


def dictionary(**changes: Any) -> dict[str, Any]:
    # By columns, as the real file has it.
    signal = np.asfortranarray(np.tile([-1.0, 0.5, 0.0, 9.0, 9.0, 9.0], (100, 1)))
    values = {
        "X": [signal, 2.0 * signal],
        "y": np.array([6, 0]),
        "y_labels": CODES,
        "subject": np.array([10, 2]),
        "side": np.array([0.0, 1.0]),
    }
    return values | changes


def write(folder: Path, content: object) -> Path:
    path = folder / "watch_dataset.npy"
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def test_acceleration_is_turned_to_what_a_device_at_rest_measures(tmp_path: Path) -> None:
    path = write(tmp_path, dictionary())
    archive = tmp_path / "spar.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(path, arcname="spar/watch_dataset.npy")
    for place in (path, tmp_path, archive):
        first, second = spar.load(place)
        assert [(each.subject, spar.SOURCE.labels[each.label]) for each in (first, second)] == [
            ("02", "pendulum"),
            ("10", "row"),
        ]
        np.testing.assert_allclose(second.acc_g[0], [1.0, -0.5, 0.0])
        assert second.t_s[-1] == pytest.approx(99 / 50)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-a-data-set",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="is no part of an array"):
        spar.load(write(tmp_path, dictionary(side=Evil())))
    assert not (tmp_path / "made-by-a-data-set").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "not seglearn's"),
        ({"X": []}, "not seglearn's"),
        (dictionary(y=np.array([6])), "not those of SPAR"),
        (dictionary(y_labels=["JUMP"]), "not those of SPAR"),
        (dictionary(X=[np.zeros((9, 2)), np.zeros((9, 2))]), r"not \(n, 6\)"),
        (dictionary(X=[np.full((9, 6), np.nan)] * 2), "not a finite number"),
    ],
)
def test_a_damaged_dictionary_is_told(tmp_path: Path, content: object, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        spar.load(write(tmp_path, content))


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not found"):
        spar.load(tmp_path / "none.npy")
    with pytest.raises(DatasetError, match=r"watch_dataset\.npy is not in it"):
        spar.load(tmp_path)
    (tmp_path / "watch_dataset.npy").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="not seglearn's"):
        spar.load(tmp_path)
