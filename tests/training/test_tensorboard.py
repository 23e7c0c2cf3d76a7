"""Curves are drawn where somebody asks for them, and nothing is imported where nobody does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from training.tensorboard import TensorBoardError, drawing


def test_nothing_is_drawn_unless_asked_for(tmp_path: Path) -> None:
    with drawing(tmp_path, wanted=False) as draw:
        draw(1, {"loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None in its place makes an import fail, wherever the package is installed.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TensorBoardError, match="pip install tensorboard"), drawing(tmp_path, wanted=True):
        pass
