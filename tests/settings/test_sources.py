"""Topic filters as MQTT has them, and which device a topic is of."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vskd_stream.decode import FORMATS
from vskd_stream.settings import MqttSource


@pytest.mark.parametrize("topic", ["imu/+/samples", "#", "+", "/", "a/#", "+/+/#", "$SYS/#", "größe/x y"])
def test_topic_filters_are_those_of_mqtt(topic: str) -> None:
    assert MqttSource(topic=topic).topic == topic


@pytest.mark.parametrize("topic", ["", "#/a", "a#", "a/b#", "a+/b", "##", "a\0", "x" * 513, "$share/g/imu/+"])
def test_a_broken_or_shared_topic_filter_is_refused(topic: str) -> None:
    with pytest.raises(ValidationError):
        MqttSource(topic=topic)


@pytest.mark.parametrize(
    ("topic", "level", "index"),
    [
        ("imu/+/samples", None, 1),
        ("sensor-logger", None, None),
        ("+/+/samples", None, None),
        ("+/+/samples", 1, 0),
        ("imu/watch/samples", 2, 1),
        ("imu/#", 3, 2),
    ],
)
def test_the_level_that_names_the_device(topic: str, level: int | None, index: int | None) -> None:
    assert MqttSource(topic=topic, device_level=level).device_index == index


def test_a_device_level_beyond_the_filter_is_refused() -> None:
    with pytest.raises(ValidationError, match="beyond the filter's 3 levels"):
        MqttSource(topic="imu/+/samples", device_level=4)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("imu/+/samples", "imu/a/samples", True),
        ("imu/+/samples", "imu//samples", True),
        ("imu/+/samples", "imu/a/b/samples", False),
        ("imu/+/samples", "imu/a", False),
        ("imu/#", "imu", True),
        ("imu/#", "imu/a/b", True),
        ("imu/a/#", "imu", False),
        ("imu/#", "imux", False),
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("a", "a", True),
        ("a", "A", False),
    ],
)
def test_a_source_knows_its_topics(*, topic_filter: str, topic: str, matches: bool) -> None:
    assert MqttSource(topic=topic_filter).matches(topic) is matches


def test_every_decoder_can_be_named() -> None:
    for name in ("auto", *FORMATS):
        assert MqttSource(topic="a", format=name).format == name
    with pytest.raises(ValidationError, match="not known"):
        MqttSource(topic="a", format="csv")
