"""What the settings as a whole accept and refuse, without a file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.configured import SOURCES, configured, refusal
from vskd_stream.settings import (
    Device,
    EmbeddedBroker,
    Limits,
    Model,
    MqttSource,
    Outbox,
    RemoteBroker,
    Replay,
    Settings,
    Tls,
)


def test_the_smallest_configuration_takes_every_default() -> None:
    smallest = configured()
    assert smallest.broker == EmbeddedBroker(listen="127.0.0.1", port=1883, mqtt5_port=None)
    assert smallest.model == Model(bundle="wrist", sha256=None)
    assert smallest.limits == Limits()
    assert smallest.outbox == Outbox(directory=None, max_bytes=64 * 2**20, max_age_s=7 * 86_400.0)
    assert smallest.replay == ()
    assert smallest.no_data_after_s == 10.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_data_after_s", "10"),
        ("no_data_after_s", True),
        ("no_data_after_s", float("nan")),
        ("no_data_after_s", float("inf")),
        ("limits", {"max_devices": True}),
        ("limits", {"max_devices": "8"}),
        ("limits", {"max_devices": 8.0}),
        ("outbox", {"max_bytes": 2**20 - 1}),
        ("outbox", {"max_bytes": 1e9}),
        ("outbox", {"max_age_s": 59.9}),
        ("outbox", {"directory": ""}),
        ("outbox", {"directory": "a\0b"}),
        ("outbox", "/var/lib/vskd"),
        ("publish", {"scores": 1}),
        ("publish", {"scores": "yes"}),
        ("gateway", 5),
        ("gateway", "a/b"),
        ("gateway", "home\n"),
        ("gateway", ""),
        ("sources", []),
        ("sources", {"topic": "a"}),
        ("sources", SOURCES * 257),
        ("replay", [{"recording": "demo"}] * 65),
        ("model", {"bundle": "wrist", "sha256": "A" * 64}),
        ("log", {"level": "warn"}),
    ],
)
def test_values_are_neither_bent_into_a_type_nor_out_of_range(key: str, value: Any) -> None:
    assert len(refusal(**{key: value})) == 1


def test_a_whole_number_stands_for_a_number() -> None:
    assert configured(no_data_after_s=10).no_data_after_s == 10.0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        configured().gateway = "other"  # type: ignore[misc]


def test_every_field_has_its_sentence() -> None:
    for model in (
        Settings,
        Device,
        EmbeddedBroker,
        RemoteBroker,
        Tls,
        MqttSource,
        Replay,
        Model,
        Limits,
        Outbox,
    ):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_a_gateway_may_live_on_bluetooth_alone() -> None:
    found = Settings.model_validate(
        {"gateway": "home", "broker": "embedded", "bluetooth": [{"device": "chest", "profile": "polar"}]}
    )
    assert found.sources == ()
    assert found.bluetooth[0].options == {}


def test_samples_come_from_somewhere() -> None:
    with pytest.raises(ValidationError, match="`sources`, `bluetooth` or both"):
        Settings.model_validate({"gateway": "home", "broker": "embedded"})
