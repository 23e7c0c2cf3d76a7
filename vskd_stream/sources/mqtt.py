"""MQTT message → Samples: which source a topic belongs to, which device speaks, in which format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from vskd_stream.decode import decode
from vskd_stream.errors import DecodeError
from vskd_stream.samples import Samples
from vskd_stream.settings import MqttSource

_REMEMBERED_TOPICS: Final = 4096


class MqttReader:
    """Reads the payloads of all configured sources."""

    def __init__(self, sources: Sequence[MqttSource], *, max_payload_bytes: int) -> None:
        self._sources = tuple(sources)
        self._max_payload_bytes = max_payload_bytes
        # Matching a topic costs as much as parsing a payload, and a device's is always the same.
        self._source_of = lru_cache(_REMEMBERED_TOPICS)(self._find)

    @property
    def topic_filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(dict.fromkeys(source.topic for source in self._sources))

    def read(self, topic: str, payload: bytes) -> list[Samples]:
        """Decode a payload by the first source whose filter matches its topic.

        Raises:
            DecodeError: The payload is not what its source promises.
        """
        source, device = self._source_of(topic)
        if source is None:
            raise DecodeError("no_source", f"no source's topic filter matches {topic[:100]!r}")
        if len(payload) > self._max_payload_bytes:
            raise DecodeError(
                "too_large",
                f"{len(payload)} bytes where limits.max_payload_bytes allows {self._max_payload_bytes}; "
                "send smaller batches, or raise the limit",
            )
        if device is None and source.device_index is not None:
            raise DecodeError("no_device", f"the topic has no level {source.device_index + 1}")
        return decode(payload, format=source.format, device=device, sampling_rate_hz=source.sampling_rate_hz)

    def _find(self, topic: str) -> tuple[MqttSource | None, str | None]:
        """The source of a topic, and the device that the topic names; None where there is none."""
        source = next((source for source in self._sources if source.matches(topic)), None)
        if source is None or source.device_index is None:
            return source, None
        levels = topic.split("/")
        return source, levels[source.device_index] if source.device_index < len(levels) else None
