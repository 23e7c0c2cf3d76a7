r"""Bangle.js 2: sends its own program to the watch over Nordic UART, and reads the frames that it sends back.

The watch has a JavaScript prompt where other devices have a protocol. ``bangle.js`` sets the
accelerometer's rate and range, and restores both when the link ends. A frame, little-endian:

======  ======  ========================================================================
offset  type    meaning
======  ======  ========================================================================
0       2 x u8  B5 56
2       u8      number of samples n; 0: the greeting, sent once
3       u8      version of the program, ``VERSION``
4       u16     number of the frame, wraps; in the greeting the range in g
6       u16     sum of all the frame's bytes, these two taken as 0
8       u32     ms on the watch's clock at the last sample, wraps; in the greeting the rate in mHz
12      n x 3   x, y, z as int16, 4096 to the g
        x i16
======  ======  ========================================================================

The longest frame fits one notification of a connection that has agreed on the watch's longest packets;
shorter ones cut it, so frames are looked for in the stream of bytes, among what the prompt prints.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from pydantic import AfterValidator, StrictFloat

from vskd_stream.decode.limits import make_samples, refusal
from vskd_stream.errors import LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import (
    Advertisement,
    Agreed,
    Link,
    Options,
    Traits,
    parse_agreed,
    parse_options,
)
from vskd_stream.sources.ble.profiles._counted import INT16, vectors
from vskd_stream.sources.ble.profiles._ticks import NumberedTimes, TickClock, WrappedCounter

SERVICE: Final = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
WRITE: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
NOTIFY: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"

VERSION: Final = 1
UNITS_PER_G: Final = 4096.0
MAX_NOTIFICATION_BYTES: Final = 128
"""What the watch's longest packets (MTU 131) leave for a notification."""
MAX_BYTES_PER_S: Final = 2500
"""What the firmware sends at most, by its author's word."""
CHUNK_BYTES: Final = 20
"""The program is written in pieces that fit every connection."""
CHUNKS_AHEAD: Final = 4
"""One piece of so many waits for a response: the watch's buffer is small, and each response costs time."""

_SYNC: Final = b"\xb5\x56"
_HEAD: Final = struct.Struct("<2sBBHHI")
_SAMPLE_BYTES: Final = 6
_MAX_SAMPLES: Final = (MAX_NOTIFICATION_BYTES - _HEAD.size) // _SAMPLE_BYTES
_G_PER_UNIT: Final = np.array([1.0, -1.0, -1.0]) / UNITS_PER_G
"""The firmware's axes are those of its screen: x to the right, y down, z into the watch."""
_SUM_AT: Final = slice(6, 8)
_MAX_BYTES: Final = 4096
_TEXT_BYTES: Final = 160

_RESET: Final = b"\x03\x10reset();\n"
_STOP: Final = b"\x03\x10global.vskdStop&&vskdStop();load();\n"
_RESET_S: Final = 1.5
"""So long the watch forgets what it ran before: what is sent meanwhile is forgotten, too."""
_GREETING_S: Final = 5.0
_NOTE_100_HZ: Final = (
    "at 100 Hz the watch looks as often as its sensor measures, and now and then misses a sample"
)


@dataclass(frozen=True, slots=True)
class _Pace:
    """How a rate is come by."""

    code: int
    """Of the sensor's output data rate."""
    poll_ms: int
    """How often the firmware looks for a new sample: twice as often as there is one, 10 ms at least."""
    samples: int
    """In a frame."""


_PACES: Final = {
    12.5: _Pace(code=0, poll_ms=40, samples=3),
    25.0: _Pace(code=1, poll_ms=20, samples=5),
    50.0: _Pace(code=2, poll_ms=10, samples=10),
    100.0: _Pace(code=3, poll_ms=10, samples=18),
}


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the program says when it has begun."""

    range_g: int
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples."""

    number: int
    """16 bits."""
    tick_ms: int
    """The watch's time of the last sample, 32 bits."""
    acc_g: NDArray[np.float64]
    """(n, 3) acceleration in g: x to the right, y to the top of the dial, z out of its face."""


