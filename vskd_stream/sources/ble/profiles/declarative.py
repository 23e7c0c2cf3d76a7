"""A device that a user describes: characteristic, layout, scale, unit and rate, without any code.

The description stands under ``options:`` of a device in the configuration, or in a YAML file of its own:

    characteristic: 6fbe1da7-3001-44de-92c4-bb6e04fb0212
    sampling_rate_hz: 50
    layout:
      - sequence: u16
      - samples: [x, y, z]
        type: i16
        count: fill
    acc: {unit: g, scale: 1/4096, range_g: 8}
    start:
      - {characteristic: fff1, data: "01 32"}
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from vskd_stream.decode.limits import (
    ACC_UNITS_PER_G,
    GYRO_UNITS_PER_DPS,
    MAX_ACC_G,
    MAX_GYRO_DPS,
    check_vectors,
    make_samples,
)
from vskd_stream.errors import ConfigError
from vskd_stream.samples import IDENTIFIER, Samples
from vskd_stream.sources.ble.profile import (
    Advertisement,
    Agreed,
    Link,
    Options,
    Traits,
    parse_agreed,
    parse_options,
)
from vskd_stream.sources.ble.profiles._description import Description, Write
from vskd_stream.sources.ble.profiles._layout import Packet
from vskd_stream.sources.ble.profiles._ticks import NumberedTimes, TickClock, WrappedCounter
from vskd_stream.sources.ble.timing import FrameTimes, SampleCounter

MAX_FILE_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8


class _Agreed(Agreed):
    started: bool
    """Whether everything was written that lets the device send."""


class DeclaredSession:
    """One connection."""

    def __init__(self, device: str, description: Description) -> None:
        self._device = device
        self._description = description
        self._layout = description.parser()
        self.notify = (description.address,)
        self.traits = Traits(
            description.sampling_rate_hz,
            description.acc.range_g,
            "counter" if description.tick is None else "device",
            note=description.note,
        )
        self._begin(_Agreed(started=False))

    async def start(self, link: Link) -> None:
        """Write what the description has under ``start``; what comes before that is done is left out."""
        self._begin(_Agreed(started=False))
        await _write(link, self._description.start)
        self._begin(_Agreed(started=True))

    def resume(self, agreed: bytes) -> None:
        """Decode as ``profile.Session`` has it."""
        self._begin(parse_agreed(_Agreed, agreed))

    async def stop(self, link: Link) -> None:
        """Write what the description has under ``stop``."""
        await _write(link, self._description.stop)

    def _begin(self, agreed: _Agreed) -> None:
        self.agreed = agreed
        self._last: Samples | None = None
        self._times = _Times(self._description, bits=self._layout.bits) if agreed.started else None

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read a packet."""
        del uuid
        packet = self._layout.parse(data)
        acc, gyro = self._description.acc, self._description.gyro
        acc_g = _scaled(packet.acc, acc.scale / ACC_UNITS_PER_G[acc.unit], limit=MAX_ACC_G, unit="g")
        gyro_dps = None
        if packet.gyro is not None and gyro is not None:
            factor = gyro.scale / GYRO_UNITS_PER_DPS[gyro.unit]
            gyro_dps = _scaled(packet.gyro, factor, limit=MAX_GYRO_DPS, unit="deg/s")
        if self._times is None:
            return []
        t_s = self._times.take(packet, arrival_s=arrival_s)
        if t_s is not None:
            self._last = make_samples(
                device=self._device,
                t_s=t_s,
                acc_g=acc_g,
                sampling_rate_hz=self._description.sampling_rate_hz,
                epoch="device",
                gyro_dps=gyro_dps,
            )
        # Twice the same packet: it keeps its times, and is recognised by them.
        return [] if self._last is None else [self._last]


