"""A Bluetooth stream as messages: what a recording keeps of it, and the same samples made of that again.

The topic of a message is ``$ble/<device>/<profile>/<what>``; MQTT keeps topics with a ``$`` for brokers,
so none of a device over MQTT looks like this. ``what`` is

- ``session``: a connection begins; the payload is the device's options as JSON;
- ``agreed``: decoding begins anew, by what the session has ``agreed`` on with the device, as JSON;
- else the characteristic that a notification came from, byte for byte, named as the profile does.

Neither the profile's own bytes nor its answers are needed besides, and no device is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from vskd_stream.decode.limits import refusal
from vskd_stream.errors import DecodeError, OptionError
from vskd_stream.recording import BLUETOOTH, Message
from vskd_stream.samples import IDENTIFIER, Samples
from vskd_stream.sources.ble.profile import Agreed, Session, read
from vskd_stream.sources.ble.profiles import PROFILES

Take = Callable[[Message], None]
"""Takes a message, on the event loop; has to be quick."""

MAX_NOTIFICATION_BYTES: Final = 512
"""No attribute of any Bluetooth device is longer."""
_MAX_OPTIONS_BYTES: Final = 2**16
_SESSION, _AGREED = "session", "agreed"


class Transcript:
    """Writes down one connection."""

    def __init__(
        self, take: Take, session: Session, *, device: str, profile: str, options: Mapping[str, object]
    ) -> None:
        self._take = take
        self._session = session
        self._topic = f"{BLUETOOTH}{device}/{profile}/"
        self._options: bytes | None = msgspec.json.encode(options)
        self._agreed: Agreed = session.agreed

    def add(self, uuid: str, data: bytes, *, arrival_s: float) -> None:
        """Take a notification that is to be decoded next, and all that has changed before it."""
        if self._options is not None:
            self._take(Message(arrival_s, self._topic + _SESSION, self._options))
            self._options = None
        if self._session.agreed is not self._agreed:
            self._agreed = self._session.agreed
            agreed = self._agreed.model_dump_json().encode()
            self._take(Message(arrival_s, self._topic + _AGREED, agreed))
        self._take(Message(arrival_s, self._topic + uuid, data))


def is_notification(topic: str) -> bool:
    """Whether such a message is what a device sent, and not what we write down besides."""
    return topic.rpartition("/")[2] not in {_SESSION, _AGREED}


def device_of(topic: str) -> str:
    """The device of such a message; not checked."""
    return topic[len(BLUETOOTH) :].partition("/")[0]


class Player:
    """Reads transcripts of several devices: each message goes through the decoder that it went through."""

    def __init__(self, *, max_devices: int) -> None:
        self._max_devices = max_devices
        self._sessions: dict[tuple[str, str], Session] = {}

    def read(self, message: Message) -> list[Samples]:
        """The samples that the gateway had of this message when it came.

        Raises:
            DecodeError: As the profile has it; or this is nothing that ``Transcript`` writes.
        """
        parts = message.topic[len(BLUETOOTH) :].split("/", 2)
        if len(parts) != 3 or not IDENTIFIER.fullmatch(parts[0]):
            raise refusal("unrecognised", f"{message.topic[:100]!r} is no topic of a Bluetooth recording")
        device, profile, what = parts
        if what == _SESSION:
            self._begin(device, profile, message.payload)
            return []
        session = self._sessions.get((device, profile))
        if session is None:
            raise DecodeError("no_session", "the beginning of its connection is not in the recording")
        if what == _AGREED:
            session.resume(message.payload)
            return []
        if len(message.payload) > MAX_NOTIFICATION_BYTES:
            raise refusal("too_large", f"{len(message.payload)} bytes where a notification has at most 512")
        return read(session, what, message.payload, arrival_s=message.arrival_s)

    def _begin(self, device: str, profile: str, options: bytes) -> None:
        known = PROFILES.get(profile)
        if known is None:
            raise refusal("unrecognised", f"profile {profile[:100]!r} is not known here")
        if len(options) > _MAX_OPTIONS_BYTES:
            raise refusal("too_large", f"{len(options)} bytes of options; 64 KiB are allowed")
        if (device, profile) not in self._sessions and len(self._sessions) >= self._max_devices:
            raise DecodeError("device_limit", f"limits.max_devices allows {self._max_devices} devices")
        try:
            decoded = msgspec.json.decode(options, type=dict[str, object])
            self._sessions[device, profile] = known.session(device, decoded)
        except OptionError as error:
            raise refusal("malformed", str(error)) from None
        except (ValueError, RecursionError) as error:
            raise refusal("malformed", f"options that are not to be understood ({error})") from None