class Reader:
    """Finds frames in what the watch sends, however it is cut."""

    def __init__(self) -> None:
        self._pending = b""
        self.text = ""
        """The end of what the prompt has printed."""
        self.damaged = 0
        """Frames whose sum was wrong."""

    def push(self, data: bytes) -> list[Frame | Greeting]:
        """Take a notification; return what is complete now.

        Raises:
            DecodeError: "too_large".
        """
        if len(data) > _MAX_BYTES:
            raise refusal("too_large", f"{len(data)} bytes in one notification; the watch sends 128")
        data = self._pending + data
        found: list[Frame | Greeting] = []
        place = 0
        while True:
            start = data.find(_SYNC, place)
            if start < 0:
                start = len(data) - data.endswith(_SYNC[:1])
            self._print(data[place:start])
            place = start
            if len(data) - place < _HEAD.size:
                break
            _, count, version, number, total, tick = _HEAD.unpack_from(data, place)
            end = place + _HEAD.size + _SAMPLE_BYTES * count
            if version != VERSION or count > _MAX_SAMPLES:
                # Two bytes that only look like a beginning.
                place += len(_SYNC)
                continue
            if end > len(data):
                break
            frame = data[place:end]
            if sum(frame) - sum(frame[_SUM_AT]) != total:
                self.damaged += 1
                place += len(_SYNC)
                continue
            found.append(_frame(frame[_HEAD.size :], number=number, tick=tick))
            place = end
        self._pending = data[place:]
        return found

    def _print(self, data: bytes) -> None:
        if data:
            printable = re.sub(rb"[^ -~]+", b" ", data[-_TEXT_BYTES:]).decode("ascii")
            self.text = (self.text + printable)[-_TEXT_BYTES:]


def _frame(body: bytes, *, number: int, tick: int) -> Frame | Greeting:
    if not body:
        return Greeting(range_g=number, rate_hz=tick / 1000.0)
    values = vectors(body, dtype=INT16, columns=3, what="a frame")
    return Frame(number, tick, values * _G_PER_UNIT)


def program(sampling_rate_hz: float) -> bytes:
    """The line to be sent for one of the rates that the sensor has."""
    pace = _PACES[sampling_rate_hz]
    source = resources.files(__package__).joinpath("bangle.js").read_text("ascii")
    for word, value in {
        "SAMPLES": pace.samples,
        "RATE_CODE": pace.code,
        "POLL_MS": pace.poll_ms,
        "RATE_MHZ": round(sampling_rate_hz * 1000),
        "VERSION": VERSION,
    }.items():
        source = source.replace(f"${word}$", str(value))
    lines = (line.strip() for line in source.splitlines())
    code = "".join(line for line in lines if not line.startswith("//"))
    # Ctrl-C ends whatever stands at the prompt, Ctrl-P keeps the line from being printed.
    return b"\x03\x10if(1){" + code.encode("ascii") + b"}\n"


def _offered(rate_hz: float) -> float:
    if rate_hz not in _PACES:
        raise ValueError(f"the sensor has the rates {', '.join(f'{each:g}' for each in _PACES)}")
    return rate_hz


class _Options(Options):
    sampling_rate_hz: Annotated[StrictFloat, AfterValidator(_offered)] = 50.0
    """Rate in Hz: 12.5, 25, 50 or 100."""


