"""A Bluetooth device's profile: which device it fits, how its stream starts and stops, what its bytes say.

A profile knows one family of devices and nothing about scanning, reconnecting or asyncio's tasks;
the manager knows these and nothing about any device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, ValidationError

from vskd_stream.decode.limits import refusal
from vskd_stream.errors import OptionError
from vskd_stream.health import Limits, Timing
from vskd_stream.samples import Samples

Clock = Literal["device", "counter", "arrival"]
"""Where sample times come from: the device's ticks, a count of samples, or nothing but their arrival."""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a device tells everyone about itself; any of it may be forged."""

    address: str
    """Bluetooth address as the system prints it."""
    name: str
    """Its name; empty if it tells none."""
    service_uuids: frozenset[str]
    """Advertised services: 128-bit UUIDs in lower case, with hyphens."""
    rssi_dbm: int
    """Signal strength in dBm: -40 beside the antenna, -90 at the edge of the world."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a stream can be trusted with: its limits, carried into its quality."""

    sampling_rate_hz: float
    """Nominal rate; after ``start``, the one that the device has agreed to."""
    range_g: float
    """Full scale: beyond +- this many g the device saturates."""
    clock: Clock
    """Where sample times come from."""
    note: str = ""
    """A sentence for people on what to expect; empty where there is nothing to warn of."""
    silence_s: float = 5.0
    """Without samples for so many seconds something is wrong, whatever the link says of itself."""
    poll: str | None = None
    """A characteristic to read after ``silence_s`` in place of distrust, because the device notifies only
    what changed: what is read goes through ``decode`` like a notification."""

    @property
    def limits(self) -> Limits:
        """For the grade of the stream's health."""
        timing: Timing = "counted" if self.clock == "counter" else self.clock
        return Limits(timing, self.range_g or None, self.note)


class Link(Protocol):
    """One connection, as a session sees it; every operation has a time limit.

    A characteristic is named by its UUID, or by ``service/characteristic`` where several services have
    one of the same UUID: 128 bits each, lower case.
    """

    async def read(self, uuid: str) -> bytes:
        """Read a characteristic.

        Raises:
            LinkError: It is not there, the device refuses, or the link is gone.
        """

    async def write(self, uuid: str, data: bytes, *, response: bool = True) -> None:
        """Write a characteristic; without ``response`` it is only sent on its way.

        Raises:
            LinkError: It is not there, the device refuses, or the link is gone.
        """


class Agreed(BaseModel):
    """Base of what a session has agreed on with its device: all that decoding depends on but the options."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Session(Protocol):
    """One connection of one device, from subscribing to parting; a reconnect begins a new one.

    The order of calls: the manager subscribes to ``notify``, awaits ``start``, and at the end awaits
    ``stop``. From the first subscription on every notification goes through ``decode``, in order, also
    while ``start`` awaits an answer: ``decode`` hands the answer over through an ``asyncio.Queue`` or
    ``Future`` of the session's own.
    """

    @property
    def notify(self) -> tuple[str, ...]:
        """The characteristics to subscribe to, in this order; ``decode`` gets these very names."""

    @property
    def traits(self) -> Traits:
        """The stream's limits; final once ``start`` has returned."""

    @property
    def agreed(self) -> Agreed:
        """What decoding goes by now; another object whenever decoding has begun anew, alike or not."""

    def resume(self, agreed: bytes) -> None:
        """Begin decoding by what another session has ``agreed`` on, as JSON: a replay's ``start``.

        Raises:
            DecodeError: "malformed": no session of this profile could have agreed on it.
        """

    async def start(self, link: Link) -> None:
        """Write settings and start the stream; also after a resubscription on the same link.

        Raises:
            LinkError: The link failed, or the device answered otherwise than it should.
        """

    async def stop(self, link: Link) -> None:
        """Tell the device to stop streaming, so that no battery is drained.

        Raises:
            LinkError: The link failed.
        """

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read one notification that came at ``arrival_s``; quick, bounded, no I/O.

        ``arrival_s`` are the host's seconds, near UTC but never set: they tell how much time has passed.

        Raises:
            DecodeError: The bytes are not what the device sends; the session stays usable.
        """


class Profile(Protocol):
    """One family of devices."""

    @property
    def name(self) -> str:
        """What a configuration calls it."""

    def matches(self, advertisement: Advertisement) -> bool:
        """Whether an advertisement looks like such a device."""

    def session(self, device: str, options: Mapping[str, object]) -> Session:
        """Prepare a connection; ``device`` is the id that its ``Samples`` carry.

        Raises:
            OptionError: An option is unknown, or has a value that the device does not take.
        """


class Options(BaseModel):
    """Base of a profile's options: what stands under ``options:`` of a device in the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_OptionsT = TypeVar("_OptionsT", bound=Options)


def parse_options(model: type[_OptionsT], device: str, options: Mapping[str, object]) -> _OptionsT:
    """Check a device's options against its profile's model.

    Raises:
        OptionError: With every problem in its text.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'options'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
        raise OptionError(device, "; ".join(problems)) from None


_AgreedT = TypeVar("_AgreedT", bound=Agreed)


def parse_agreed(model: type[_AgreedT], agreed: bytes) -> _AgreedT:
    """Check what a recording says that a session has agreed on.

    Raises:
        DecodeError: "malformed".
    """
    try:
        return model.model_validate_json(agreed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "what was agreed"
        raise refusal("malformed", f"{where}: {first['msg']}") from None


def read(session: Session, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
    """``Session.decode``, and the samples told how far their times can be trusted.

    Raises:
        DecodeError: As ``Session.decode``.
    """
    batches = session.decode(uuid, data, arrival_s=arrival_s)
    if session.traits.clock == "counter":
        return [replace(samples, counted=True) for samples in batches]
    return batches
