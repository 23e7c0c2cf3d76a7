from __future__ import annotations

import pytest

from tests.ble.profiles.links import FakeLink, Write, feed, one, started
from tests.ble.profiles.wire import thingy52
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.sources.ble.profile import Advertisement
from vskd_stream.sources.ble.profiles.thingy52 import ADVERTISED, CONFIG, PROFILE, RAW, parse

GOLDEN = bytes.fromhex(
    "0000 0002 00fc"  # acceleration: 0, 512 and -1024 of 1024 to the g, where gravity pulls
    "2000 c0ff 800c"  # angular rate: 32, -64 and 3200 of 32 to the degree per second
    "1000 0000 f0ff"  # magnetic field, which nobody needs here
)
TEN_HZ = bytes.fromhex(
    "e803"  # pedometer every 1000 ms
    "f401"  # temperature every 500 ms
    "f401"  # compass every 500 ms
    "0a00"  # motion at 10 Hz
    "01"  # wake on motion
)
FIFTY_HZ = TEN_HZ[:6] + bytes.fromhex("3200 01")


def link_with(config: bytes, *, takes_writes: bool = True) -> FakeLink:
    return FakeLink(values={CONFIG: config}, takes_writes=takes_writes)


def test_the_golden_sample_is_in_g_and_degrees_not_in_the_makers_units() -> None:
    motion = parse(GOLDEN)
    assert motion.acc_g.tolist() == [[0.0, -0.5, 1.0]]
    assert motion.gyro_dps.tolist() == [[1.0, -2.0, 100.0]]


def test_a_device_at_rest_reads_one_g_not_sixteen() -> None:
    assert parse(thingy52((0, 0, -1024))).acc_g.tolist() == [[0, 0, 1]]


async def test_a_session_sets_the_rate_alone() -> None:
    link = link_with(TEN_HZ)
    session = await started(PROFILE, link=link)
    assert link.writes == [Write(CONFIG, FIFTY_HZ)]
    assert session.traits.sampling_rate_hz == 50.0
    samples = one(feed(session, GOLDEN))
    check_samples(samples)
    assert samples.acc_g.tolist() == [[0, -0.5, 1]]
    assert samples.gyro_dps is not None
    assert samples.gyro_dps.tolist() == [[1, -2, 100]]


async def test_a_rate_that_is_set_already_is_not_written_to_flash_again() -> None:
    link = link_with(FIFTY_HZ)
    await started(PROFILE, link=link)
    assert link.writes == []


async def test_a_device_that_keeps_its_rate_is_told_of() -> None:
    with pytest.raises(LinkError, match="stays at 10 Hz and does not take 100"):
        await started(PROFILE, {"sampling_rate_hz": 100}, link_with(TEN_HZ, takes_writes=False))


async def test_a_configuration_of_another_length_is_not_understood() -> None:
    with pytest.raises(LinkError, match="8 bytes, not 9"):
        await started(PROFILE, link=link_with(TEN_HZ[:8]))


@pytest.mark.parametrize("rate_hz", [4, 201, 50.5, "50"])
def test_a_rate_that_the_device_does_not_take_is_refused(rate_hz: object) -> None:
    with pytest.raises(OptionError, match="sampling_rate_hz"):
        PROFILE.session("d1", {"sampling_rate_hz": rate_hz})


@pytest.mark.parametrize("data", [b"", GOLDEN[:17], GOLDEN + b"\0"])
async def test_other_lengths_are_refused(data: bytes) -> None:
    session = await started(PROFILE, link=link_with(FIFTY_HZ))
    with pytest.raises(DecodeError, match="malformed"):
        feed(session, data)


async def test_stopping_writes_nothing() -> None:
    session = await started(PROFILE, link=link_with(FIFTY_HZ))
    link = FakeLink()
    await session.stop(link)
    assert link.writes == []


def test_it_is_recognised_by_what_it_advertises() -> None:
    assert PROFILE.matches(Advertisement("a", "kitchen", frozenset({ADVERTISED}), -50))
    assert PROFILE.matches(Advertisement("a", "Thingy", frozenset(), -50))
    assert not PROFILE.matches(Advertisement("a", "Thing", frozenset(), -50))
    assert PROFILE.session("d1", {}).notify == (RAW,)
