"""Payloads with known contents, and what holds for whatever a decoder returns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from vskd_stream.decode import FORMATS, REASONS, decode
from vskd_stream.decode.limits import (
    MAX_ACC_G,
    MAX_DEVICE_TIME_S,
    MAX_GYRO_DPS,
    MAX_RATE_HZ,
    MAX_SAMPLES,
    MAX_UTC_S,
    MIN_RATE_HZ,
    MIN_UTC_S,
)
from vskd_stream.errors import DecodeError
from vskd_stream.samples import IDENTIFIER, Samples

NATIVE_JSON = (
    b'{"schema":1,"device":"w1","sequence":17,"sampling_rate_hz":50,"first_tick":850,"tick_rate_hz":50,'
    b'"unit":"g","acc":[[0.0,0.0,1.0],[-0.5,0.25,0.98]],"gyro":[[90,0,-45.5],[0,0,1]],"gyro_unit":"deg/s"}'
)
NATIVE_MSGPACK = bytes.fromhex(
    "88"
    "a6 736368656d61 01"  # schema: 1
    "a6 646576696365 a2 7731"  # device: w1
    "a8 73657175656e6365 11"  # sequence: 17
    "b0 73616d706c696e675f726174655f687a cb 4049000000000000"  # sampling_rate_hz: 50.0
    "aa 66697273745f7469636b cd 0352"  # first_tick: 850
    "ac 7469636b5f726174655f687a cb 4049000000000000"  # tick_rate_hz: 50.0
    "a4 756e6974 a2 6d67"  # unit: mg
    "a3 616363 92 93 00 00 cd03e8 93 d1fe0c ccfa cd03d4"  # acc: [0, 0, 1000], [-500, 250, 980]
)
SENML = (
    b'[{"bver":10,"bn":"urn:dev:mac:0024befffe804ff1:","bt":1700000000,"bu":"m/s2",'
    b'"n":"acc_x","v":0,"t":0},{"n":"acc_y","v":-4.903325,"t":0},{"n":"acc_z","v":9.80665,"t":0},'
    b'{"n":"acc_x","v":19.6133,"t":0.02},{"n":"acc_y","v":0,"t":0.02},{"n":"acc_z","v":9.80665,"t":0.02},'
    b'{"n":"temperature","u":"Cel","v":36.6,"t":0.02}]'
)
SENSOR_LOGGER = (
    b'{"messageId":7,"sessionId":"s1","deviceId":"5B0E6D5C-26A0-4F5C","payload":['
    b'{"name":"accelerometer","time":1698501144401773000,"values":{"z":0,"y":0,"x":9.80665},"accuracy":3},'
    b'{"name":"gravity","time":1698501144401773000,"values":{"z":9.80665,"y":0,"x":0},"accuracy":3},'
    b'{"name":"gyroscope","time":1698501144401773000,"values":{"z":3.141592653589793,"y":0,"x":0}},'
    b'{"name":"location","time":1698501144000000000,"values":{"latitude":48.2,"speed":-1,"x":null}},'
    b'{"name":"accelerometer","time":1698501144421773000,"values":{"z":-9.80665,"y":4.903325,"x":0}},'
    b'{"name":"gravity","time":1698501144421773000,"values":{"z":9.80665,"y":0,"x":0}},'
    b'{"name":"gyroscope","time":1698501144421773000,"values":{"z":0,"y":0,"x":1.5707963267948966}}]}'
)
WRIST_MOTION = (
    b'{"messageId":8,"sessionId":"s1","deviceId":"phone","payload":['
    b'{"name":"wrist motion","time":1698501144400000000,"values":{"rotationRateX":0,"rotationRateY":0,'
    b'"rotationRateZ":3.141592653589793,"gravityX":0,"gravityY":0,"gravityZ":-1,"accelerationX":0.5,'
    b'"accelerationY":0,"accelerationZ":0.25,"quaternionW":1,"quaternionX":0,"quaternionY":0,"quaternionZ":0}},'
    b'{"name":"wrist motion","time":1698501144420000000,"values":{"rotationRateX":0,"rotationRateY":0,'
    b'"rotationRateZ":0,"gravityX":0,"gravityY":-1,"gravityZ":0,"accelerationX":0,'
    b'"accelerationY":0,"accelerationZ":0,"quaternionW":1,"quaternionX":0,"quaternionY":0,"quaternionZ":0}}]}'
)
GOLDEN = {
    "native-json": NATIVE_JSON,
    "native-msgpack": NATIVE_MSGPACK,
    "senml": SENML,
    "sensor-logger": SENSOR_LOGGER,
    "sensor-logger-ios": WRIST_MOTION,
}
"""One payload for each format."""


def encode(document: Any) -> bytes:
    return json.dumps(document).encode()


def refused(payload: bytes, **options: Any) -> DecodeError:
    """Decode what must be refused, and check that the refusal is fit to be told."""
    try:
        decode(payload, **options)
    except DecodeError as error:
        check_refusal(error)
        return error
    raise AssertionError("the payload was taken")


def check_refusal(error: DecodeError) -> None:
    assert error.reason in REASONS
    assert error.detail.isascii()
    assert error.detail.isprintable()
    assert len(error.detail) <= 250


def check_samples(samples: Samples) -> None:
    """Whatever the bytes were, what has been decoded keeps every promise of ``Samples``."""
    n = len(samples)
    assert 1 <= n <= MAX_SAMPLES
    assert IDENTIFIER.fullmatch(samples.device)
    assert samples.t_s.dtype == np.float64
    assert samples.t_s.shape == (n,)
    low, high = (MIN_UTC_S, MAX_UTC_S) if samples.epoch == "utc" else (0.0, MAX_DEVICE_TIME_S)
    assert low <= samples.t_s[0] <= samples.t_s[-1] <= high
    assert (np.diff(samples.t_s) > 0).all()
    check_vectors(samples.acc_g, n=n, limit=MAX_ACC_G)
    if samples.gyro_dps is not None:
        check_vectors(samples.gyro_dps, n=n, limit=MAX_GYRO_DPS)
    assert MIN_RATE_HZ <= samples.sampling_rate_hz <= MAX_RATE_HZ
    assert samples.sequence is None or 0 <= samples.sequence < 2**63


def check_vectors(values: Any, *, n: int, limit: float) -> None:
    assert values.dtype == np.float32
    assert values.shape == (n, 3)
    assert values.flags.c_contiguous
    assert (np.abs(values) <= np.float32(limit)).all()


def check_outcome(payload: bytes, **options: Any) -> list[Samples] | None:
    """Decode anything: it comes out valid, or it is refused as documented."""
    try:
        decoded = decode(payload, **options)
    except DecodeError as error:
        check_refusal(error)
        return None
    assert decoded
    assert len({samples.device for samples in decoded}) == len(decoded)
    for samples in decoded:
        check_samples(samples)
    return decoded


assert set(GOLDEN) == set(FORMATS)
