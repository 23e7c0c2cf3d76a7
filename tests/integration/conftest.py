"""What every integration test needs: a real broker, and a model that is quick."""

from __future__ import annotations

import pytest

from tests.brokers import Mosquitto
from tests.models import tiny_bundle


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The tiny model's bundle."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
async def mosquitto():
    """A broker that keeps nothing over a restart."""
    async with Mosquitto() as broker:
        yield broker
