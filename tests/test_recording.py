from __future__ import annotations

import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vskd_stream import recording
from vskd_stream.errors import RecordingError
from vskd_stream.recording import MAGIC, MAX_FRAME_BYTES, MAX_HEADER_BYTES, Header, Message, Recorder

HEADER = Header(created=datetime(2026, 3, 1, 12, 0, tzinfo=UTC), tool="test", gateway="gw-1", notes="ä\nb")
MESSAGES = [
    Message(1.7e9, "imu/left/samples", b""),
    Message(1.7e9, "imu/right/samples", b"\x00\xff\n"),
    Message(1.7e9 + 0.25, "imu/left/samples", bytes(range(256))),
]
HEAD = MAGIC + HEADER.model_dump_json().encode() + b"\n"


def frame(*values: object) -> bytes:
    body = msgspec.msgpack.encode(values)
    return struct.pack("<I", len(body)) + body


def until_error(path: Path) -> tuple[list[Message], str]:
    messages: list[Message] = []
    with pytest.raises(RecordingError) as caught:
        messages.extend(_appending(messages, recording.read(path)))
    return messages, caught.value.reason


def _appending(messages: list[Message], source: recording.Recording) -> list[Message]:
    for message in source:
        messages.append(message)  # noqa: PERF402 - what came before the error is wanted
    return []


def test_what_is_written_is_read_and_read_again(tmp_path: Path) -> None:
    recording.write(tmp_path / "a.vskdrec", HEADER, MESSAGES)
    source = recording.read(tmp_path / "a.vskdrec")
    assert source.header == HEADER
    assert list(source) == MESSAGES
    assert list(source) == MESSAGES


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    recording.write(tmp_path / "a.vskdrec", HEADER, MESSAGES[:1])
    body = b"\x93\xcb" + struct.pack(">d", 1.7e9) + b"\xb0imu/left/samples" + b"\xc4\x00"
    expected = HEAD + struct.pack("<I", len(body)) + body
    assert (tmp_path / "a.vskdrec").read_bytes() == expected


