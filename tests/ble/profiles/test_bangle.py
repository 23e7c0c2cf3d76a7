from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, fed, feed, one
from tests.ble.profiles.wire import bangle, bangle_greeting
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Session
from vskd_stream.sources.ble.profiles import bangle as profile
from vskd_stream.sources.ble.profiles.bangle import (
    CHUNK_BYTES,
    MAX_BYTES_PER_S,
    MAX_NOTIFICATION_BYTES,
    NOTIFY,
    PROFILE,
    WRITE,
    Frame,
    Greeting,
    Reader,
    program,
)

GOLDEN = bytes.fromhex(
    "b556"  # sync
    "02"  # two samples
    "01"  # version of the program
    "0700"  # frame 7
    "f605"  # sum of all other bytes: 1526
    "e8030000"  # 1000 ms at the last sample
    "0000 0010 00f8"  # 0, 4096 and -2048 of 4096 to the g, on the axes of the screen
    "ff7f 0080 00f0"  # 32767, -32768 and -4096
)
GREETING = bytes.fromhex(
    "b556 00 01"  # sync, no samples, version
    "0800"  # +- 8 g
    "2702"  # sum: 551
    "50c30000"  # 50 000 mHz
)
RATES = [12.5, 25.0, 50.0, 100.0]
BANNER = b"\r\n ____                 _ \r\n|  __|___ ___ ___ _ _|_|___ ___ \r\n>"
NODE = shutil.which("node")
WATCH = Path(__file__).with_name("watch.js")


@pytest.fixture(autouse=True)
def _an_impatient_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_RESET_S", 0.0)
    monkeypatch.setattr(profile, "_GREETING_S", 0.05)


