"""`sources`: topics that samples come from, and how their payloads are read."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictFloat, StrictInt, model_validator

from vskd_stream.decode import FORMATS
from vskd_stream.settings.section import Section
from vskd_stream.settings.values import TopicFilter


def _known_format(value: str) -> str:
    if value != "auto" and value not in FORMATS:
        raise ValueError("this format is not known")
    return value


class MqttSource(Section):
    """Where samples come from: a topic filter, and how its payloads are read."""

    topic: TopicFilter
    """MQTT topic filter, for example `imu/+/samples`."""
    format: Annotated[
        str,
        AfterValidator(_known_format),
        Field(json_schema_extra={"enum": ["auto", *sorted(FORMATS)]}),
    ] = "auto"
    """Wire format of the payloads; "auto" recognises it by their content."""
    device_level: Annotated[StrictInt, Field(ge=1, le=32)] | None = None
    """Level of the topic (from 1) that names the device. Absent: the level of the filter's only `+`;
    without exactly one `+`, the payload names it."""
    sampling_rate_hz: Annotated[StrictFloat, Field(ge=1.0, le=2000.0)] | None = None
    """Rate in hertz, for formats that do not tell it (SenML, Sensor Logger); absent: measured per payload."""

    @property
    def device_index(self) -> int | None:
        """Index (from 0) of the topic level that names the device; None when the payload does."""
        if self.device_level is not None:
            return self.device_level - 1
        levels = self.topic.split("/")
        return levels.index("+") if levels.count("+") == 1 else None

    def matches(self, topic: str) -> bool:
        """Whether ``topic`` is one of those that the filter means (MQTT 5, section 4.7)."""
        wanted, levels = self.topic.split("/"), topic.split("/")
        if wanted[0] in ("+", "#") and topic.startswith("$"):
            return False
        if wanted[-1] == "#":
            wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
        return len(wanted) == len(levels) and all(
            want in ("+", level) for want, level in zip(wanted, levels, strict=True)
        )

    @model_validator(mode="after")
    def _level_exists(self) -> Self:
        levels = self.topic.split("/")
        if self.device_level is not None and levels[-1] != "#" and self.device_level > len(levels):
            raise ValueError(f"device_level {self.device_level} is beyond the filter's {len(levels)} levels")
        return self
