from __future__ import annotations

import numpy as np
import pytest

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, Write, fed, feed, one, started
from tests.ble.profiles.wire import xsens
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.xsens_dot import CONTROL, DATA, PROFILE, SETTINGS, parse

G = 9.80665
GOLDEN = bytes.fromhex(
    "40420f00"  # 1 000 000 microseconds
    "00000000 0ae89cc0 0ae81c41"  # acceleration: 0, -4.903325 and 9.80665 m/s2
    "0000b442 000036c2 00000000"  # angular rate: 90, -45.5 and 0 deg/s
)
SETTINGS_60_HZ = (
    bytes.fromhex("00 00 02 0a 00 1e 00 09")
    + b"Xsens DOT".ljust(16, b"\0")
    + bytes.fromhex("3c00 00 00 00 00 00 00")
)
START, STOP = bytes.fromhex("010115"), bytes.fromhex("010015")


def a_link(*, takes_writes: bool = True) -> FakeLink:
    return FakeLink(values={SETTINGS: SETTINGS_60_HZ}, takes_writes=takes_writes)


def test_the_golden_payload_decodes_to_its_numbers() -> None:
    quantities = parse(GOLDEN)
    assert quantities.tick == 1_000_000
    np.testing.assert_allclose(quantities.acc_g, [[0, -0.5, 1]], rtol=1e-6)
    assert quantities.gyro_dps.tolist() == [[90, -45.5, 0]]


def test_what_stands_behind_the_angular_rate_is_left_alone() -> None:
    assert parse(GOLDEN + bytes(12)).tick == 1_000_000


async def test_a_session_starts_and_stops_the_measurement() -> None:
    link = a_link()
    session = await started(PROFILE, link=link)
    assert link.writes == [Write(CONTROL, STOP), Write(CONTROL, START)]
    await session.stop(link)
    assert link.writes[2:] == [Write(CONTROL, STOP)]


async def test_a_session_sets_another_rate_and_nothing_else() -> None:
    link = a_link()
    session = await started(PROFILE, {"sampling_rate_hz": 30}, link)
    (settings,) = link.written(SETTINGS)
    assert settings == b"\x04" + SETTINGS_60_HZ[1:24] + b"\x1e\x00" + SETTINGS_60_HZ[26:]
    assert session.traits.sampling_rate_hz == 30.0


async def test_a_device_that_keeps_its_rate_is_told_of() -> None:
    with pytest.raises(LinkError, match="stays at 60 Hz and does not take 120"):
        await started(PROFILE, {"sampling_rate_hz": 120}, a_link(takes_writes=False))


async def test_settings_of_another_length_are_not_understood() -> None:
    with pytest.raises(LinkError, match="31 bytes, not 32"):
        await started(PROFILE, link=FakeLink(values={SETTINGS: SETTINGS_60_HZ[:31]}))


async def test_the_microseconds_go_on_over_their_wrap() -> None:
    session = await started(PROFILE, link=a_link())
    times = [
        one(feed(session, xsens(2**32 - 25_000 + i * 16_667, (0, 0, G)), arrival_s=ARRIVAL_S + i / 60)).t_s[0]
        for i in range(4)
    ]
    np.testing.assert_allclose(np.diff(times), 0.016667, atol=1e-6)


async def test_a_silence_longer_than_the_wrap_is_as_long_as_the_arrivals_say() -> None:
    session = await started(PROFILE, link=a_link())
    first = one(feed(session, xsens(0, (0, 0, G))))
    away_s = 2.5 * 2**32 / 1e6
    second = one(feed(session, xsens(round(away_s * 1e6), (0, 0, G)), arrival_s=ARRIVAL_S + away_s + 0.3))
    assert second.t_s[0] - first.t_s[0] == pytest.approx(away_s, abs=1e-5)


async def test_loss_leaves_a_hole() -> None:
    session = await started(PROFILE, link=a_link())
    first = one(feed(session, xsens(0, (0, 0, G))))
    check_samples(first)
    second = one(feed(session, xsens(500_000, (0, 0, G)), arrival_s=ARRIVAL_S + 0.5))
    assert second.t_s[0] - first.t_s[0] == pytest.approx(0.5)


async def test_the_next_connection_goes_on_later_whatever_the_device_counts() -> None:
    before = one(feed(await started(PROFILE, link=a_link()), xsens(3_000_000_000, (0, 0, G))))
    session = await started(PROFILE, link=a_link())
    after = one(feed(session, xsens(0, (0, 0, G)), arrival_s=ARRIVAL_S + 8.0))
    assert after.t_s[0] - before.t_s[0] == pytest.approx(8.0)


async def test_a_time_that_runs_ahead_of_the_arrivals_is_refused_and_leaves_no_trace() -> None:
    session = await started(PROFILE, link=a_link())
    first = one(feed(session, xsens(0, (0, 0, G))))
    with pytest.raises(DecodeError, match="bad_time"):
        feed(session, xsens(700_000_000, (0, 0, G)), arrival_s=ARRIVAL_S + 0.01)
    second = one(feed(session, xsens(16_667, (0, 0, G)), arrival_s=ARRIVAL_S + 0.02))
    assert second.t_s[0] - first.t_s[0] == pytest.approx(0.016667, abs=1e-6)


async def test_a_clock_that_was_set_anew_is_believed_at_the_third_time() -> None:
    session = await started(PROFILE, link=a_link())
    first = one(feed(session, xsens(900_000_000, (0, 0, G))))
    later, refused = fed(session, [(2 + i / 60, xsens(i * 16_667, (0, 0, G))) for i in range(6)])
    assert [error.reason for error in refused] == ["bad_time"] * 2
    assert len(later) == 4
    assert later[0].t_s[0] - first.t_s[0] == pytest.approx(2 + 2 / 60, abs=1e-5)
    assert np.diff([batch.t_s[0] for batch in later]) == pytest.approx(0.016667, abs=1e-6)


@pytest.mark.parametrize("data", [b"", GOLDEN[:27], GOLDEN + bytes(13)])
async def test_other_lengths_are_refused(data: bytes) -> None:
    session = await started(PROFILE, link=a_link())
    with pytest.raises(DecodeError, match="malformed"):
        feed(session, data)


def test_a_rate_that_the_device_does_not_have_is_refused() -> None:
    with pytest.raises(OptionError, match="sampling_rate_hz"):
        PROFILE.session("d1", {"sampling_rate_hz": 50})


def test_it_is_recognised_by_both_its_names() -> None:
    for name in ("Xsens DOT", "Movella DOT"):
        assert PROFILE.matches(Advertisement("a", name, frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "DOT", frozenset(), -50))
    assert PROFILE.session("d1", {}).notify == (DATA,)
