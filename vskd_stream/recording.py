"""Recordings: raw payloads with their topics and moments of arrival; whatever a file says is checked.

A file is two lines and then frames:

- the line ``VSKD recording``;
- the header, one line of JSON (``Header``), at most 64 KiB;
- each frame: its length as a little-endian 32-bit unsigned integer, at most 16 MiB, then that many
  bytes of MessagePack, ``[arrival_s: float64, topic: str, payload: bin]``.

Nothing is decoded but the frame itself: a recording keeps what came, of any source and wire format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Final, Literal, Self

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from vskd_stream.errors import RecordingError
from vskd_stream.samples import IDENTIFIER

MAGIC = b"VSKD recording\n"
SCHEMA_VERSION: Final = 1
MAX_HEADER_BYTES = 64 * 2**10
MAX_FRAME_BYTES = 16 * 2**20
LATEST_ARRIVAL_S = 1e11
"""Some three thousand years after 1970: whatever is larger was not given in seconds."""
SUFFIX = ".vskdrec"
BLUETOOTH: Final = "$ble/"
"""With this begin the topics of what came over Bluetooth (``sources.ble.transcript``)."""

_TOPIC = re.compile(r"[^+#\0]{1,512}")
_LENGTH_BYTES = 4

_Text = Annotated[str, Field(max_length=4_000)]
_decoder = msgspec.msgpack.Decoder(tuple[float, str, bytes])


class Header(BaseModel):
    """What a recording says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this layout."""
    created: AwareDatetime
    """When recording began."""
    tool: Annotated[str, Field(max_length=200)] = ""
    """What wrote the file."""
    gateway: Annotated[str, Field(pattern=rf"^({IDENTIFIER.pattern})?$")] = ""
    """Where it was recorded, if a gateway did."""
    attribution: _Text = ""
    """Whose data it is, as they want to be named."""
    licence: Annotated[str, Field(max_length=200)] = ""
    """Terms on which it may be passed on."""
    notes: _Text = ""
    """Whatever else a reader should know."""


@dataclass(frozen=True, slots=True)
class Message:
    """One payload as it came."""

    arrival_s: float
    """When it arrived, in UTC seconds; never earlier than the message before."""
    topic: str
    payload: bytes


class Recorder:
    """A recording that grows while messages come.

    Every message is handed to the system before ``append`` returns, so a recorder that is killed
    leaves at most one cut frame, at the end (``read`` with ``accept_cut`` reads up to it). A power
    cut may cost what the system had not written yet.

    Raises:
        RecordingError: The file exists already, cannot be written, or a message does not fit in.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self._last_s = 0.0
        self._size = 0
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise RecordingError(path, "exists already; remove it or name another file") from None
        except OSError as error:
            raise RecordingError(path, f"cannot be created ({error.strerror})") from error
        try:
            self._write(MAGIC + header.model_dump_json().encode() + b"\n")
        except RecordingError:
            self._file.close()
            path.unlink()
            raise

    def append(self, message: Message) -> None:
        """Add a message; where the host's clock was set back, the last arrival stands until it caught up."""
        if problem := _problem(message.arrival_s, message.topic):
            raise RecordingError(self.path, f"a message cannot be recorded: {problem}")
        self._last_s = max(self._last_s, message.arrival_s)
        frame = msgspec.msgpack.encode((self._last_s, message.topic, message.payload))
        if len(frame) > MAX_FRAME_BYTES:
            raise RecordingError(
                self.path, f"a message cannot be recorded: its payload has {len(message.payload)} bytes"
            )
        self._write(len(frame).to_bytes(_LENGTH_BYTES, "little") + frame)

    def close(self) -> None:
        """Bring everything to the disk; closing twice is closing once."""
        if self._file.closed:
            return
        try:
            with self._file:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise RecordingError(self.path, f"cannot be written ({error.strerror})") from error

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            # Half a frame in the middle would make whatever follows unreadable.
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise RecordingError(self.path, f"cannot be written ({error.strerror})") from error
        self._size += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write(path: Path, header: Header, messages: Iterable[Message]) -> None:
    """Make a whole recording at once: ``path`` is replaced when everything stands, or left as it was."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with Recorder(part, header) as recorder:
            for message in messages:
                recorder.append(message)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Recording:
    """A readable recording; each iteration reads the file anew, one frame in memory at a time.

    Raises:
        RecordingError: While iterating, where the file is damaged; the messages before were whole.
    """

    path: Path
    header: Header
    accept_cut: bool = False
    """A last frame that is cut off ends the iteration and is no error."""

    def __iter__(self) -> Iterator[Message]:
        with _opened(self.path) as file:
            _header(self.path, file)
            last_s = 0.0
            while True:
                at = file.tell()
                frame = _frame(self.path, file, at, accept_cut=self.accept_cut)
                if frame is None:
                    return
                message = _message(self.path, frame, at)
                if message.arrival_s < last_s:
                    reason = f"frame at byte {at} arrived before the one that precedes it"
                    raise RecordingError(self.path, reason)
                last_s = message.arrival_s
                yield message


def read(path: Path, *, accept_cut: bool = False) -> Recording:
    """Open a recording and check its header; frames are checked as they are read.

    Raises:
        RecordingError: There is no such file, or it is no recording of a known schema version.
    """
    with _opened(path) as file:
        return Recording(path, _header(path, file), accept_cut)


def is_bluetooth(topic: str) -> bool:
    """Whether a message came over Bluetooth: no broker takes it, and no payload alone can be decoded."""
    return topic.startswith(BLUETOOTH)


def shipped() -> dict[str, Path]:
    """The recordings that come with this package, by name."""
    directory = Path(str(resources.files("vskd_stream").joinpath("recordings")))
    return {path.stem: path for path in sorted(directory.glob(f"*{SUFFIX}"))}


def resolve(name_or_path: str, *, relative_to: Path = Path()) -> Path:
    """The file that a bare name (of a shipped recording) or a path stands for; it need not exist.

    Raises:
        RecordingError: No shipped recording has that name.
    """
    if not IDENTIFIER.fullmatch(name_or_path):
        return relative_to / name_or_path
    known = shipped()
    if name_or_path not in known:
        names = ", ".join(known) or "none"
        reason = (
            f"no shipped recording has this name (there is: {names}); a file is given as ./{name_or_path}"
        )
        raise RecordingError(Path(name_or_path), reason)
    return known[name_or_path]


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordingError(path, f"cannot be opened ({error.strerror})") from error


def _read(path: Path, file: BinaryIO, count: int) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise RecordingError(path, f"cannot be read at byte {file.tell()} ({error.strerror})") from error


def _header(path: Path, file: BinaryIO) -> Header:
    if _read(path, file, len(MAGIC)) != MAGIC:
        raise RecordingError(path, f"no recording: at byte 0 it does not say {MAGIC.decode().strip()!r}")
    at = f"at byte {len(MAGIC)}"
    line = _read_line(path, file)
    if len(line) > MAX_HEADER_BYTES:
        raise RecordingError(path, f"header {at} is longer than {MAX_HEADER_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise RecordingError(path, f"header {at} is cut off after {len(line)} bytes")
    try:
        version = msgspec.json.decode(line, type=_Versioned).schema_version
    except (ValueError, RecursionError) as error:
        raise RecordingError(path, f"header {at} is not to be understood ({error})") from None
    if version != SCHEMA_VERSION:
        reason = f"header {at} has schema version {version}; this program reads version {SCHEMA_VERSION}"
        raise RecordingError(path, reason)
    try:
        return Header.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordingError(path, f"header {at}: {where}: {first['msg']}") from None


class _Versioned(msgspec.Struct):
    schema_version: int


def _read_line(path: Path, file: BinaryIO) -> bytes:
    try:
        return file.readline(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise RecordingError(path, f"cannot be read at byte {len(MAGIC)} ({error.strerror})") from error


def _frame(path: Path, file: BinaryIO, at: int, *, accept_cut: bool) -> bytes | None:
    """The frame's MessagePack, or None at the end of the file."""
    prefix = _read(path, file, _LENGTH_BYTES)
    if not prefix:
        return None
    length = int.from_bytes(prefix, "little")
    if len(prefix) == _LENGTH_BYTES:
        if length > MAX_FRAME_BYTES:
            reason = f"frame at byte {at} claims {length} bytes; at most {MAX_FRAME_BYTES} are allowed"
            raise RecordingError(path, reason)
        frame = _read(path, file, length)
        if len(frame) == length:
            return frame
    if accept_cut:
        return None
    raise RecordingError(path, f"frame at byte {at} is cut off by the file's end; all before it is whole")


def _message(path: Path, frame: bytes, at: int) -> Message:
    try:
        arrival_s, topic, payload = _decoder.decode(frame)
    except ValueError as error:
        raise RecordingError(path, f"frame at byte {at} is not to be understood ({error})") from None
    if problem := _problem(arrival_s, topic):
        raise RecordingError(path, f"frame at byte {at}: {problem}")
    return Message(arrival_s, topic, payload)


def _problem(arrival_s: float, topic: str) -> str | None:
    # Written so that NaN fails as well.
    if not 0.0 <= arrival_s <= LATEST_ARRIVAL_S:
        return f"arrival {arrival_s!r} is no UTC time in seconds"
    if not _TOPIC.fullmatch(topic):
        return f"topic of {len(topic)} characters; 1 to 512 are allowed, none of them +, # or NUL"
    return None
