from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decode.payloads import SENSOR_LOGGER, WRIST_MOTION, check_samples, encode, refused
from vskd_stream.decode import decode

G = 9.80665
START_NS = 1_698_501_144_000_000_000
START_S = 1_698_501_144.0


def reading(name: str, t_s: float, x: Any = 0.0, y: Any = 0.0, z: Any = 0.0) -> dict[str, Any]:
    return {"name": name, "time": START_NS + round(t_s * 1e9), "values": {"z": z, "y": y, "x": x}}


def wrist(t_s: float, *, gravity: Any = (0, 0, -1), **values: Any) -> dict[str, Any]:
    motion = {f"{quantity}{axis}": 0.0 for quantity in ("acceleration", "rotationRate") for axis in "XYZ"}
    motion |= {f"gravity{axis}": value for axis, value in zip("XYZ", gravity, strict=True)}
    return {"name": "wrist motion", "time": START_NS + round(t_s * 1e9), "values": motion | values}


def message(*readings: dict[str, Any], **fields: Any) -> bytes:
    return encode({"messageId": 3, "sessionId": "s", "deviceId": "phone", "payload": readings, **fields})


def still(n: int = 3, *, step_s: float = 0.02) -> list[dict[str, Any]]:
    """A phone that lies on its back."""
    times = [i * step_s for i in range(n)]
    return [reading("accelerometer", t) for t in times] + [reading("gravity", t, z=G) for t in times]


def test_the_golden_message_decodes_to_its_numbers() -> None:
    (samples,) = decode(SENSOR_LOGGER)
    check_samples(samples)
    assert samples.device == "5B0E6D5C-26A0-4F5C"
    assert samples.sequence == 7
    assert samples.epoch == "utc"
    assert samples.t_s.tolist() == [1698501144.401773, 1698501144.421773]
    assert samples.acc_g.tolist() == [[1, 0, 1], [0, 0.5, 0]]
    assert samples.sampling_rate_hz == pytest.approx(50.0, rel=1e-4)
    assert samples.gyro_dps is not None
    np.testing.assert_allclose(samples.gyro_dps, [[0, 0, 180], [90, 0, 0]], rtol=1e-6)