class BangleSession:
    """One connection."""

    notify = (NOTIFY,)

    def __init__(self, device: str, options: _Options) -> None:
        self._device = device
        self._asked_hz = options.sampling_rate_hz
        self._greetings: asyncio.Queue[Greeting] = asyncio.Queue(maxsize=1)
        self._clock = TickClock(bits=32, rate_hz=1000.0)
        self._agree(Greeting(range_g=8, rate_hz=self._asked_hz))
        self._begin(Agreed())

    @property
    def traits(self) -> Traits:
        """The stream's limits: a watch with another sensor than the usual one streams at 12.5 Hz and 4 g."""
        return self._traits

    async def start(self, link: Link) -> None:
        """Clear the watch's memory, send the program, and wait for its greeting.

        Raises:
            LinkError: The program has not begun; what the watch has printed is in the text.
        """
        self._begin(Agreed())
        await self._write(link, _RESET)
        await asyncio.sleep(_RESET_S)
        self._begin(Agreed())
        while not self._greetings.empty():
            self._greetings.get_nowait()
        await self._write(link, program(self._asked_hz))
        try:
            async with asyncio.timeout(_GREETING_S):
                greeting = await self._greetings.get()
        except TimeoutError:
            printed = self._reader.text.strip()
            raise LinkError(
                self._device,
                f"the program did not begin within {_GREETING_S:g} s; the watch printed {printed!r}",
            ) from None
        if not 1.0 <= greeting.rate_hz <= self._asked_hz:
            raise LinkError(self._device, f"it streams at {greeting.rate_hz:g} Hz; update its firmware")

    async def stop(self, link: Link) -> None:
        """End the program and return to the watch's clock."""
        self._begin(Agreed())
        await self._write(link, _STOP)

    def resume(self, agreed: bytes) -> None:
        """Wait for the program's greeting, which is among the notifications."""
        self._begin(parse_agreed(Agreed, agreed))

    def decode(self, uuid: str, data: bytes, *, arrival_s: float) -> list[Samples]:
        """Read the frames that ``data`` completes."""
        del uuid
        damaged = self._reader.damaged
        samples: list[Samples] = []
        for found in self._reader.push(data):
            if isinstance(found, Frame):
                samples += self._samples(found, arrival_s) if self._greeted else []
            elif not self._greeted:
                self._greet(found)
        damaged = self._reader.damaged - damaged
        if damaged and not samples:
            raise refusal("malformed", "a frame whose sum is wrong: a part of it was lost")
        if damaged:
            samples[0] = replace(samples[0], discarded=damaged * _PACES[self._asked_hz].samples)
        return samples

    def _begin(self, agreed: Agreed) -> None:
        self.agreed = agreed
        self._reader = Reader()
        self._greeted = False

    def _greet(self, greeting: Greeting) -> None:
        self._greeted = True
        self._agree(greeting)
        if self._greetings.empty():
            self._greetings.put_nowait(greeting)

    def _agree(self, greeting: Greeting) -> None:
        rate_hz = greeting.rate_hz
        note = _NOTE_100_HZ if rate_hz == 100.0 else ""
        self._traits = Traits(rate_hz, float(greeting.range_g), "device", note=note)
        self._numbers = WrappedCounter(bits=16, pace_hz=rate_hz / _PACES[self._asked_hz].samples)
        self._times = NumberedTimes(rate_hz)
        self._last: Samples | None = None

    def _samples(self, frame: Frame, arrival_s: float) -> list[Samples]:
        last_s = self._clock.seconds(frame.tick_ms, arrival_s=arrival_s)
        step = self._numbers.step(frame.number, arrival_s=arrival_s)
        if step == 0 and self._last is not None:
            # Twice the same frame: it keeps its times, and is recognised by them.
            return [self._last]
        self._last = make_samples(
            device=self._device,
            t_s=self._times.take(last_s, len(frame.acc_g), lost=max(step - 1, 0)),
            acc_g=frame.acc_g,
            sampling_rate_hz=self._traits.sampling_rate_hz,
            epoch="device",
        )
        return [self._last]

    async def _write(self, link: Link, line: bytes) -> None:
        chunks = [line[place : place + CHUNK_BYTES] for place in range(0, len(line), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks, 1):
            waits = number % CHUNKS_AHEAD == 0 or number == len(chunks)
            await link.write(WRITE, chunk, response=waits)


@dataclass(frozen=True, slots=True)
class BangleProfile:
    """Bangle.js 2, with any firmware that has a prompt."""

    name: str = "bangle"

    def matches(self, advertisement: Advertisement) -> bool:
        """By name: many others have a Nordic UART."""
        return advertisement.name.startswith("Bangle.js")

    def session(self, device: str, options: Mapping[str, object]) -> BangleSession:
        """Prepare a connection."""
        return BangleSession(device, parse_options(_Options, device, options))


PROFILE: Final = BangleProfile()
