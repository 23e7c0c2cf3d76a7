"""What is recorded of Bluetooth devices becomes what the gateway made of them, bit by bit."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ble.polar import SimulatedPolar
from tests.ble.profiles.test_end_to_end import CASES, address
from tests.ble.rig import Rig, status_of, until
from tests.ble.world import Faults
from tests.models import tiny_bundle
from vskd_stream import bundle, recording
from vskd_stream.classify import Classifier
from vskd_stream.errors import DecodeError
from vskd_stream.pipeline import Pipeline
from vskd_stream.publication import Publication
from vskd_stream.recording import Header, Message, is_bluetooth
from vskd_stream.samples import Samples
from vskd_stream.settings import BluetoothDevice, RemoteBroker, Settings
from vskd_stream.sources.ble.profiles import bangle
from vskd_stream.sources.ble.transcript import Player, device_of, is_notification
from vskd_stream.tally import Tally
from vskd_stream.tools import offline

CHEST = BluetoothDevice(device="chest", profile="polar", options={"sampling_rate_hz": 100})
SETTINGS = Settings(gateway="home", broker=RemoteBroker(host="localhost"), bluetooth=(CHEST,))


@pytest.fixture(autouse=True)
def _an_impatient_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bangle, "_RESET_S", 0.05)


def filed(messages: list[Message], path: Path) -> recording.Recording:
    """A recording of them."""
    recording.write(path, Header(created=datetime.now(UTC)), messages)
    return recording.read(path)


def replayed(messages: Iterable[Message]) -> list[Samples]:
    player = Player(max_devices=len(CASES))
    batches = []
    for message in messages:
        with contextlib.suppress(DecodeError):
            batches += player.read(message)
    return batches


def assert_same(live: list[Samples], again: list[Samples]) -> None:
    assert len(live) == len(again) > 0
    for one, other in zip(live, again, strict=True):
        assert np.array_equal(one.t_s, other.t_s)
        assert np.array_equal(one.acc_g, other.acc_g)
        if one.gyro_dps is not None:
            assert other.gyro_dps is not None
            assert np.array_equal(one.gyro_dps, other.gyro_dps)
        assert (one.device, one.sampling_rate_hz, one.epoch) == (
            other.device,
            other.sampling_rate_hz,
            other.epoch,
        )
        assert (one.counted, one.discarded) == (other.counted, other.discarded)


def of(batches: list[Samples], device: str) -> list[Samples]:
    return [samples for samples in batches if samples.device == device]


async def test_a_recording_of_any_device_has_the_samples_that_it_had() -> None:
    messages: list[Message] = []
    async with Rig.open() as rig:
        devices = [case.made(rig.world, address(number)) for number, case in enumerate(CASES)]
        for device in devices:
            await device.start()
        entries = [
            BluetoothDevice(
                device=case.device, profile=case.profile, address=address(number), options=case.options
            )
            for number, case in enumerate(CASES)
        ]
        async with rig.streaming(*entries, transcribe=messages.append) as manager:
            await asyncio.gather(*(rig.batches(case.device, 3) for case in CASES))
            for device in devices:
                device.faults.loss = device.faults.repeats = device.faults.garbage = 0.1
            await asyncio.gather(*(rig.batches(case.device, 5) for case in CASES))
            # The second connection is one of the same recording.
            for device in devices:
                device.faults = Faults()
                await device.drop()
            await until(lambda: all(status.counts["lost"] for status in manager.statuses))
            await asyncio.gather(*(rig.batches(case.device, 3) for case in CASES))
    again = replayed(messages)
    for case in CASES:
        assert_same(rig.of(case.device), of(again, case.device))


async def test_settings_that_a_device_was_asked_again_for_are_in_the_recording(tmp_path: Path) -> None:
    messages: list[Message] = []
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world)
        await device.start()
        async with rig.streaming(CHEST, transcribe=messages.append) as manager:
            await rig.batches("chest", 3)
            device.streaming = False
            await until(lambda: status_of(manager, "chest").counts["resubscribed"])
            await rig.batches("chest", 3)
    what = [message.topic.rpartition("/")[2] for message in messages]
    assert (what.count("session"), what.count("agreed")) == (1, 2)
    agreed = next(message for message in messages if message.topic.endswith("/agreed"))
    assert json.loads(agreed.payload) == {"sampling_rate_hz": 100.0, "range_g": 8.0, "factor": 1.0}
    assert_same(rig.of("chest"), replayed(filed(messages, tmp_path / "a.vskdrec")))


def swings(t_s: np.ndarray) -> np.ndarray:
    """Half a second of movement, half a second of rest: many activities in little time."""
    x_mg = np.where(t_s % 1.0 < 0.5, 900.0 * np.sin(2 * np.pi * 4 * t_s), 0.0)
    return np.stack([x_mg, np.zeros_like(t_s), np.full_like(t_s, 1000.0)], axis=1)


def events(publications: list[Publication]) -> list[dict[str, object]]:
    """Of what was published the events, without what depends on when that was."""
    found = [json.loads(each.payload) for each in publications if each.topic.endswith("/event")]
    told = ("event_type", "id", "label", "confidence", "reason", "start_sample", "at_sample", "end_sample")
    return [{key: event[key] for key in told} for event in found]


async def test_a_replay_gives_the_events_that_the_gateway_gave_with_their_ids(tmp_path: Path) -> None:
    model = bundle.load(tiny_bundle(tmp_path / "tiny.onnx"))
    messages: list[Message] = []
    async with Rig.open() as rig:
        device = SimulatedPolar(rig.world, acceleration=swings)
        await device.start()
        async with rig.streaming(CHEST, transcribe=messages.append) as manager:
            await rig.batches("chest", 120)
            await device.drop()
            await until(lambda: status_of(manager, "chest").counts["lost"])
            await rig.batches("chest", 120)
    pipeline = Pipeline(
        "chest",
        manifest=model.manifest,
        bundle_sha256=model.sha256,
        reorder_horizon_s=0.0,
        no_data_after_s=SETTINGS.no_data_after_s,
    )
    classifier = Classifier(model)
    live = [
        event
        for arrival in rig.arrivals
        for event in pipeline.push(arrival.samples, arrival_s=arrival.arrival_s, classify=classifier.classify)
    ]
    played = offline.play(
        filed(messages, tmp_path / "chest.vskdrec"),
        settings=SETTINGS,
        bundle=model,
        classifier=classifier,
        tally=Tally(),
    )
    again = events([each for _, publications in played for each in publications])
    assert len(live) >= 2
    assert [(each["event_type"], each["id"], each["start_sample"]) for each in again][: len(live)] == [
        (event.type, event.id, event.start_sample) for event in live
    ]


def session_of(device: str = "d1", profile: str = "polar", options: bytes = b"{}") -> Message:
    return Message(1.0, f"$ble/{device}/{profile}/session", options)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Message(1.0, "$ble/d1/polar/x", b"")], "no_session"),
        ([Message(1.0, "$ble/d1", b"")], "unrecognised"),
        ([Message(1.0, "$ble/d 1/polar/x", b"")], "unrecognised"),
        ([session_of(profile="polaar")], "unrecognised"),
        ([session_of(options=b"[" * 20_000)], "malformed"),
        ([session_of(options=b'{"rate": 1}')], "malformed"),
        ([session_of(options=b" " * 70_000)], "too_large"),
        ([session_of(), Message(1.0, "$ble/d1/polar/agreed", b'{"factor": 1e9}')], "malformed"),
        ([session_of(), Message(1.0, "$ble/d1/polar/agreed", b"\xff")], "malformed"),
        ([session_of(), Message(1.0, "$ble/d1/polar/x", bytes(513))], "too_large"),
        ([session_of(device=f"d{n}") for n in range(4)], "device_limit"),
    ],
)
def test_a_recording_that_nobody_made_is_refused(messages: list[Message], reason: str) -> None:
    player = Player(max_devices=3)
    for message in messages[:-1]:
        player.read(message)
    with pytest.raises(DecodeError) as refused:
        player.read(messages[-1])
    assert refused.value.reason == reason


def parts() -> st.SearchStrategy[str]:
    return st.sampled_from(
        ["d1", "polar", "movesense", "declarative", "bangle", "session", "agreed", "", "x"]
    )


@given(
    st.lists(
        st.tuples(
            st.lists(parts(), min_size=1, max_size=4),
            st.binary(max_size=40) | st.sampled_from([b"{}", b'{"reference": 3}', b'{"started": true}']),
        ),
        max_size=20,
    )
)
def test_whatever_a_recording_says_costs_only_refusals(said: list[tuple[list[str], bytes]]) -> None:
    player = Player(max_devices=2)
    for levels, payload in said:
        with contextlib.suppress(DecodeError):
            player.read(Message(1e9, "$ble/" + "/".join(levels), payload))


def test_topics_of_mqtt_are_never_taken_for_bluetooth() -> None:
    assert not is_bluetooth("ble/chest/polar/session")
    assert is_bluetooth("$ble/chest/polar/session")
    assert not is_notification("$ble/chest/polar/session")
    assert is_notification("$ble/chest/polar/fb005c82-02e7-f387-1cad-8acd2d8df0c8")
    assert device_of("$ble/chest/polar/session") == "chest"
