from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, Write, feed, one, started, started_now
from tests.ble.profiles.wire import witmotion
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.witmotion import COMMAND, DATA, PROFILE, SERVICE, parse

GOLDEN = bytes.fromhex(
    "5561"  # head
    "0000 00fc 0008"  # acceleration: 0, -1024 and 2048 counts of 16 g / 32768
    "0040 00f0 0000"  # angular rate: 16384, -4096 and 0 counts of 2000 deg/s / 32768
    "0000 0000 0040"  # angles, which nobody needs here
)
REGISTER = bytes.fromhex("5571 3a00") + bytes(16)
"""The answer to somebody who asked for a register."""


def test_the_golden_frame_decodes_to_its_numbers() -> None:
    frames = parse(GOLDEN)
    assert frames.acc_g.tolist() == [[0, -0.5, 1]]
    assert frames.gyro_dps.tolist() == [[1000, -250, 0]]
    assert frames.skipped == 0
    assert frames.rest == b""


def test_the_services_uuids_are_the_makers_own() -> None:
    for uuid in (SERVICE, DATA, COMMAND):
        assert uuid.endswith("00805f9a34fb")


@pytest.mark.parametrize(("rate_hz", "code"), [(10, "06"), (50, "08"), (100, "09"), (200, "0b")])
async def test_a_session_unlocks_and_sets_the_rate_without_saving_it(rate_hz: int, code: str) -> None:
    link = FakeLink()
    session = await started(PROFILE, {"sampling_rate_hz": rate_hz}, link)
    assert link.writes == [
        Write(COMMAND, bytes.fromhex("ffaa6988b5"), response=False),
        Write(COMMAND, bytes.fromhex(f"ffaa03{code}00"), response=False),
    ]
    assert session.traits.sampling_rate_hz == rate_hz
    await session.stop(link)
    assert len(link.writes) == 2


async def test_several_frames_in_a_notification_are_as_many_samples() -> None:
    session = await started(PROFILE)
    samples = one(feed(session, b"".join(witmotion((0, 0, 2048 + i)) for i in range(5))))
    check_samples(samples)
    assert len(samples) == 5
    assert samples.t_s[-1] == pytest.approx(ARRIVAL_S)
    assert samples.t_s[0] == pytest.approx(ARRIVAL_S - 0.08)
    assert samples.gyro_dps is not None


async def test_a_register_between_frames_is_no_sample() -> None:
    session = await started(PROFILE)
    samples = one(feed(session, GOLDEN + REGISTER + GOLDEN))
    assert len(samples) == 2
    assert samples.discarded == 0
    assert feed(session, REGISTER) == []


async def test_after_a_lost_piece_the_next_frame_is_found() -> None:
    session = await started(PROFILE)
    assert feed(session, GOLDEN[:13]) == []
    samples = one(feed(session, GOLDEN + GOLDEN))
    assert samples.acc_g.tolist() == [[0, -0.5, 1]] * 2
    assert samples.discarded == 1


async def test_a_head_within_a_frame_does_not_begin_one() -> None:
    twisted = witmotion((0x6155, 0, 2048))
    samples = one(feed(await started(PROFILE), twisted + GOLDEN))
    assert len(samples) == 2
    assert samples.discarded == 0


@given(cuts=st.lists(st.integers(0, 100), max_size=8))
def test_frames_come_out_the_same_wherever_notifications_are_cut(cuts: list[int]) -> None:
    stream = b"".join(witmotion((i, -i, 2048 + 0x55)) for i in range(5))
    session = started_now(PROFILE)
    places = [0, *sorted(cuts), len(stream)]
    found = [
        row
        for start, end in pairwise(places)
        for samples in feed(session, stream[start:end])
        for row in (samples.acc_g * 2048).round().tolist()
    ]
    assert found == [[i, -i, 2048 + 0x55] for i in range(5)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * 40, "malformed"),
        (b"\x55" * 40, "malformed"),
        (GOLDEN[2:] + b"\x55", "malformed"),
        (bytes(5000), "too_large"),
    ],
)
async def test_what_holds_no_frame_is_refused(data: bytes, reason: str) -> None:
    session = await started(PROFILE)
    with pytest.raises(DecodeError) as caught:
        feed(session, data)
    assert caught.value.reason == reason


async def test_a_frame_of_nothing_but_zeros_is_no_sample() -> None:
    session = await started(PROFILE)
    assert feed(session, b"\x55\x61" + bytes(18)) == []


def test_a_rate_that_has_no_code_is_refused() -> None:
    with pytest.raises(OptionError, match="sampling_rate_hz"):
        PROFILE.session("d1", {"sampling_rate_hz": 25})


def test_it_is_recognised_by_service_or_name() -> None:
    assert PROFILE.matches(Advertisement("a", "", frozenset({SERVICE}), -50))
    assert PROFILE.matches(Advertisement("a", "WT901BLE67", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "WT", frozenset(), -50))
