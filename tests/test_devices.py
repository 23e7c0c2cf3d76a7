from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.models import acceleration, tiny_bundle
from vskd_stream import bundle
from vskd_stream.devices import Devices
from vskd_stream.samples import Gap
from vskd_stream.settings import Settings
from vskd_stream.tally import Tally

NOW_S = 1.79e9


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return bundle.load(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny.onnx"))


@pytest.fixture
def tally():
    return Tally()


@pytest.fixture
def devices(loaded, tally):
    settings = Settings.model_validate(
        {
            "gateway": "test",
            "broker": "embedded",
            "sources": [{"topic": "imu/+/samples"}, {"topic": "shared"}],
            "limits": {"max_devices": 2, "max_payload_bytes": 65536},
        }
    )
    return Devices(settings, bundle=loaded, tally=tally)


def payload(*, sequence=0, seconds=4.0, **fields) -> bytes:
    n = int(seconds * 50)
    acc = acceleration(1.0, samples=n, sampling_rate_hz=50.0, first_sample=sequence * n)
    values = {
        "schema": 1,
        "sequence": sequence,
        "sampling_rate_hz": 50.0,
        "first_tick": sequence * n,
        "tick_rate_hz": 50.0,
        "unit": "g",
        "acc": acc.round(4).tolist(),
    }
    return msgspec.json.encode(values | fields)


def receive(devices, topic, data, *, at_s=0.0):
    with capture_logs() as logs:
        cuts = list(devices.receive(topic, data, arrival_s=NOW_S + at_s))
    return cuts, logs


def test_the_topic_names_the_device_and_its_windows_come_out(devices, tally):
    cuts, _ = receive(devices, "imu/left/samples", payload())
    assert {pipeline.device for pipeline, _ in cuts} == {"left"}
    assert [cut.piece.end_sample for _, cut in cuts] == [50, 60, 70]
    assert not tally.counts


def test_the_payload_names_the_device_where_the_topic_does_not(devices):
    cuts, _ = receive(devices, "shared", payload(device="right"))
    assert {pipeline.device for pipeline, _ in cuts} == {"right"}


def test_devices_beyond_the_limit_are_refused_and_told(devices, tally):
    told = [
        [(entry["who"], entry["reason"]) for entry in receive(devices, f"imu/{device}/samples", payload())[1]]
        for device in ("a", "b", "c", "a")
    ]
    assert told == [[], [], [("c", "device_limit")], [("a", "duplicate")]]
    assert tally.counts == {"device_limit": 1, "duplicate": 1}
    assert len(devices) == 2


@pytest.mark.parametrize(
    ("topic", "data", "reason"),
    [
        ("imu/left/samples", payload()[:-1], "malformed"),
        ("imu/left/samples", b"\xc1", "unrecognised"),
        ("imu/left/samples", b" " * 10_000_000, "too_large"),
        ("imu/bad name/samples", payload(), "bad_device"),
        ("shared", payload(), "no_device"),
        ("elsewhere", payload(), "no_source"),
        ("imu/left/samples", payload(unit="stone"), "unknown_unit"),
        ("imu/left/samples", payload(sampling_rate_hz=1e9), "bad_rate"),
    ],
)
def test_what_cannot_be_read_is_counted_told_and_makes_no_device(devices, tally, topic, data, reason):
    cuts, logs = receive(devices, topic, data)
    assert cuts == []
    assert [(entry["who"], entry["reason"]) for entry in logs] == [(topic, reason)]
    assert tally.counts == {reason: 1}
    assert len(devices) == 0


def test_a_device_that_falls_silent_is_noticed(devices):
    receive(devices, "imu/left/samples", payload())
    assert list(devices.tick(NOW_S + 9.0)) == []
    ((pipeline, cut),) = devices.tick(NOW_S + 10.0)
    assert pipeline.device == "left"
    assert isinstance(cut.piece, Gap)
    assert cut.piece.reason == "no_data"


def test_one_bad_device_does_not_touch_another(devices):
    alone, _ = receive(devices, "imu/left/samples", payload(sequence=0))
    for junk in (b"{", payload(acc=[[1e9, 0, 0]]), payload(first_tick=-5), b"\xff" * 1000):
        receive(devices, "imu/right/samples", junk)
    after, _ = receive(devices, "imu/left/samples", payload(sequence=1), at_s=4.0)
    assert after[0][1].piece.end_sample == alone[-1][1].piece.end_sample + 10
