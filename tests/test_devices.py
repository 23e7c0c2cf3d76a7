from __future__ import annotations

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.configured import configured
from tests.models import acceleration, tiny_bundle
from tests.wearer import batch
from vskd_stream import bundle
from vskd_stream.devices import Devices
from vskd_stream.errors import VskdError
from vskd_stream.health import Limits
from vskd_stream.samples import Gap, Samples
from vskd_stream.tally import Tally

NOW_S = 1.79e9


@pytest.fixture
def tally():
    return Tally()


@pytest.fixture
def devices(loaded, tally):
    settings = configured(
        sources=[{"topic": "imu/+/samples"}, {"topic": "shared"}],
        limits={"max_devices": 2, "max_payload_bytes": 65536},
    )
    return Devices(settings, bundle=loaded, tally=tally)


def payload(*, sequence=0, seconds=4.0, **fields) -> bytes:
    return batch(sequence, 1.0, seconds=seconds, **fields)


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


def wishing(loaded, tally, **wishes):
    return Devices(configured(devices={"left": wishes}), bundle=loaded, tally=tally)


def test_wishes_reach_the_device_that_they_are_for(loaded, tally):
    devices = wishing(loaded, tally, silence=True)
    assert receive(devices, "imu/left/samples", payload())[0] == []
    assert receive(devices, "imu/right/samples", payload())[0] != []


def test_a_wish_for_a_label_that_the_bundle_does_not_know_is_refused(loaded, tally):
    with pytest.raises(VskdError, match="the model knows no driving"):
        wishing(loaded, tally, silence=["driving"])


def test_a_device_that_falls_silent_is_noticed(devices):
    receive(devices, "imu/left/samples", payload())
    assert list(devices.tick(NOW_S + 9.0)) == []
    ((pipeline, cut),) = devices.tick(NOW_S + 10.0)
    assert pipeline.device == "left"
    assert isinstance(cut.piece, Gap)
    assert cut.piece.reason == "no_data"


def test_of_those_that_fall_silent_at_once_as_many_are_told_of_as_are_asked_for(devices):
    for device in ("left", "right"):
        receive(devices, f"imu/{device}/samples", payload())
    turns = [list(devices.tick(NOW_S + 60.0, most=1)) for _ in range(3)]
    assert [[pipeline.device for pipeline, _ in turn] for turn in turns] == [["left"], ["right"], []]


def test_one_bad_device_does_not_touch_another(devices):
    alone, _ = receive(devices, "imu/left/samples", payload(sequence=0))
    for junk in (b"{", payload(acc=[[1e9, 0, 0]]), payload(first_tick=-5), b"\xff" * 1000):
        receive(devices, "imu/right/samples", junk)
    after, _ = receive(devices, "imu/left/samples", payload(sequence=1), at_s=4.0)
    assert after[0][1].piece.end_sample == alone[-1][1].piece.end_sample + 10


def test_a_paused_devices_samples_are_dropped_and_counted_until_it_is_resumed(devices, tally):
    receive(devices, "imu/left/samples", payload())
    pipeline = devices.pause("left")
    assert pipeline is not None
    assert not devices.serves(pipeline)
    assert devices.pause("left") is None
    cuts, logs = receive(devices, "imu/left/samples", payload(sequence=1), at_s=4.0)
    assert (cuts, [entry["reason"] for entry in logs]) == ([], ["paused"])
    assert tally.counts == {"paused": 1}
    assert list(devices.tick(NOW_S + 60.0)) == []
    devices.resume("left")
    cuts, _ = receive(devices, "imu/left/samples", payload(sequence=20), at_s=80.0)
    assert cuts
    assert all(devices.serves(pipeline) for pipeline, _ in cuts)


def test_a_paused_device_keeps_its_place_and_takes_nobody_elses(devices):
    receive(devices, "imu/a/samples", payload())
    devices.pause("a")
    receive(devices, "imu/b/samples", payload())
    _, logs = receive(devices, "imu/c/samples", payload())
    assert [entry["reason"] for entry in logs] == ["device_limit"]
    devices.resume("a")
    cuts, _ = receive(devices, "imu/a/samples", payload(sequence=1), at_s=4.0)
    assert cuts


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_a_device_that_was_never_heard_cannot_be_paused(devices, act):
    with pytest.raises(VskdError, match="no device 'left' has been heard"):
        getattr(devices, act)("left")
    assert not devices.names


def test_each_device_has_its_health(devices):
    for i in range(5):
        receive(devices, "imu/left/samples", payload(sequence=i), at_s=4.0 * i)
    receive(devices, "imu/right/samples", payload())
    left, right = (devices.health(device, NOW_S + 17.0) for device in ("left", "right"))
    assert (left.grade, left.batches, left.rate_hz) == ("excellent", 5, 50.0)
    assert right.batches == 1
    devices.pause("left")
    assert devices.health("left", NOW_S + 17.0) is None


