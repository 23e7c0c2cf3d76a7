from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, fed, feed, one
from tests.ble.profiles.wire import floats, movesense, movesense_parts
from tests.decode.payloads import check_samples
from vskd_stream.errors import DecodeError, LinkError, OptionError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Session
from vskd_stream.sources.ble.profiles import movesense as profile
from vskd_stream.sources.ble.profiles.movesense import COMMAND, DATA, PROFILE, SERVICE, parse, unit_of

G = 9.80665
GOLDEN_ACC = bytes.fromhex(
    "02 01"  # a measurement of subscription 1
    "e8030000"  # 1000 ms
    "00000000 0ae89cc0 0ae81c41"  # 0, -4.903325 and 9.80665 m/s2
    "00000000 00000000 0ae81c41"  # 0, 0 and 9.80665 m/s2
)
GOLDEN_IMU6 = bytes.fromhex(
    "02 01"  # a measurement of subscription 1
    "e8030000"  # 1000 ms
    "00000000 00000000 0ae81c41"  # first acceleration: 0, 0 and 9.80665 m/s2
    "0ae81c41 00000000 00000000"  # second acceleration: 9.80665, 0 and 0 m/s2
    "0000b442 000036c2 00000000"  # first angular rate: 90, -45.5 and 0 deg/s
    "00000000 0000803f 00000040"  # second angular rate: 0, 1 and 2 deg/s
)
OK = bytes.fromhex("0101 c800")
MPS2: dict[str, object] = {"unit": "m/s2"}
IMU6: dict[str, object] = {"unit": "m/s2", "gyro": True}


class Sensor(FakeLink):
    """Answers to a subscription, if it answers at all."""

    def __init__(
        self, answer: Callable[[int], bytes] | None = lambda reference: bytes([1, reference, 200, 0])
    ):
        super().__init__()
        self.answer = answer
        self.session: Session | None = None
        self.on_write = self._answer

    def _answer(self, uuid: str, data: bytes) -> None:
        if data[0] == 1 and self.answer is not None and self.session is not None:
            self.session.decode(DATA, self.answer(data[1]), arrival_s=ARRIVAL_S)


async def begun(options: Mapping[str, object] | None = None, sensor: Sensor | None = None) -> Session:
    sensor = sensor or Sensor()
    sensor.session = session = PROFILE.session("d1", options or MPS2)
    await session.start(sensor)
    return session


def packet(i: int, *, samples: int = 4, one_g: float = G, rate_hz: float = 52.0) -> bytes:
    """The i-th of a stream of packets whose x counts samples in thousandths of g."""
    tick_ms = 5000 + round(1000 * i * samples / rate_hz)
    acc = [((i * samples + k) / 1000 * one_g, 0.0, one_g) for k in range(samples)]
    return movesense(tick_ms, acc)


def streamed(session: Session, packets: list[bytes]) -> list[Samples]:
    """What comes of packets that arrive when they are due."""
    found, refused = fed(session, [(i * 4 / 52, data) for i, data in enumerate(packets)])
    assert refused == []
    return found


def x_of(batches: list[Samples]) -> list[int]:
    return [round(float(x) * 1000) for samples in batches for x in samples.acc_g[:, 0]]


def test_the_golden_measurement_decodes_to_its_numbers() -> None:
    measurement = parse(GOLDEN_ACC[2:], gyro=False)
    assert measurement.tick_ms == 1000
    np.testing.assert_allclose(measurement.acc, [[0, -G / 2, G], [0, 0, G]], rtol=1e-6)
    assert measurement.gyro_dps is None


def test_accelerations_come_before_angular_rates() -> None:
    measurement = parse(GOLDEN_IMU6[2:], gyro=True)
    np.testing.assert_allclose(measurement.acc, [[0, 0, G], [G, 0, 0]], rtol=1e-6)
    assert measurement.gyro_dps is not None
    assert measurement.gyro_dps.tolist() == [[90, -45.5, 0], [0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (MPS2, b"/Meas/Acc/52\0"),
        ({"sampling_rate_hz": 104}, b"/Meas/Acc/104\0"),
        (IMU6, b"/Meas/IMU6/52\0"),
    ],
)
async def test_a_session_subscribes_and_ends_its_subscription(
    options: dict[str, object], path: bytes
) -> None:
    sensor = Sensor()
    session = await begun(options, sensor)
    assert sensor.written(COMMAND) == [b"\x01\x01" + path]
    await session.stop(sensor)
    assert sensor.written(COMMAND)[1:] == [b"\x02\x01"]


