from __future__ import annotations

import pytest

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, feed, one, started
from tests.ble.profiles.wire import floats
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.arduino import DATA, PROFILE, SERVICE, parse

GOLDEN = bytes.fromhex(
    "00000000"  # x: 0.0 g
    "000000bf"  # y: -0.5 g
    "0000803f"  # z: 1.0 g
)
RATE = {"sampling_rate_hz": 100}


def test_the_golden_sample_is_in_g() -> None:
    assert parse(GOLDEN).tolist() == [[0, -0.5, 1]]


async def test_a_session_counts_at_the_rate_it_is_told() -> None:
    link = FakeLink()
    session = await started(PROFILE, RATE, link)
    assert link.writes == []
    first, second = (one(feed(session, GOLDEN, arrival_s=ARRIVAL_S + i * 0.01)) for i in range(2))
    check_samples(first)
    assert first.acc_g.tolist() == [[0, -0.5, 1]]
    assert second.t_s[0] - first.t_s[0] == pytest.approx(0.01)
    assert session.traits.range_g == 4.0
    await session.stop(link)


@pytest.mark.parametrize("options", [{}, {"sampling_rate_hz": 0.5}, {"sampling_rate_hz": float("nan")}])
def test_without_a_rate_that_can_be_there_is_no_session(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="sampling_rate_hz"):
        PROFILE.session("d1", options)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (GOLDEN[:8], "malformed"),
        (GOLDEN * 2, "malformed"),
        (floats(0, float("nan"), 0), "not_finite"),
        (floats(0, 0, 981.0), "out_of_range"),
    ],
)
async def test_what_is_no_acceleration_is_refused(data: bytes, reason: str) -> None:
    session = await started(PROFILE, RATE)
    with pytest.raises(DecodeError) as caught:
        feed(session, data)
    assert caught.value.reason == reason


def test_it_is_recognised_by_service_or_name() -> None:
    assert PROFILE.matches(Advertisement("a", "", frozenset({SERVICE}), -50))
    assert PROFILE.matches(Advertisement("a", "BLESense-4F2A", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "Arduino", frozenset(), -50))
    assert PROFILE.session("d1", RATE).notify == (DATA,)