def test_a_source_that_keeps_the_order_is_not_waited_for(devices):
    t_s = np.arange(0, 4.0, 0.02)
    acc_g = acceleration(1.0, samples=len(t_s), sampling_rate_hz=50.0)
    pieces = []
    for first in (0, 150):
        part = slice(first, first + 50)
        samples = Samples("chest", t_s[part], acc_g[part], 50.0)
        pieces += [cut.piece for _, cut in devices.take(samples, arrival_s=NOW_S)]
    # Two seconds lie between: over MQTT a batch might yet come that fills them.
    assert [type(piece) for piece in pieces] == [Gap]


def test_a_device_is_graded_by_the_limits_that_are_known_of_it(devices):
    limits = Limits("counted", 2.0, note="no times and no numbers")
    devices.limit("left", limits)
    assert devices.health("left", NOW_S) is None
    receive(devices, "imu/left/samples", payload())
    measured = devices.health("left", NOW_S)
    assert measured.limits == limits
    assert {"no_clock", "range"} <= set(measured.reasons)


def test_other_preferences_end_what_they_silence_and_leave_the_streams_alone(devices, loaded):
    receive(devices, "imu/left/samples", payload())
    (left,) = devices
    wanted = configured(devices={"left": {"wrist": "right"}, "right": {"silence": True}})
    ended, replaced = devices.follow(wanted, bundle=loaded)
    assert (list(devices), replaced) == ([left], [])
    assert [(pipeline, events) for pipeline, events in ended] == [(left, [])]
    assert left.preferences.wrist == "right"
    assert devices.follow(wanted, bundle=loaded) == ([], [])
    # Its next window begins before the change.
    cuts, _ = receive(devices, "imu/left/samples", payload(sequence=1))
    assert next(cut.piece.end_sample for _, cut in cuts) == 80


def test_another_model_gets_every_stream_and_the_pipelines_before_are_told(devices, loaded, tmp_path):
    receive(devices, "imu/left/samples", payload())
    (left,) = devices
    other = bundle.load(tiny_bundle(tmp_path / "other.onnx", name="other"))
    ended, replaced = devices.follow(configured(), bundle=other)
    assert (ended, [old for old, _ in replaced]) == ([], [left])
    assert not devices.serves(left)
    assert [new for _, new in replaced] == list(devices)
    cuts, _ = receive(devices, "imu/left/samples", payload(sequence=1))
    assert next(cut.piece.end_sample for _, cut in cuts) == 80


def half_seconds(devices, *numbers):
    """Batches of half a second each; one that comes before its time is held."""
    return [
        each
        for number in numbers
        for each in receive(devices, "imu/left/samples", payload(sequence=number, seconds=0.5))[0]
    ]


def test_the_books_go_on_under_another_model_and_nothing_waits_for_ever(devices, loaded, tmp_path):
    cuts = half_seconds(devices, *range(8), 9)
    ledger = devices.ledger("left")
    assert (ledger.samples.waiting, ledger.windows.waiting) == (25, len(cuts))
    other = bundle.load(tiny_bundle(tmp_path / "other.onnx", name="other"))
    devices.follow(configured(), bundle=other)
    assert devices.ledger("left") is ledger
    assert ledger.samples.waiting == 25
    # What was cut is decided on by the pipeline that has cut it.
    for pipeline, cut in cuts:
        pipeline.decide(cut, np.full(len(loaded.manifest.labels), 0.25, np.float32))
    # The missing batch comes, and the successor has the one that was held.
    later = half_seconds(devices, 8)
    assert (ledger.samples.taken, ledger.samples.used, ledger.samples.waiting) == (250, 250, 0)
    assert (ledger.windows.used, ledger.windows.waiting) == (len(cuts), len(later))
    assert min(len(cuts), len(later)) > 0
    assert not ledger.samples.dropped


def test_what_is_held_under_another_model_is_dropped_by_name_once_its_device_is_paused(devices, tmp_path):
    half_seconds(devices, 0, 2)
    other = bundle.load(tiny_bundle(tmp_path / "other.onnx", name="other"))
    devices.follow(configured(), bundle=other)
    devices.pause("left")
    flow = devices.ledger("left").samples
    assert (flow.used, flow.waiting, flow.dropped) == (25, 0, {"paused": 25})


def test_a_label_that_the_model_does_not_know_changes_nothing(devices, loaded):
    receive(devices, "imu/left/samples", payload())
    with pytest.raises(VskdError, match="the model knows no swimming"):
        devices.follow(configured(devices={"left": {"hold_s": {"swimming": 1.0}}}), bundle=loaded)
    assert receive(devices, "shared", payload(sequence=1, device="left"))[0]


def test_other_sources_are_read_and_those_before_are_not(devices, loaded, tally):
    devices.follow(configured(sources=[{"topic": "other/+"}]), bundle=loaded)
    assert devices.reader.topic_filters == ("other/+",)
    assert receive(devices, "other/left", payload())[0]
    receive(devices, "imu/left/samples", payload())
    assert tally.counts == {"no_source": 1}
