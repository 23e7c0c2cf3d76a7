from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.configured import configured
from tests.test_devices import NOW_S, payload
from vskd_stream.devices import Devices
from vskd_stream.errors import VskdError
from vskd_stream.lifecycle import Preferences
from vskd_stream.payloads import Origin, schema
from vskd_stream.publication import Publication
from vskd_stream.tally import Tally
from vskd_stream.vitals import OFFLINE_AFTER_S, Vitals

ORIGIN = Origin("test", "tiny", "ab" * 32, "1.0")


class House:
    """Devices, and what is told of them as time goes on."""

    def __init__(self, loaded):
        self.devices = Devices(configured(), bundle=loaded, tally=Tally())
        self.published: list[Publication] = []
        self.vitals = Vitals(self.devices, origin=ORIGIN, no_data_after_s=10.0, publish=self.published.append)

    def receive(self, at_s, *, device="left", sequence=0, seconds=1.0):
        data = payload(sequence=sequence, seconds=seconds)
        list(self.devices.receive(f"imu/{device}/samples", data, arrival_s=NOW_S + at_s))

    def look(self, at_s):
        list(self.devices.tick(NOW_S + at_s))
        self.vitals.look(NOW_S + at_s)

    def told(self):
        """What was published since the last call: the last level of the topic, and the payload."""
        told = []
        for publication in self.published:
            word: Any = publication.topic.rsplit("/", 1)[1]
            value = json.loads(publication.payload)
            jsonschema.validate(value, schema("device_status" if word == "status" else word))
            assert (publication.qos, publication.retain) == (1, True)
            told.append((word, value))
        self.published.clear()
        return told


@pytest.fixture
def house(loaded):
    return House(loaded)


def states(told):
    return [(value["state"], value["paused"]) for word, value in told if word == "status"]


def test_a_device_is_online_silent_and_offline_and_each_is_told_once(house):
    house.receive(0.0)
    for at_s in (0.5, 1.0, 9.9):
        house.look(at_s)
    assert states(house.told()) == [("online", False)]
    house.look(10.0)
    house.look(OFFLINE_AFTER_S - 1.0)
    assert states(house.told()) == [("silent", False)]
    house.look(OFFLINE_AFTER_S)
    house.look(10 * OFFLINE_AFTER_S)
    assert states(house.told()) == [("offline", False)]
    house.receive(10 * OFFLINE_AFTER_S, sequence=1)
    house.look(10 * OFFLINE_AFTER_S + 0.1)
    assert states(house.told()) == [("online", False)]


def test_silence_is_told_at_the_very_moment_of_no_data(house):
    house.receive(0.0)
    assert list(house.devices.tick(NOW_S + 9.99)) == []
    house.vitals.look(NOW_S + 9.99)
    assert states(house.told()) == [("online", False)]
    ((_, cut),) = house.devices.tick(NOW_S + 10.0)
    assert cut.piece.reason == "no_data"
    house.vitals.look(NOW_S + 10.0)
    assert states(house.told()) == [("silent", False)]


def test_a_pause_is_told(house):
    house.receive(0.0)
    house.look(0.5)
    house.devices.pause("left")
    house.look(1.0)
    house.devices.resume("left")
    house.look(1.5)
    assert states(house.told()) == [("online", False), ("online", True), ("online", False)]


def test_health_is_told_after_ten_seconds_once_a_minute_and_when_its_grade_changes(house):
    for second in range(200):
        # From the hundredth second on every second batch is lost.
        if second < 100 or second % 2:
            house.receive(float(second), sequence=second)
        house.look(second + 0.5)
    told = [(value["quality"], value["reasons"]) for word, value in house.told() if word == "health"]
    assert told[:2] == [("excellent", [])] * 2
    assert told[-1][0] == "unusable"
    grades = [grade for grade, _ in told]
    assert 4 <= len(grades) <= 8
    assert [grade for grade, _ in told if grade == "excellent"] == ["excellent"] * 2


def test_a_grade_that_wavers_is_not_told_each_time(house):
    for second in range(400):
        # One batch in about a minute is lost, so that the sliding minute holds one, two or none.
        if second % 59 != 30:
            house.receive(float(second), sequence=second)
        house.look(second + 0.5)
    told = [value for word, value in house.told() if word == "health"]
    assert len(told) <= 15


def test_a_silent_device_is_unusable_at_once(house):
    house.receive(0.0)
    house.look(0.5)
    assert [word for word, _ in house.told()] == ["status"]
    for at_s in (10.0, 12.0, 16.0):
        house.look(at_s)
    told = house.told()
    assert [word for word, _ in told] == ["status", "health"]
    assert told[1][1]["quality"] == "unusable"
    assert "no_data" in told[1][1]["reasons"]


def test_a_broker_that_may_have_forgotten_is_told_everything_a_few_at_a_time(house):
    for i in range(60):
        house.receive(0.0, device=f"watch-{i}")
    house.look(0.5)
    house.told()
    house.vitals.tell_all()
    counts = []
    for at_s in (1.0, 1.5, 2.0):
        house.look(at_s)
        counts.append(len(house.told()))
    assert counts == [50, 10, 0]


def test_a_fleet_that_began_to_speak_at_once_is_looked_at_a_few_at_a_time(house):
    for second in range(12):
        for i in range(60):
            house.receive(float(second), device=f"watch-{i}", sequence=second)
    house.told()
    counts = []
    for turn in range(4):
        house.look(11.5 + turn / 2)
        counts.append(sum(word == "health" for word, _ in house.told()))
    assert counts == [50, 10, 0, 0]


def test_at_the_end_all_devices_are_offline(house):
    house.receive(0.0)
    house.receive(0.0, device="right")
    house.look(0.5)
    house.told()
    house.vitals.farewell(NOW_S + 1.0)
    assert states(house.told()) == [("offline", False)] * 2


def test_a_device_of_which_nobody_wants_to_hear_is_not_told_of(house):
    house.receive(0.0)
    (pipeline,) = house.devices
    pipeline.prefer(Preferences(silent=True))
    house.look(0.5)
    house.vitals.farewell(NOW_S + 1.0)
    assert house.told() == []
    assert house.vitals.listed(NOW_S) == []
    with pytest.raises(VskdError, match="no device 'left' has been heard"):
        house.devices.pause("left")


def test_an_own_clock_that_is_set_back_does_not_stop_the_telling(house):
    for second in range(30):
        house.receive(float(second), sequence=second)
        house.look(second + 0.5)
    house.told()
    for second in range(30):
        house.receive(second - 7200.0, sequence=30 + second)
        house.look(second - 7200.0 + 0.5)
    assert [value["quality"] for word, value in house.told() if word == "health"] != []


def test_the_list_tells_of_every_device(house):
    for second in range(12):
        house.receive(float(second), sequence=second)
    house.receive(11.0, device="right")
    house.devices.pause("right")
    left, right = house.vitals.listed(NOW_S + 12.0)
    assert (left["device"], left["state"], left["paused"]) == ("left", "online", False)
    assert left["health"]["quality"] == "excellent"
    assert (right["device"], right["paused"], right["health"]) == ("right", True, None)


def test_a_devices_status_can_be_had_before_anything_was_told_of_it(house):
    assert house.vitals.status("left", NOW_S) is None
    house.receive(0.0)
    status = house.vitals.status("left", NOW_S)
    house.look(0.0)
    assert status == house.published[0]


def test_the_status_of_a_device_that_is_not_to_be_told_of_cannot_be_had(house):
    house.receive(0.0)
    (pipeline,) = house.devices
    pipeline.prefer(Preferences(silent=True))
    assert house.vitals.status("left", NOW_S) is None