async def test_a_second_start_leaves_the_first_subscription_behind() -> None:
    sensor = Sensor()
    session = await begun(MPS2, sensor)
    await session.start(sensor)
    assert sensor.written(COMMAND)[1:] == [b"\x02\x01", b"\x01\x02/Meas/Acc/52\0"]
    with pytest.raises(DecodeError, match="not of ours"):
        feed(session, GOLDEN_ACC)


async def test_a_session_never_started_has_nothing_to_stop() -> None:
    sensor = Sensor()
    await PROFILE.session("d1", {}).stop(sensor)
    assert sensor.writes == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("9401", "no such measurement"),  # 404
        ("ad01", "out of requests"),  # 429
        ("fb01", "all its subscriptions are taken"),  # 507
        ("01fb", "all its subscriptions are taken"),  # 507, as the first firmwares send it
        ("f401", "status 500"),
    ],
)
async def test_a_refused_subscription_is_told(answer: str, words: str) -> None:
    sensor = Sensor(lambda reference: bytes([1, reference]) + bytes.fromhex(answer))
    with pytest.raises(LinkError, match=words):
        await begun(MPS2, sensor)


async def test_a_firmware_that_only_sends_has_answered() -> None:
    await begun(MPS2, Sensor(lambda reference: movesense(0, [(0, 0, G)], reference=reference)))


async def test_a_sensor_without_the_application_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_ANSWER_S", 0.01)
    with pytest.raises(LinkError, match="has it the GATT SensorData application"):
        await begun(MPS2, Sensor(None))


async def test_packets_are_dated_by_their_first_sample() -> None:
    batches = streamed(await begun(), [packet(i) for i in range(20)])
    for samples in batches:
        check_samples(samples)
    assert x_of(batches) == list(range(80))
    t_s = np.concatenate([samples.t_s for samples in batches])
    assert t_s[0] == 65.0
    np.testing.assert_allclose(t_s, 65.0 + np.arange(80) / 52, atol=0.002)


async def test_a_lost_packet_leaves_a_hole() -> None:
    session = await begun()
    batches = streamed(session, [packet(i) for i in range(10)]) + streamed(
        session, [packet(i) for i in range(15, 20)]
    )
    t_s = np.concatenate([samples.t_s for samples in batches])
    np.testing.assert_allclose(t_s[40:], 65.0 + np.arange(60, 80) / 52, atol=0.002)


async def test_parts_are_joined() -> None:
    session = await begun(IMU6)
    first, second = movesense_parts(GOLDEN_IMU6, 30)
    assert feed(session, first) == []
    samples = one(feed(session, second))
    check_samples(samples)
    np.testing.assert_allclose(samples.acc_g, [[0, 0, 1], [1, 0, 0]], rtol=1e-6)
    assert samples.gyro_dps is not None
    assert samples.gyro_dps.tolist() == [[90, -45.5, 0], [0, 1, 2]]


