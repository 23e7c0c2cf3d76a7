"""MQTT message → Samples: which source a topic belongs to, which device speaks, in which format."""

from __future__ import annotations

from collections.abc import Sequence

from vskd_stream.decode import decode
from vskd_stream.errors import DecodeError
from vskd_stream.samples import Samples
from vskd_stream.settings import MqttSource


class MqttReader:
    """Reads the payloads of all configured sources."""

    def __init__(self, sources: Sequence[MqttSource], *, max_payload_bytes: int) -> None:
        self._sources = tuple(sources)
        self._max_payload_bytes = max_payload_bytes

    @property
    def topic_filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(dict.fromkeys(source.topic for source in self._sources))

    def read(self, topic: str, payload: bytes) -> list[Samples]:
        """Decode a payload by the first source whose filter matches its topic.

        Raises:
            DecodeError: The payload is not what its source promises.
        """
        source = next((source for source in self._sources if source.matches(topic)), None)
        if source is None:
            raise DecodeError("no_source", f"no source's topic filter matches {topic[:100]!r}")
        if len(payload) > self._max_payload_bytes:
            raise DecodeError(
                "too_large",
                f"{len(payload)} bytes where limits.max_payload_bytes allows {self._max_payload_bytes}; "
                "send smaller batches, or raise the limit",
            )
        device = None
        if source.device_index is not None:
            levels = topic.split("/")
            if source.device_index >= len(levels):
                raise DecodeError("no_device", f"the topic has no level {source.device_index + 1}")
            device = levels[source.device_index]
        return decode(payload, format=source.format, device=device, sampling_rate_hz=source.sampling_rate_hz)