class Watch(FakeLink):
    """Answers to a program as a watch would, prompt included."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self.answers = answers or (BANNER, bangle_greeting())
        self.session: Session | None = None
        self.lines: list[bytes] = []
        self._line = b""
        self.on_write = self._type

    def _type(self, uuid: str, data: bytes) -> None:
        assert uuid == WRITE
        self._line += data
        if self._line.endswith(b"\n"):
            self.lines.append(self._line)
            self._line = b""
            if b"if(1)" in self.lines[-1] and self.session is not None:
                for answer in self.answers:
                    self.session.decode(NOTIFY, answer, arrival_s=ARRIVAL_S)


async def begun(watch: Watch | None = None, **options: object) -> Session:
    watch = watch or Watch()
    watch.session = session = PROFILE.session("d1", options)
    await session.start(watch)
    return session


def frames(count: int, *, first: int = 0, samples: int = 10, period_ms: float = 20.0) -> list[bytes]:
    """A stream whose x counts samples in 4096ths of g."""
    return [
        bangle(
            number,
            round(100_000 + ((number + 1) * samples - 1) * period_ms),
            [(number * samples + k, 0, -4096) for k in range(samples)],
        )
        for number in range(first, first + count)
    ]


def streamed(session: Session, notifications: list[bytes], *, late_s: float = 0.0) -> list[Samples]:
    """What comes of frames that arrive when they are due."""
    found, refused = fed(session, [(late_s + 0.2 * i, data) for i, data in enumerate(notifications)])
    assert refused == []
    return found


def x_of(batches: list[Samples]) -> list[int]:
    return [round(float(x) * 4096) for samples in batches for x in samples.acc_g[:, 0]]


def test_the_golden_frame_decodes_to_its_numbers() -> None:
    (frame,) = Reader().push(GOLDEN)
    assert isinstance(frame, Frame)
    assert (frame.number, frame.tick_ms) == (7, 1000)
    assert frame.acc_g.tolist() == [[0, -1, 0.5], [32767 / 4096, 8, 1]]


def test_the_golden_greeting_tells_rate_and_range() -> None:
    assert Reader().push(GREETING) == [Greeting(range_g=8, rate_hz=50.0)]
    assert bangle_greeting() == GREETING


def test_a_watch_on_its_back_reads_one_g_out_of_its_face() -> None:
    # The firmware says z = -1 then: its axis points into the watch.
    (frame,) = Reader().push(bangle(0, 0, [(0, 0, -4096)]))
    assert isinstance(frame, Frame)
    assert frame.acc_g.tolist() == [[0, 0, 1]]


@given(cuts=st.lists(st.integers(0, 300), max_size=12), printed=st.binary(max_size=10))
def test_frames_are_found_however_the_stream_is_cut_and_whatever_is_printed(
    cuts: list[int], printed: bytes
) -> None:
    printed = printed.replace(b"\xb5", b"?")
    stream = printed + printed.join(frames(3))
    reader = Reader()
    found = []
    places = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(places):
        found += reader.push(stream[start:end])
    assert [frame.number for frame in found if isinstance(frame, Frame)] == [0, 1, 2]
    assert reader.damaged == 0


@given(st.data())
def test_a_lost_piece_costs_no_other_frame(data: st.DataObject) -> None:
    stream = b"".join(frames(6))
    size = len(stream) // 6
    start = data.draw(st.integers(size, 2 * size))
    end = data.draw(st.integers(start + 1, 3 * size))
    reader = Reader()
    found = reader.push(stream[:start]) + reader.push(stream[end:])
    numbers = {frame.number for frame in found if isinstance(frame, Frame)}
    assert {0, 4, 5} <= numbers


async def test_a_session_clears_the_watch_sends_the_program_and_waits_for_its_greeting() -> None:
    watch = Watch()
    session = await begun(watch)
    assert watch.lines == [b"\x03\x10reset();\n", program(50.0)]
    assert all(len(write.data) <= CHUNK_BYTES for write in watch.writes)
    responses = [write.response for write in watch.writes[1:]]
    assert responses[3::4] == [True] * len(responses[3::4])
    assert responses[-1]
    assert sum(responses) < len(responses) / 3
    traits = session.traits
    assert (traits.sampling_rate_hz, traits.range_g, traits.clock, traits.note) == (50.0, 8.0, "device", "")


async def test_stopping_ends_the_program_and_brings_back_the_clock() -> None:
    watch = Watch()
    session = await begun(watch)
    await session.stop(watch)
    assert watch.lines[-1] == b"\x03\x10global.vskdStop&&vskdStop();load();\n"
    assert streamed(session, frames(1)) == []


async def test_a_watch_with_another_sensor_says_so() -> None:
    session = await begun(Watch(bangle_greeting(rate_hz=12.5, range_g=4)))
    assert (session.traits.sampling_rate_hz, session.traits.range_g) == (12.5, 4.0)


async def test_what_the_watch_printed_instead_of_a_greeting_is_told() -> None:
    answer = b'Uncaught ReferenceError: "Bangle" is not defined\r\n at line 1\x1b[J col 2\r\n>'
    with pytest.raises(LinkError, match='Uncaught ReferenceError: "Bangle" is not defined'):
        await begun(Watch(answer))


async def test_a_rate_that_nobody_asked_for_is_not_believed() -> None:
    with pytest.raises(LinkError, match="streams at 4e\\+06 Hz"):
        await begun(Watch(bangle(8, 4_000_000_000, [])))


async def test_frames_of_an_earlier_program_are_left_out() -> None:
    session = await begun(Watch(*frames(2), bangle_greeting()))
    assert x_of(streamed(session, frames(1))) == list(range(10))


async def test_samples_are_dated_by_the_watch() -> None:
    batches = streamed(await begun(), frames(20))
    for samples in batches:
        check_samples(samples)
    assert x_of(batches) == list(range(200))
    t_s = np.concatenate([samples.t_s for samples in batches])
    np.testing.assert_allclose(t_s, 160.0 + np.arange(200) * 0.02, atol=1e-6)
    assert np.concatenate([samples.acc_g for samples in batches])[:, 2] == pytest.approx(1.0)


async def test_a_sensor_that_is_a_little_fast_keeps_its_own_pace() -> None:
    t_s = np.concatenate([samples.t_s for samples in streamed(await begun(), frames(20, period_ms=18.5))])
    np.testing.assert_allclose(t_s[10:], 160.0 + np.arange(10, 200) * 0.0185, atol=0.001)


async def test_lost_frames_leave_a_hole_of_their_length() -> None:
    stream = frames(20)
    del stream[7:10]
    batches = streamed(await begun(), stream)
    t_s = np.concatenate([samples.t_s for samples in batches])
    np.testing.assert_allclose(t_s, 160.0 + np.r_[0:70, 100:200] * 0.02, atol=1e-6)


async def test_a_repeated_frame_keeps_its_times() -> None:
    session = await begun()
    (first,), (second,) = streamed(session, frames(1)), streamed(session, frames(1))
    assert second.t_s.tolist() == first.t_s.tolist()
    following = one(streamed(session, frames(1, first=1), late_s=0.2))
    assert following.t_s[0] - first.t_s[-1] == pytest.approx(0.02)


async def test_number_and_time_go_on_over_their_wraps() -> None:
    session = await begun()
    wrapping = [
        bangle(65_535 + i, 2**32 - 100 + 200 * i, [(i * 10 + k, 0, -4096) for k in range(10)])
        for i in range(3)
    ]
    t_s = np.concatenate([samples.t_s for samples in streamed(session, wrapping)])
    np.testing.assert_allclose(np.diff(t_s), 0.02, atol=1e-6)


async def test_a_damaged_frame_is_refused_and_counted() -> None:
    session = await begun()
    first, second = frames(2)
    broken = first[:40] + bytes([first[40] ^ 1]) + first[41:]
    with pytest.raises(DecodeError, match="malformed"):
        feed(session, broken)
    (samples,) = feed(session, broken + second)
    assert samples.discarded == 10
    with pytest.raises(DecodeError, match="too_large"):
        feed(session, bytes(5000))


async def test_what_the_prompt_prints_is_no_error() -> None:
    session = await begun()
    assert feed(session, BANNER) == []
    assert feed(session, b"\xb5") == []
    assert x_of(feed(session, frames(1)[0])) == list(range(10))


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_program_is_one_line_of_ascii(rate_hz: float) -> None:
    line = program(rate_hz)
    assert line.startswith(b"\x03\x10if(1){")
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert b"$" not in line
    assert b"//" not in line
    assert len(line) < 1500


@pytest.mark.parametrize("rate_hz", RATES)
def test_frames_fit_a_notification_and_the_watchs_throughput(rate_hz: float) -> None:
    samples = profile._PACES[rate_hz].samples
    size = len(bangle(0, 0, [(0, 0, 0)] * samples))
    assert size <= MAX_NOTIFICATION_BYTES
    assert size * rate_hz / samples < MAX_BYTES_PER_S / 2
    assert samples / rate_hz <= 0.25


@pytest.mark.parametrize("options", [{"sampling_rate_hz": 60}, {"sampling_rate_hz": "50"}, {"rate": 50}])
def test_options_that_the_watch_does_not_take_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        PROFILE.session("d1", options)


def test_it_is_recognised_by_its_name() -> None:
    assert PROFILE.matches(Advertisement("a", "Bangle.js 2a4f", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "Puck.js 2a4f", frozenset(), -50))


def run_on_a_watch(line: bytes, *, sensor: int, commands: str = "") -> tuple[list[bytes], list[list[object]]]:
    """Run a program where a small stand-in for the watch's objects is; what it sent, and what it set."""
    if NODE is None:
        pytest.skip("node is not here: it runs the watch's program")
    source = json.dumps(
        {"line": line.decode("ascii").lstrip("\x03\x10"), "sensor": sensor, "commands": commands}
    )
    done = subprocess.run([NODE, WATCH], input=source, capture_output=True, text=True, timeout=30, check=True)
    told = json.loads(done.stdout)
    return [bytes.fromhex(each) for each in told["sent"]], told["calls"]