@pytest.mark.parametrize("cut", [30, 54, 78])
async def test_a_first_part_that_looks_whole_is_held_until_its_second(cut: int) -> None:
    session = await begun({"unit": "m/s2"})
    found = []
    for i in range(10):
        for part in movesense_parts(packet(i, samples=8), cut):
            found += feed(session, part, arrival_s=ARRIVAL_S + i * 8 / 52)
    assert x_of(found) == list(range(80))


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 9, 10])
async def test_a_lost_part_costs_its_measurement_alone(lost: int) -> None:
    session = await begun()
    parts = [(i * 8 / 52, part) for i in range(12) for part in movesense_parts(packet(i, samples=8), 6 + 48)]
    del parts[lost]
    found, refused = fed(session, parts)
    assert [error.reason for error in refused] == ["malformed"]
    assert x_of(found) == [x for x in range(96) if x // 8 != lost // 2]


async def test_a_whole_first_measurement_is_told_by_the_time_of_the_next() -> None:
    session = await begun()
    assert feed(session, packet(0)) == []
    assert x_of(feed(session, packet(1), arrival_s=ARRIVAL_S + 0.077)) == list(range(8))
    assert x_of(feed(session, packet(2), arrival_s=ARRIVAL_S + 0.154)) == list(range(8, 12))


@pytest.mark.parametrize(("unit", "one_g"), [("m/s2", G), ("mg", 1000.0)])
async def test_the_unit_is_told_from_the_first_samples(unit: str, one_g: float) -> None:
    session = await begun({"unit": "auto"})
    found = []
    for i in range(20):
        batches = feed(session, packet(i, one_g=one_g), arrival_s=ARRIVAL_S + i * 4 / 52)
        # Nothing comes at first, and then all of it.
        assert bool(batches) == (i >= 3), i
        found += batches
    assert x_of(found) == list(range(80))
    assert np.concatenate([samples.acc_g[:, 2] for samples in found]) == pytest.approx(1.0)


@pytest.mark.parametrize("one_g", [1.0, 3.0, 30.0, 300.0, 3000.0])
async def test_a_unit_that_cannot_be_told_is_refused_again_and_again(one_g: float) -> None:
    session = await begun({"unit": "auto"})
    found, refused = fed(session, [(i * 4 / 52, packet(i, one_g=one_g)) for i in range(70)])
    assert found == []
    assert [error.reason for error in refused] == ["unknown_unit"] * 17
    assert "set the option unit" in refused[0].detail


async def test_a_unit_told_from_a_fall_is_told_again() -> None:
    session = await begun({"unit": "auto"})
    falling = [(i * 4 / 52, packet(i, one_g=12.0)) for i in range(4)]
    found, _ = fed(session, falling)
    assert len(found) == 4
    found, refused = fed(session, [(i * 4 / 52, packet(i, one_g=1000.0)) for i in range(4, 20)])
    assert [error.reason for error in refused] == ["out_of_range"]
    assert np.concatenate([samples.acc_g[:, 2] for samples in found]) == pytest.approx(1.0)


@pytest.mark.parametrize("unit", ["m/s2", "mg"])
def test_the_unit_is_told_while_the_wearer_moves(unit: str) -> None:
    generator = np.random.default_rng(5)
    one_g = {"m/s2": G, "mg": 1000.0}[unit]
    for _ in range(200):
        walking = np.array([0, 0, one_g]) + generator.normal(0, 0.4 * one_g, (52, 3))
        assert unit_of(walking) == unit


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"\x02", "malformed"),
        (b"\x02\x01", "malformed"),
        (b"\x02\x01\0\0\0\0", "malformed"),
        (GOLDEN_ACC[:-1], "malformed"),
        (b"\x03\x01\0\0\0\0", "malformed"),
        (b"\x01\x01\xc8", "malformed"),
        (b"\x02\x09" + GOLDEN_ACC[2:], "unrecognised"),
        (b"\x04\x01" + GOLDEN_ACC[2:], "unrecognised"),
        (b"\x02\x01\0\0\0\0" + floats(0, float("nan"), 0), "not_finite"),
        (b"\x02\x01\0\0\0\0" + floats(0, 1e6, 0), "out_of_range"),
        (b"\x02\x01\0\0\0\0" + bytes.fromhex("0100807f").ljust(12, b"\0"), "not_finite"),
    ],
)
async def test_what_is_no_measurement_is_refused(data: bytes, reason: str) -> None:
    # Twice: whether a measurement is whole shows only when the next one comes.
    good = [movesense(20, [(0, 0, G)]), movesense(40, [(0, 0, G)])]
    _, refused = fed(await begun(), [(0.0, data), (0.02, good[0]), (0.03, data), (0.04, good[1])])
    assert reason in {error.reason for error in refused}


@pytest.mark.parametrize("options", [{"sampling_rate_hz": 50}, {"gyro": "yes"}, {"unit": "g"}, {"rate": 52}])
def test_options_that_the_sensor_does_not_take_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        PROFILE.session("d1", options)


def test_it_is_recognised_by_name_or_service() -> None:
    assert PROFILE.matches(Advertisement("a", "Movesense 174630000192", frozenset(), -50))
    assert PROFILE.matches(Advertisement("a", "", frozenset({SERVICE}), -50))
    assert not PROFILE.matches(Advertisement("a", "Polar", frozenset(), -50))


async def test_answers_nobody_waits_for_do_not_pile_up() -> None:
    session = await begun()
    for _ in range(1000):
        assert feed(session, OK) == []
    await asyncio.sleep(0)
