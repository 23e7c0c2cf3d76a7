"""What a user may say of a device: characteristic, layout, scale, unit, rate; all of it checked at once."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from vskd_stream.decode.limits import MAX_ACC_G, MAX_RATE_HZ, MIN_RATE_HZ
from vskd_stream.sources.ble.profile import Options
from vskd_stream.sources.ble.profiles._layout import (
    Block,
    ByteOrder,
    Constant,
    IntType,
    Layout,
    Number,
    Part,
    ValueType,
)

MAX_SCALE: Final = 1e6
MAX_TICK_RATE_HZ: Final = 1e9

_SHORT_UUID: Final = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
_LONG_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BLUETOOTH_BASE: Final = "0000{}-0000-1000-8000-00805f9b34fb"
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")


def _uuid(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("put the UUID in quotes, else YAML may read it as a number")
    short = _SHORT_UUID.fullmatch(value)
    text = _BLUETOOTH_BASE.format(short[1]) if short else value
    if not _LONG_UUID.fullmatch(text.lower()):
        raise ValueError("a UUID has 4 hexadecimal digits, or 32 with hyphens as in 8-4-4-4-12")
    return text.lower()


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('put the bytes in quotes, as hexadecimal digits: "01 0A"')
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ValueError('bytes are pairs of hexadecimal digits: "01 0A"') from None


def _fraction(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    above, slash, below = value.replace(" ", "").partition("/")
    if not (slash and _NUMBER.fullmatch(above) and _NUMBER.fullmatch(below)) or Fraction(below) == 0:
        raise ValueError("a scale is a number, or a fraction such as 1/4096")
    return float(Fraction(above) / Fraction(below))


def _column(value: str) -> str:
    if not re.fullmatch(r"_|-?g?[xyz]", value):
        raise ValueError("a column is x, y, z, gx, gy or gz, with a minus to turn its sign, or _ if unused")
    return value


Uuid = Annotated[str, BeforeValidator(_uuid)]
Bytes = Annotated[bytes, BeforeValidator(_bytes), Field(max_length=512)]
Scale = Annotated[StrictFloat, BeforeValidator(_fraction), Field(gt=0.0, le=MAX_SCALE)]
Count = Annotated[StrictInt, Field(ge=1, le=250)]


class _Skip(Options):
    """Bytes without meaning."""

    skip: Annotated[StrictInt, Field(ge=1, le=512)]
    """Bytes that do not matter."""

    def part(self) -> Part:
        """As the layout knows it."""
        return Constant(b"", self.skip)


class _Constant(Options):
    """Bytes that tell the packet from others."""

    constant: Annotated[Bytes, Field(min_length=1)]
    """Bytes that stand in every packet; one with others is refused."""

    def part(self) -> Part:
        """As the layout knows it."""
        return Constant(self.constant)


class Sequence(Options):
    """The packet's number."""

    sequence: IntType
    """Type of the packet's number, which wraps; tells loss."""
    counts: Literal["packets", "samples"] = "packets"
    """Whether it grows by one, or by the samples of the packet."""

    def part(self) -> Part:
        """As the layout knows it."""
        return Number("sequence", self.sequence)


class Tick(Options):
    """The packet's time."""

    tick: IntType
    """Type of the packet's time, which wraps."""
    rate_hz: Annotated[StrictFloat, Field(ge=1.0, le=MAX_TICK_RATE_HZ)]
    """Ticks a second: 1000 for milliseconds."""
    dates: Literal["first", "last"] = "last"
    """Which of the packet's samples it is the time of."""

    def part(self) -> Part:
        """As the layout knows it."""
        return Number("tick", self.tick)


class SamplesBlock(Options):
    """The packet's samples, or some of their values."""

    samples: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_column)], ...], Field(min_length=1, max_length=16)
    ]
    """What each sample holds, in order: x, y, z, gx, gy, gz, _."""
    type: ValueType
    """Type of each value."""
    count: Count | Literal["fill"] = 1
    """Samples in a packet; `fill`: as many as it has room for."""

    def part(self) -> Part:
        """As the layout knows it."""
        return Block(self.samples, self.type, None if self.count == "fill" else self.count)