@pytest.mark.parametrize("rate_hz", RATES)
async def test_the_program_streams_what_the_sensor_measures(rate_hz: float) -> None:
    sent, calls = run_on_a_watch(program(rate_hz), sensor=0x15)
    session = await begun(Watch(sent[0]), sampling_rate_hz=rate_hz)
    assert session.traits.sampling_rate_hz == rate_hz
    assert session.traits.range_g == 8.0
    pace = profile._PACES[rate_hz]
    assert ["accelWr", 24, 0x74] in calls
    assert ["accelWr", 27, 0x40 | pace.code] in calls
    assert ["accelWr", 24, 0xF4] in calls
    assert ["setPollInterval", pace.poll_ms] in calls
    assert {len(frame) for frame in sent[1:]} == {12 + 6 * pace.samples}
    batches = streamed(session, sent[1:])
    # The stand-in measures (k, -k, 4096 - k) counts of 4096 to the g, on the axes of the screen.
    acc = np.concatenate([samples.acc_g for samples in batches]) * 4096
    k = np.arange(len(acc))
    assert len(acc) == 200 // pace.samples * pace.samples
    np.testing.assert_array_equal(acc, np.stack([k, k, k - 4096], axis=1))


async def test_the_program_leaves_a_sensor_alone_that_it_does_not_know() -> None:
    sent, calls = run_on_a_watch(program(50.0), sensor=0x35)
    session = await begun(Watch(sent[0]))
    assert (session.traits.sampling_rate_hz, session.traits.range_g) == (12.5, 4.0)
    assert not [call for call in calls if call[0] == "accelWr"]
    acc = np.concatenate([samples.acc_g for samples in streamed(session, sent[1:])]) * 4096
    np.testing.assert_array_equal(acc[:, 0], np.arange(len(acc)))


@pytest.mark.parametrize("end", ["disconnect", "vskdStop();load()"])
def test_the_program_restores_the_sensor_when_it_ends(end: str) -> None:
    _, calls = run_on_a_watch(program(50.0), sensor=0x15, commands=end)
    assert calls[-6:] == [
        ["accelWr", 24, 0x6C],
        ["accelWr", 27, 0],
        ["accelWr", 24, 0xEC],
        ["setPollInterval", 80],
        ["setOptions", {"powerSave": True}],
        ["load"],
    ]
