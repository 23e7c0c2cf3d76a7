from __future__ import annotations

import pytest

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, Write, feed, one, started
from tests.ble.profiles.wire import microbit
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.microbit import DATA, PERIOD, PROFILE, parse

GOLDEN = bytes.fromhex(
    "0000"  # x: 0
    "0002"  # y: 512, half of 1 g, pulled towards the edge connector's opposite
    "00fc"  # z: -1024, 1 g: the board lies on its back, face up
)


def test_the_golden_sample_is_in_g_and_upward() -> None:
    assert parse(GOLDEN).tolist() == [[0.0, -0.5, 1.0]]


@pytest.mark.parametrize(
    ("raw", "acc_g"),
    [
        ((0, 0, -1024), [0, 0, 1]),  # face up
        ((0, 0, 1024), [0, 0, -1]),  # face down
        ((1024, 0, 0), [-1, 0, 0]),  # tilted to the right: its left side is up
        ((0, -1024, 0), [0, 1, 0]),  # upright, the logo above
        ((2047, -2048, 0), [-2047 / 1024, 2, 0]),  # full scale
    ],
)
def test_each_posture_reads_one_g_along_the_axis_that_points_up(
    raw: tuple[int, int, int], acc_g: list[float]
) -> None:
    assert parse(microbit(*raw)).tolist() == [acc_g]


async def test_a_session_writes_the_period_and_goes_by_the_one_that_is_kept() -> None:
    link = FakeLink(values={PERIOD: bytes.fromhex("5000")}, takes_writes=False)
    session = await started(PROFILE, link=link)
    assert link.writes == [Write(PERIOD, bytes.fromhex("1400"))]
    assert session.traits.sampling_rate_hz == 12.5
    assert session.traits.clock == "counter"
    first, second = (one(feed(session, GOLDEN, arrival_s=ARRIVAL_S + i * 0.08)) for i in range(2))
    check_samples(first)
    assert first.sampling_rate_hz == 12.5
    assert second.t_s[0] - first.t_s[0] == pytest.approx(0.08)


async def test_the_default_is_50_hz() -> None:
    session = await started(PROFILE)
    assert session.traits.sampling_rate_hz == 50.0
    await session.stop(FakeLink())


@pytest.mark.parametrize("period_ms", [0, 1, 2, 3, 21, 640, -20, "20", True])
def test_a_period_that_crashes_the_board_or_is_none_of_its_own_is_never_written(period_ms: object) -> None:
    with pytest.raises(OptionError, match="period_ms"):
        PROFILE.session("d1", {"period_ms": period_ms})


@pytest.mark.parametrize("answer", ["", "00", "0000", "8102", "ffff", "140000"])
async def test_a_period_that_cannot_be_is_not_believed(answer: str) -> None:
    link = FakeLink(values={PERIOD: bytes.fromhex(answer)}, takes_writes=False)
    with pytest.raises(LinkError, match="period"):
        await started(PROFILE, link=link)


async def test_samples_before_the_period_is_agreed_on_are_left_out() -> None:
    session = PROFILE.session("d1", {})
    assert feed(session, GOLDEN) == []


@pytest.mark.parametrize("data", [b"", GOLDEN[:5], GOLDEN + b"\0", GOLDEN * 2])
async def test_other_lengths_are_refused(data: bytes) -> None:
    session = await started(PROFILE)
    with pytest.raises(DecodeError, match="malformed"):
        feed(session, data)


def test_it_is_recognised_by_its_name() -> None:
    assert PROFILE.matches(Advertisement("a", "BBC micro:bit [zutap]", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "micro", frozenset(), -50))
    assert PROFILE.session("d1", {}).notify == (DATA,)