class _Times:
    """Dates packets by their numbers, their ticks, both, or neither."""

    def __init__(self, description: Description, *, bits: Mapping[str, int]) -> None:
        self._rate_hz = description.sampling_rate_hz
        self._sequence, self._tick = description.sequence, description.tick
        self._bits = bits
        self._numbers: WrappedCounter | None = None
        self._count_before = 0
        self._counter = SampleCounter(self._rate_hz, numbered=self._sequence is not None)
        self._frames = FrameTimes(self._rate_hz)
        self._numbered = NumberedTimes(self._rate_hz)
        self._clock = None if self._tick is None else TickClock(bits=bits["tick"], rate_hz=self._tick.rate_hz)

    def take(self, packet: Packet, *, arrival_s: float) -> NDArray[np.float64] | None:
        """Date a packet's samples; None: it has come already.

        Raises:
            DecodeError: "bad_time".
        """
        count = len(packet.acc)
        tick_s = None
        if self._clock is not None and packet.tick is not None:
            tick_s = self._clock.seconds(packet.tick, arrival_s=arrival_s)
        lost = 0 if packet.sequence is None else self._lost(packet.sequence, count, arrival_s)
        if lost is None:
            return None
        if tick_s is None or self._tick is None:
            return self._counter.take(count, arrival_s=arrival_s, lost=lost)
        if self._sequence is None:
            t_s = self._frames.take(tick_s, count)
        else:
            t_s = self._numbered.take(tick_s, count, lost=lost)
        return t_s if self._tick.dates == "last" else tick_s + (t_s - t_s[0])

    def _lost(self, number: int, count: int, arrival_s: float) -> int | None:
        """Samples that went before this packet's; None: it has come already."""
        assert self._sequence is not None
        counts_samples = self._sequence.counts == "samples"
        if self._numbers is None:
            # How many samples a packet has is known only now, and with it how fast its number grows.
            pace_hz = self._rate_hz / (1 if counts_samples else count)
            self._numbers = WrappedCounter(bits=self._bits["sequence"], pace_hz=pace_hz)
            self._numbers.step(number, arrival_s=arrival_s)
            self._count_before = count
            return 0
        step = self._numbers.step(number, arrival_s=arrival_s)
        before, self._count_before = self._count_before, count
        if step == 0:
            return None
        return max(step - before, 0) if counts_samples else (step - 1) * count


def _scaled(values: NDArray[np.float64], factor: float, *, limit: float, unit: str) -> NDArray[np.float64]:
    # Scaling may overflow, and not-a-number stays what it is: both are refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.asarray(values * factor, np.float64)
    check_vectors(scaled, limit=limit, unit=unit, what="acc" if unit == "g" else "gyro")
    return scaled


async def _write(link: Link, writes: tuple[Write, ...]) -> None:
    for write in writes:
        await link.write(write.address, write.data, response=write.response)
        if write.pause_s:
            await asyncio.sleep(write.pause_s)


@dataclass(frozen=True, slots=True)
class DeclaredProfile:
    """The devices of one description that has a file of its own."""

    name: str
    description: Description

    def matches(self, advertisement: Advertisement) -> bool:
        """By what the description names under ``match``; by nothing, if it names nothing."""
        match = self.description.match
        return (match.name is not None and advertisement.name.startswith(match.name)) or (
            match.service is not None and match.service in advertisement.service_uuids
        )

    def session(self, device: str, options: Mapping[str, object]) -> DeclaredSession:
        """Prepare a connection; there are no further options."""
        parse_options(Options, device, options)
        return DeclaredSession(device, self.description)


@dataclass(frozen=True, slots=True)
class DeclarativeProfile:
    """Any device; its options are the description."""

    name: str = "declarative"

    def matches(self, advertisement: Advertisement) -> bool:
        """Never: what it fits only its options know."""
        del advertisement
        return False

    def session(self, device: str, options: Mapping[str, object]) -> DeclaredSession:
        """Prepare a connection."""
        return DeclaredSession(device, parse_options(Description, device, options))


PROFILE: Final = DeclarativeProfile()


def load(path: Path) -> DeclaredProfile:
    """Read a description; the profile is called as the file is, without its suffix.

    Raises:
        ConfigError: With every problem in a line of its own, "line N: key: what is wrong".
    """
    if not IDENTIFIER.fullmatch(path.stem):
        raise ConfigError(path, ["a file's name becomes the profile's: 1 to 64 letters, digits, - and _"])
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror}"]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(path, [f"it is larger than {MAX_FILE_BYTES // 1024} KiB; this is no description"])
    node, tree = _tree(path, raw)
    try:
        return DeclaredProfile(path.stem, Description.model_validate(tree))
    except ValidationError as error:
        problems = [
            f"line {_line(node, loc)}: {'.'.join(map(str, loc))}{': ' if loc else ''}{problem['msg']}"
            for problem in error.errors(include_url=False)
            for loc in [_written(problem["loc"])]
        ]
        raise ConfigError(path, problems) from None


def _tree(path: Path, raw: bytes) -> tuple[yaml.Node, Any]:
    try:
        text = raw.decode("utf-8-sig")
        _check_events(path, text)
        node = yaml.compose(text, yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(path, [f"{place}{getattr(error, 'problem', None) or 'this is no YAML'}"]) from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(path, ["it must be a mapping with keys such as `characteristic` and `layout`"])
    return node, tree


def _check_events(path: Path, text: str) -> None:
    """Refuse what makes a small file cost much, and no description needs."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(path, ["aliases (*name) are not taken; write it out"])
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError(path, [f"it is nested more than {MAX_DEPTH} levels deep"])


def _written(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The place as it is written: pydantic names the kind of a layout's part as well."""
    return loc[:2] + loc[3:] if loc[:1] == ("layout",) else loc


def _line(node: yaml.Node, loc: tuple[str | int, ...]) -> int:
    """The line of what ``loc`` names, or of what holds it."""
    line = node.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1
