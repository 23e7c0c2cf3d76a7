"""Payload bytes → ``Samples``: one wire format a file, and this file chooses among them.

Synchronous and without a clock: the same bytes always give the same samples, or the same refusal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from vskd_stream.decode import native, senml, sensor_logger
from vskd_stream.decode.limits import MAX_PAYLOAD_BYTES, REASONS, refusal
from vskd_stream.samples import Samples

__all__ = ["FORMATS", "MAX_PAYLOAD_BYTES", "REASONS", "Decoder", "decode", "recognise"]


class Decoder(Protocol):
    """Reads the payloads of one format."""

    def __call__(
        self, payload: bytes, *, device: str | None, sampling_rate_hz: float | None
    ) -> list[Samples]:
        """Decode ``payload`` as ``decode`` does."""


FORMATS: Final[Mapping[str, Decoder]] = MappingProxyType(
    {
        "native-json": native.decode_json,
        "native-msgpack": native.decode_msgpack,
        "senml": senml.decode,
        "sensor-logger": sensor_logger.decode_standard,
        "sensor-logger-ios": sensor_logger.decode_ios,
    }
)
"""The decoders by the name that a configuration gives them."""

_WHITESPACE = b" \t\r\n"
_TELLING_KEY = re.compile(rb'"(?:(?P<native>schema|acc)|payload|messageId|sessionId|deviceId)"\s*:')
_SHOWN_BYTES = 24


def recognise(payload: bytes) -> str:
    """Name the format of ``payload`` by its first byte and, in a JSON object, its first telling key.

    Never "sensor-logger-ios": nothing in a message tells an iPhone from an Android phone.

    Raises:
        DecodeError: "unrecognised".
    """
    first = payload.lstrip(_WHITESPACE)[:1]
    if first == b"{":
        key = _TELLING_KEY.search(payload)
        if key is not None:
            return "native-json" if key["native"] else "sensor-logger"
    elif first == b"[":
        return "senml"
    elif first and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
        return "native-msgpack"
    raise refusal(
        "unrecognised",
        f"a payload that begins with {payload[:_SHOWN_BYTES]!r} is of no known format; "
        f"known are {', '.join(FORMATS)}",
    )


def decode(
    payload: bytes,
    *,
    format: str = "auto",  # noqa: A002  the configuration's word for it
    device: str | None = None,
    sampling_rate_hz: float | None = None,
) -> list[Samples]:
    """Decode one payload.

    Args:
        payload: The bytes as they came.
        format: A key of ``FORMATS``, or "auto" to recognise it.
        device: The device that the topic names; it goes before the one that the payload names.
        sampling_rate_hz: Nominal rate in hertz, for formats that do not tell it; None: measured.

    Returns:
        One element for each device in the payload, at least one.

    Raises:
        DecodeError: The payload is refused, for one of ``REASONS``.
        KeyError: There is no such format.
    """
    if not payload:
        raise refusal("empty", "the payload has no bytes")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise refusal(
            "too_large",
            f"the payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read; send smaller ones",
        )
    name = recognise(payload) if format == "auto" else format
    return FORMATS[name](payload, device=device, sampling_rate_hz=sampling_rate_hz)
