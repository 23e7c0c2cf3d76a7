from __future__ import annotations

import numpy as np
import pytest

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, Write, feed, one, started
from tests.ble.profiles.wire import floats
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.adafruit import PERIOD, PROFILE, SERVICE, parse

GOLDEN = bytes.fromhex(
    "00000000"  # x: 0.0
    "0ae89c c0".replace(" ", "")  # y: -4.903325 m/s2, half of 1 g
    + "0ae81c41"  # z: 9.80665 m/s2, 1 g
)


def test_the_golden_sample_is_in_g() -> None:
    np.testing.assert_allclose(parse(GOLDEN), [[0, -0.5, 1]], rtol=1e-6)


async def test_a_session_sets_the_period_of_its_own_service_and_goes_by_what_is_kept() -> None:
    link = FakeLink(values={PERIOD: bytes.fromhex("28000000")}, takes_writes=False)
    session = await started(PROFILE, link=link)
    assert PERIOD.startswith(f"{SERVICE}/")
    assert link.writes == [Write(PERIOD, bytes.fromhex("14000000"))]
    assert session.traits.sampling_rate_hz == 25.0
    first, second = (one(feed(session, GOLDEN, arrival_s=ARRIVAL_S + i * 0.04)) for i in range(2))
    check_samples(first)
    np.testing.assert_allclose(first.acc_g, [[0, -0.5, 1]], rtol=1e-6)
    assert second.t_s[0] - first.t_s[0] == pytest.approx(0.04)


async def test_stopping_stops_the_measurement() -> None:
    session = await started(PROFILE)
    link = FakeLink()
    await session.stop(link)
    assert link.writes == [Write(PERIOD, bytes.fromhex("ffffffff"))]


@pytest.mark.parametrize("answer", ["", "00000000", "ffffffff", "e9030000", "1400"])
async def test_a_period_that_cannot_be_is_not_believed(answer: str) -> None:
    with pytest.raises(LinkError, match="period"):
        await started(PROFILE, link=FakeLink(values={PERIOD: bytes.fromhex(answer)}, takes_writes=False))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (GOLDEN[:11], "malformed"),
        (GOLDEN + b"\0", "malformed"),
        (floats(float("nan"), 0, 0), "not_finite"),
        (bytes.fromhex("010080 7f").ljust(12, b"\0"), "not_finite"),  # a signalling NaN
        (floats(0, float("-inf"), 0), "not_finite"),
        (floats(0, 0, 1e30), "out_of_range"),
    ],
)
async def test_what_is_no_acceleration_is_refused(data: bytes, reason: str) -> None:
    session = await started(PROFILE)
    with pytest.raises(DecodeError) as caught:
        feed(session, data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "options", [{"period_ms": 0}, {"period_ms": -1}, {"period_ms": 1001}, {"range_g": 0.5}, {"x": 1}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        PROFILE.session("d1", options)


def test_it_is_recognised_by_its_service() -> None:
    assert PROFILE.matches(Advertisement("a", "", frozenset({SERVICE}), -50))
    assert not PROFILE.matches(Advertisement("a", "CLUE", frozenset(), -50))
