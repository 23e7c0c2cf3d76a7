"""Settings without a file: the smallest that are good, and keys over them as a configuration has them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vskd_stream.settings import Settings

SOURCES = [{"topic": "imu/+/samples"}]


def configured(**keys: Any) -> Settings:
    """Settings of a gateway ``test`` with a broker of its own, ``keys`` as a configuration has them."""
    return Settings.model_validate({"gateway": "test", "broker": "embedded", "sources": SOURCES, **keys})


def refusal(**keys: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Where and as what pydantic refuses ``keys``."""
    with pytest.raises(ValidationError) as caught:
        configured(**keys)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]