def test_the_golden_message_of_an_iphone_has_all_signs_of_its_acceleration_flipped() -> None:
    (samples,) = decode(SENSOR_LOGGER, format="sensor-logger-ios")
    assert samples.acc_g.tolist() == [[-1, 0, -1], [0, -0.5, 0]]
    assert samples.gyro_dps is not None
    np.testing.assert_allclose(samples.gyro_dps, [[0, 0, 180], [90, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", ["sensor-logger", "sensor-logger-ios"])
def test_the_golden_wrist_motion_decodes_to_its_numbers(name: str) -> None:
    (samples,) = decode(WRIST_MOTION, format=name)
    check_samples(samples)
    assert samples.device == "phone-wrist"
    assert samples.sequence is None
    assert samples.epoch == "utc"
    assert samples.t_s.tolist() == [1698501144.4, 1698501144.42]
    assert samples.acc_g.tolist() == [[-0.5, 0, 0.75], [0, 1, 0]]
    assert samples.gyro_dps is not None
    np.testing.assert_allclose(samples.gyro_dps, [[0, 0, 180], [0, 0, 0]], rtol=1e-6)


def test_standardised_wrist_motion_shows_by_its_gravity_and_keeps_its_signs() -> None:
    readings = [wrist(i / 50, gravity=(0, 0, G), accelerationX=G / 2) for i in range(3)]
    (samples,) = decode(message(*readings))
    assert samples.acc_g.tolist() == [[0.5, 0, 1]] * 3


def test_wrist_motion_and_phone_are_two_devices() -> None:
    phone, watch = decode(message(*still(), *(wrist(i / 50) for i in range(4))), device="w1")
    assert (phone.device, watch.device) == ("w1", "w1-wrist")
    assert (len(phone), len(watch)) == (3, 4)
    assert (phone.sequence, watch.sequence) == (3, None)


def test_a_phone_without_gravity_does_not_hide_its_watch() -> None:
    (samples,) = decode(message(reading("accelerometer", 0), wrist(0), wrist(0.02)))
    assert samples.device == "phone-wrist"


def test_wrist_motion_goes_by_its_other_name_too() -> None:
    readings = [{**wrist(i / 50), "name": "wristMotion"} for i in range(3)]
    assert len(decode(message(*readings))[0]) == 3


def test_wrist_motion_may_lack_its_rotation() -> None:
    readings = [wrist(0), wrist(0.02, rotationRateY=None)]
    assert decode(message(*readings))[0].gyro_dps is None


def test_gravity_is_interpolated_at_the_accelerometers_times() -> None:
    gravity = [reading("gravity", 0.0, z=G), reading("gravity", 0.1, x=G)]
    acceleration = [reading("accelerometer", t) for t in (0.0, 0.025, 0.05, 0.1)]
    (samples,) = decode(message(*gravity, *acceleration))
    expected = np.array([[0, 0, 1], [0.25, 0, 0.75], [0.5, 0, 0.5], [1, 0, 0]])
    np.testing.assert_allclose(samples.acc_g, expected, atol=1e-5)


def test_gravity_holds_for_a_fifth_of_a_second_and_no_longer() -> None:
    gravity = [reading("gravity", 1.0, z=G), reading("gravity", 2.0, z=G)]
    times = [0.7, 0.85, 1.0, 1.1, 1.5, 1.9, 2.0, 2.15, 2.3]
    (samples,) = decode(message(*gravity, *(reading("accelerometer", t) for t in times)))
    np.testing.assert_allclose(samples.t_s - START_S, [0.85, 1.0, 1.1, 1.9, 2.0, 2.15], atol=1e-6)
    np.testing.assert_allclose(samples.acc_g, [[0, 0, 1]] * 6)


@given(order=st.permutations(range(12)))
def test_readings_may_come_in_any_order(order: list[int]) -> None:
    readings = still(6)
    for i in range(6):
        readings[i]["values"]["x"] = i * G / 8
    (samples,) = decode(message(*(readings[i] for i in order)))
    np.testing.assert_allclose(samples.acc_g[:, 0], np.arange(6) / 8, rtol=1e-6)
    np.testing.assert_allclose(samples.t_s - START_S, np.arange(6) / 50, atol=1e-6)


def test_of_readings_with_equal_times_the_first_is_kept() -> None:
    readings = still(3)
    readings.insert(2, reading("accelerometer", 0.02, x=G))
    readings.insert(0, reading("gravity", 0.04, z=G))
    readings.append(reading("gravity", 0.04, z=0))
    (samples,) = decode(message(*readings))
    assert samples.acc_g.tolist() == [[0, 0, 1]] * 3


def test_the_uncalibrated_accelerometer_stands_in_when_gravity_is_missing() -> None:
    uncalibrated = [reading("accelerometeruncalibrated", i / 50, y=G / 2, z=G) for i in range(3)]
    (samples,) = decode(message(*uncalibrated))
    assert samples.acc_g.tolist() == [[0, 0.5, 1]] * 3
    (samples,) = decode(message(*uncalibrated, reading("accelerometer", 0)))
    assert len(samples) == 3
    (samples,) = decode(message(*uncalibrated, reading("accelerometer", 0), reading("gravity", 5, z=G)))
    assert len(samples) == 3
    (samples,) = decode(message(*uncalibrated, *still()))
    assert samples.acc_g.tolist() == [[0, 0, 1]] * 3


def test_an_iphones_uncalibrated_accelerometer_is_in_g() -> None:
    uncalibrated = [reading("accelerometeruncalibrated", i / 50, y=0.5, z=-1) for i in range(3)]
    (samples,) = decode(message(*uncalibrated), format="sensor-logger-ios")
    assert samples.acc_g.tolist() == [[0, -0.5, 1]] * 3


def test_androids_total_acceleration_goes_before_the_uncalibrated_one() -> None:
    total = [reading("totalacceleration", i / 50, z=G) for i in range(3)]
    uncalibrated = [reading("accelerometeruncalibrated", i / 50, x=G) for i in range(3)]
    assert decode(message(*uncalibrated, *total))[0].acc_g.tolist() == [[0, 0, 1]] * 3


def test_a_gyroscope_read_at_other_times_is_left_out() -> None:
    aligned = [reading("gyroscope", i / 50, x=1) for i in (2, 0, 1, 3)]
    assert decode(message(*still(), *aligned))[0].gyro_dps is not None
    assert decode(message(*still(), *aligned[:2]))[0].gyro_dps is None
    apart = [reading("gyroscope", i / 50 + 0.001, x=1) for i in range(3)]
    assert decode(message(*still(), *apart))[0].gyro_dps is None


@pytest.mark.parametrize("values", [None, 1, "n/a", [], {}, {"x": None}, {"x": {"y": [1, {"z": None}]}}])
@pytest.mark.parametrize("name", ["heart rate", "location", "gyroscopeuncalibrated", "", "Accelerometer 2"])
def test_other_sensors_are_left_alone_whatever_they_send(name: str, values: Any) -> None:
    other = {"name": name, "time": "now", "values": values, "accuracy": None}
    assert len(decode(message(other, *still(), {}, {"name": name}))[0]) == 3


def test_times_keep_their_microseconds() -> None:
    readings = still(2)
    readings[1]["time"] += 1_000
    readings[3]["time"] += 1_000
    (samples,) = decode(message(*readings))
    assert np.diff(samples.t_s)[0] == pytest.approx(0.020001, abs=3e-7)


def test_a_topics_device_goes_before_the_payloads() -> None:
    assert decode(message(*still()), device="w1")[0].device == "w1"
    assert decode(message(*still(), deviceId="not an id"), device="w1")[0].device == "w1"


def test_a_message_need_not_be_numbered() -> None:
    assert decode(message(*still(), messageId=None))[0].sequence is None


def late(readings: list[dict[str, Any]], *, by_s: float) -> list[dict[str, Any]]:
    return [{**reading, "time": reading["time"] + int(by_s * 1e9)} for reading in readings]


def changed(**fields: Any) -> list[dict[str, Any]]:
    """A still phone, fields of whose first accelerometer reading are replaced."""
    first, *others = still()
    return [first | fields, *others]


REFUSALS: dict[str, tuple[bytes, str, str]] = {
    "no readings": (message(), "empty", "enable"),
    "other sensors only": (message(reading("magnetometer", 0)), "empty", "enable"),
    "gravity alone": (message(reading("gravity", 0)), "empty", "enable"),
    "no gravity": (message(reading("accelerometer", 0)), "no_gravity", "enable the Gravity sensor"),
    "gravity too far away": (
        message(reading("accelerometer", 0), reading("gravity", 0.3, z=G)),
        "no_gravity",
        "enable the Gravity sensor",
    ),
    "no device": (message(*still(), deviceId=None), "no_device", "topic"),
    "a bad device": (message(*still(), deviceId="my phone"), "bad_device", '"my phone"'),
    "a device too long for its watch": (message(wrist(0), deviceId="p" * 60), "bad_device", "ppp"),
    "a null value": (message(*changed(values={"x": 0, "y": None, "z": 0})), "malformed", "$[0].y"),
    "an axis missing": (message(*changed(values={"x": 0, "y": 0})), "malformed", "`z`"),
    "values that are no object": (message(*changed(values=[0, 0, 0])), "malformed", "accelerometer"),
    "no values": (
        message({"name": "accelerometer", "time": START_NS}, *still()),
        "malformed",
        "accelerometer",
    ),
    "no time": (message({**reading("gravity", 0), "time": None}, *still()), "malformed", "times of gravity"),
    "a fractional time": (message(*changed(time=1.5)), "malformed", "times of accelerometer"),
    "a huge time": (message(*changed(time=10**30)), "malformed", "times of accelerometer"),
    "a time in milliseconds": (message(*changed(time=START_NS // 10**6)), "bad_time", "unit"),
    "a time before 1970": (message(*changed(time=-1)), "bad_time", "utc"),
    "an unset clock": (message(*late(still(), by_s=-1.6e9)), "bad_time", "clock"),
    "a gyroscope without numbers": (
        message(*still(), reading("gyroscope", 0, x="1")),
        "malformed",
        "gyroscope",
    ),
    "an absurd gyroscope": (
        message(*still(1), reading("gyroscope", 0, x=1e300), reading("gyroscope", 1)),
        "out_of_range",
        "gyroscope[0].x",
    ),
    "an absurd acceleration": (
        message(*changed(values={"x": 1e308, "y": 0, "z": 0})),
        "out_of_range",
        "m/s2",
    ),
    "an absurd gravity": (message(*still(), reading("gravity", 1, x=-1e308)), "out_of_range", "gravity[3].x"),
    "a sum of more than 64 g": (
        message(reading("accelerometer", 0, z=627), reading("gravity", 0, z=G), *late(still(), by_s=1)),
        "out_of_range",
        "acc[0].z",
    ),
    "an absurd wrist": (message(wrist(0, accelerationX=-1e308)), "out_of_range", "wrist motion[0].x"),
    "an absurd rotation": (message(wrist(0, rotationRateX=1e308)), "out_of_range", "wrist motion[0].x"),
    "a wrist without gravity": (message(wrist(0, gravity=(0, 0, 0))), "unknown_unit", "gravity of 0"),
    "a wrist of unknown units": (message(wrist(0, gravity=(0, 0, 1000 / 256))), "unknown_unit", "3.906"),
    "a wrist with a null": (message(wrist(0, gravity=(0, None, 1))), "malformed", "gravityY"),
    "one sample and no rate": (message(*still(1)), "bad_rate", "sampling_rate_hz"),
    "a rate too high": (message(*still(step_s=1e-4)), "bad_rate", "Hz"),
    "a rate too low": (message(*still(step_s=2)), "bad_rate", "0.5"),
    "too many samples": (message(*still(10_000)), "too_many_samples", "10000"),
    "too many readings": (message(*[{}] * 140_000), "too_many_samples", "readings"),
    "a negative number": (message(*still(), messageId=-1), "malformed", "messageId"),
    "no payload": (encode({"messageId": 1, "deviceId": "a"}), "malformed", "payload"),
    "a payload that is no array": (encode({"deviceId": "a", "payload": {}}), "malformed", "payload"),
    "a name that is no text": (message({"name": 1}), "malformed", "name"),
}


@pytest.mark.parametrize(("payload", "reason", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_bad_message_is_refused_with_its_reason_in_words(payload: bytes, reason: str, words: str) -> None:
    error = refused(payload)
    assert (error.reason, words in error.detail) == (reason, True), error