_KINDS: Final = ("samples", "sequence", "tick", "constant", "skip")


def _which_part(value: Any) -> str | None:
    return next((kind for kind in _KINDS if isinstance(value, dict) and kind in value), None)


LayoutPart = Annotated[
    Annotated[SamplesBlock, Tag("samples")]
    | Annotated[Sequence, Tag("sequence")]
    | Annotated[Tick, Tag("tick")]
    | Annotated[_Constant, Tag("constant")]
    | Annotated[_Skip, Tag("skip")],
    Discriminator(
        _which_part,
        custom_error_type="layout_part",
        custom_error_message="a part of a layout is a mapping with one of the keys " + ", ".join(_KINDS),
    ),
]


class _Acc(Options):
    """How the values of x, y, z are meant."""

    unit: Literal["g", "mg", "m/s2"]
    """Unit of the scaled values."""
    scale: Scale = 1.0
    """What a value is multiplied with to come to the unit: a number, or a fraction such as 1/4096."""
    range_g: Annotated[StrictFloat, Field(ge=1.0, le=MAX_ACC_G)] = 16.0
    """Full scale in g."""


class _Gyro(Options):
    """How the values of gx, gy, gz are meant."""

    unit: Literal["deg/s", "rad/s"]
    """Unit of the scaled values."""
    scale: Scale = 1.0
    """What a value is multiplied with to come to the unit."""


class Write(Options):
    """Something to be written."""

    characteristic: Uuid
    """Where to write."""
    service: Uuid | None = None
    """Its service, where several have a characteristic of that UUID."""
    data: Bytes
    """What to write, as hexadecimal digits."""
    response: StrictBool = True
    """Whether the device answers to the write."""
    pause_s: Annotated[StrictFloat, Field(ge=0.0, le=5.0)] = 0.0
    """What to wait afterwards, in seconds."""

    @property
    def address(self) -> str:
        """The characteristic, as a link takes it."""
        return _address(self.characteristic, self.service)


class _Match(Options):
    """By what a device is recognised."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    """What the advertised name begins with."""
    service: Uuid | None = None
    """A service that is advertised."""


class Description(Options):
    """A device, described."""

    characteristic: Uuid
    """What notifies the packets."""
    service: Uuid | None = None
    """Its service, where several have a characteristic of that UUID."""
    sampling_rate_hz: Annotated[StrictFloat, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]
    """Nominal rate in Hz."""
    byte_order: ByteOrder = "little"
    """Of all numbers."""
    layout: Annotated[tuple[LayoutPart, ...], Field(min_length=1, max_length=32)]
    """The packet from its first byte to its last."""
    acc: _Acc
    """How acceleration is meant."""
    gyro: _Gyro | None = None
    """How angular rate is meant."""
    start: Annotated[tuple[Write, ...], Field(max_length=32)] = ()
    """Written after subscribing, in order."""
    stop: Annotated[tuple[Write, ...], Field(max_length=32)] = ()
    """Written before parting, in order."""
    match: _Match = _Match()
    """By what such a device is recognised."""
    note: Annotated[StrictStr, Field(max_length=200)] = ""
    """What to expect of it, for people."""

    @property
    def address(self) -> str:
        """The characteristic, as a link takes it."""
        return _address(self.characteristic, self.service)

    @property
    def sequence(self) -> Sequence | None:
        """Where the packet's number stands."""
        return next((part for part in self.layout if isinstance(part, Sequence)), None)

    @property
    def tick(self) -> Tick | None:
        """Where the packet's time stands."""
        return next((part for part in self.layout if isinstance(part, Tick)), None)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        has_gyro = any(
            name.lstrip("-").startswith("g")
            for part in self.layout
            if isinstance(part, SamplesBlock)
            for name in part.samples
        )
        self.parser()
        if has_gyro != (self.gyro is not None):
            raise ValueError("gx, gy, gz in the layout and the unit under `gyro` go together")
        return self

    def parser(self) -> Layout:
        """What reads its packets."""
        return Layout(tuple(part.part() for part in self.layout), byte_order=self.byte_order)


def _address(characteristic: str, service: str | None) -> str:
    return f"{service}/{characteristic}" if service else characteristic
