"""How a Bluetooth device may be named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.configured import configured, refusal


def test_a_service_of_16_bits_stands_for_128() -> None:
    for written in ("180d", "180D", "0000180D-0000-1000-8000-00805F9B34FB"):
        found = configured(bluetooth=[{"device": "chest", "profile": "polar", "service": written}])
        assert found.bluetooth[0].service == "0000180d-0000-1000-8000-00805f9b34fb"


@pytest.mark.parametrize(
    "entry",
    [
        {"address": "A0:9E:1A"},
        {"address": "A0:9E:1A:00:11:22", "name": "Polar H10"},
        {"name": ""},
        {"service": "18"},
        {"adapter": "hci"},
        {"device": "a/b"},
        {"options": [50]},
        {"rate": 50},
    ],
)
def test_a_bluetooth_device_is_checked(entry: dict[str, Any]) -> None:
    assert len(refusal(bluetooth=[{"device": "chest", "profile": "polar", **entry}])) == 1


def test_two_bluetooth_devices_have_two_ids() -> None:
    entry = {"device": "chest", "profile": "polar"}
    assert refusal(bluetooth=[entry, entry]) == [((), "value_error")]
