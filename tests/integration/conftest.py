"""What every integration test needs: a real broker."""

from __future__ import annotations

import pytest

from tests.brokers import Mosquitto


@pytest.fixture
async def mosquitto():
    """A broker that keeps nothing over a restart."""
    async with Mosquitto() as broker:
        yield broker
