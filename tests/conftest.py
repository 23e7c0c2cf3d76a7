"""Fixtures that more than one test file uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from vskd_stream.bundle import Bundle

# What continuous integration says of a commit is the same the next time; elsewhere examples are new.
settings.register_profile("repeatable", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the public data sets; tests that need one are skipped where it is absent."""
    places = [os.environ.get("VSKD_DATA", ""), str(Path(__file__).parents[2] / "shared" / "data")]
    for place in places:
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("the data sets are not here; set VSKD_DATA to the folder that holds them")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's bundle."""
    from tests.models import tiny_bundle

    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="session")
def loaded(model: Path) -> Bundle:
    """The tiny model."""
    from vskd_stream import bundle

    return bundle.load(model)


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """What a test set up for logging writes to a stream that pytest closes."""
    yield
    structlog.reset_defaults()
    for handler in [one for one in logging.root.handlers if type(one) is logging.StreamHandler]:
        logging.root.removeHandler(handler)