@given(
    st.lists(
        st.builds(
            Message,
            st.floats(0.0, recording.LATEST_ARRIVAL_S),
            st.text(st.characters(exclude_characters="+#\0", codec="utf-8"), min_size=1, max_size=512),
            st.binary(max_size=300),
        ),
        max_size=8,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_messages_survive(tmp_path_factory: pytest.TempPathFactory, messages: list[Message]) -> None:
    path = tmp_path_factory.mktemp("r") / "a.vskdrec"
    messages.sort(key=lambda message: message.arrival_s)
    recording.write(path, HEADER, messages)
    assert list(recording.read(path)) == messages


def test_cut_anywhere_all_whole_messages_are_read_and_the_cut_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    recording.write(path, HEADER, MESSAGES)
    whole = path.read_bytes()
    ends = [len(HEAD)]
    for message in MESSAGES:
        ends.append(ends[-1] + len(frame(message.arrival_s, message.topic, message.payload)))
    assert ends[-1] == len(whole)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length < len(HEAD):
            with pytest.raises(RecordingError, match=r"at byte (0|15)"):
                recording.read(path, accept_cut=True)
            continue
        count = sum(end <= length for end in ends) - 1
        assert list(recording.read(path, accept_cut=True)) == MESSAGES[:count]
        if length in ends:
            assert list(recording.read(path)) == MESSAGES[:count]
        else:
            messages, reason = until_error(path)
            assert messages == MESSAGES[:count]
            assert f"frame at byte {ends[count]} is cut off" in reason


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_after_the_header_is_refused_or_is_messages(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("r") / "a.vskdrec"
    path.write_bytes(HEAD + garbage)
    with suppress(RecordingError):
        list(recording.read(path))


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_wrong_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("r") / "a.vskdrec"
    recording.write(path, HEADER, MESSAGES)
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(data)
    with suppress(RecordingError):
        list(recording.read(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no recording: at byte 0"),
        (b"\x1f\x8b" * 100, "no recording: at byte 0"),
        (MAGIC + b"{" * MAX_HEADER_BYTES + b"\n", f"longer than {MAX_HEADER_BYTES} bytes"),
        (MAGIC + b'{"schema_version":1', "cut off after 19 bytes"),
        (MAGIC + b"[" * 60_000 + b"\n", "not to be understood"),
        (MAGIC + b"\xff\xfe\n", "not to be understood"),
        (MAGIC + b'{"schema_version":"1"}\n', "not to be understood"),
        (MAGIC + b'{"schema_version":2,"new":0}\n', "schema version 2; this program reads version 1"),
        (MAGIC + b'{"schema_version":1}\n', "created: Field required"),
        (MAGIC + b'{"schema_version":1,"created":"2026-03-01T12:00:00"}\n', "created: "),
        (MAGIC + b'{"schema_version":1,"created":"2026-03-01T12:00:00Z","x":1}\n', "x: Extra inputs"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:30],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.vskdrec"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        recording.read(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "at byte" in caught.value.reason


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        (struct.pack("<I", MAX_FRAME_BYTES + 1), f"claims {MAX_FRAME_BYTES + 1} bytes"),
        (struct.pack("<I", MAX_FRAME_BYTES), "cut off"),
        (struct.pack("<I", 0), "not to be understood"),
        (struct.pack("<I", 5) + b"\xdd\xff\xff\xff\xff", "not to be understood"),
        (frame(1.0, "a"), "not to be understood"),
        (frame(1.0, "a", b"", 0), "not to be understood"),
        (frame("1", "a", b""), "not to be understood"),
        (frame(1.0, "a", "text"), "not to be understood"),
        (struct.pack("<I", 7) + b"\x93\x01\xa1\xff\xc4\x00\x00", "not to be understood"),
        (frame(float("nan"), "a", b""), "arrival nan is no UTC time"),
        (frame(float("inf"), "a", b""), "arrival inf is no UTC time"),
        (frame(-1.0, "a", b""), "arrival -1.0 is no UTC time"),
        (frame(1.7e12, "a", b""), "arrival 1700000000000.0 is no UTC time in seconds"),
        (frame(1.7e9 - 1.0, "a", b""), "arrived before the one that precedes it"),
        (frame(1.8e9, "", b""), "topic of 0 characters"),
        (frame(1.8e9, "t" * 513, b""), "topic of 513 characters"),
        (frame(1.8e9, "imu/+/samples", b""), "topic of 13 characters"),
    ],
)
def test_a_hostile_frame_is_refused_where_it_stands_and_what_precedes_it_is_read(
    tmp_path: Path, hostile: bytes, expected: str
) -> None:
    path = tmp_path / "a.vskdrec"
    good = frame(1.7e9, "imu/left/samples", b"x")
    path.write_bytes(HEAD + good + hostile + good)
    if expected == "cut off":
        path.write_bytes(HEAD + good + hostile)
    messages, reason = until_error(path)
    assert messages == [Message(1.7e9, "imu/left/samples", b"x")]
    assert expected in reason
    assert f"at byte {len(HEAD) + len(good)}" in reason


def test_a_recording_is_readable_while_it_is_being_made(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    with Recorder(path, HEADER) as recorder:
        assert list(recording.read(path)) == []
        for count, message in enumerate(MESSAGES, start=1):
            recorder.append(message)
            assert list(recording.read(path)) == MESSAGES[:count]
    recorder.close()
    assert list(recording.read(path)) == MESSAGES


def test_an_existing_file_is_never_recorded_over(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match="exists already"):
        Recorder(path, HEADER)
    assert path.read_bytes() == b"precious"


def test_a_clock_that_is_set_back_never_makes_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    with Recorder(path, HEADER) as recorder:
        for arrival_s in (100.0, 90.0, 101.0):
            recorder.append(Message(arrival_s, "a", b""))
    assert [message.arrival_s for message in recording.read(path)] == [100.0, 100.0, 101.0]


@pytest.mark.parametrize(
    "message",
    [
        Message(float("nan"), "a", b""),
        Message(1.0, "", b""),
        Message(1.0, "a/#", b""),
        Message(1.0, "a", bytes(MAX_FRAME_BYTES)),
    ],
    ids=["arrival", "empty topic", "wildcard", "payload"],
)
def test_what_could_not_be_read_is_not_recorded(tmp_path: Path, message: Message) -> None:
    path = tmp_path / "a.vskdrec"
    with Recorder(path, HEADER) as recorder:
        recorder.append(MESSAGES[0])
        with pytest.raises(RecordingError, match="cannot be recorded"):
            recorder.append(message)
        recorder.append(MESSAGES[1])
    assert list(recording.read(path)) == MESSAGES[:2]


def test_a_whole_file_replaces_the_old_one_only_when_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    recording.write(path, HEADER, MESSAGES[:1])
    with pytest.raises(RecordingError):
        recording.write(path, HEADER, [MESSAGES[0], Message(1.0, "#", b"")])
    assert list(recording.read(path)) == MESSAGES[:1]
    recording.write(path, HEADER, MESSAGES)
    assert list(recording.read(path)) == MESSAGES
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Stands for a full disk: a write stops in the middle and then fails.

    Not a fixture: pytest tells of a test before it tears fixtures down, perhaps into a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_leaves_a_whole_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.vskdrec"
    with file_size_limit() as limit, Recorder(path, HEADER) as recorder:
        recorder.append(MESSAGES[0])
        limit(path.stat().st_size + 10)
        with pytest.raises(RecordingError, match="cannot be written"):
            recorder.append(MESSAGES[1])
        assert list(recording.read(path)) == MESSAGES[:1]
        limit(100_000)
        recorder.append(MESSAGES[2])
    assert list(recording.read(path)) == [MESSAGES[0], MESSAGES[2]]


def test_a_recording_that_cannot_be_begun_leaves_no_file(tmp_path: Path) -> None:
    with file_size_limit() as limit:
        limit(20)
        with pytest.raises(RecordingError, match="cannot be written"):
            Recorder(tmp_path / "a.vskdrec", HEADER)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"cannot be opened.*No such file"):
        recording.read(tmp_path / "none.vskdrec")
    with pytest.raises(RecordingError, match=r"cannot be opened.*[Dd]irectory"):
        recording.read(tmp_path)
    with pytest.raises(RecordingError, match="cannot be created"):
        Recorder(tmp_path / "none" / "a.vskdrec", HEADER)


def test_a_bare_name_is_a_shipped_recording_and_anything_else_a_path(tmp_path: Path) -> None:
    assert recording.resolve("demo") == recording.shipped()["demo"]
    assert recording.resolve("./demo", relative_to=tmp_path) == tmp_path / "demo"
    assert recording.resolve("a.vskdrec", relative_to=tmp_path) == tmp_path / "a.vskdrec"
    assert recording.resolve("/x/a.vskdrec", relative_to=tmp_path) == Path("/x/a.vskdrec")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecordingError, match=r"there is: .*demo"):
        recording.resolve("dmeo")
