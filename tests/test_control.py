from __future__ import annotations

import json
import logging
from collections.abc import Callable

import jsonschema
import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.configured import configured
from tests.test_devices import NOW_S, payload
from vskd_stream import topics
from vskd_stream.announce import Announcer
from vskd_stream.control import Control
from vskd_stream.devices import Devices
from vskd_stream.payloads import Origin, schema
from vskd_stream.publication import Publication, Request
from vskd_stream.tally import Tally
from vskd_stream.vitals import Vitals
from vskd_stream.window import Window

ORIGIN = Origin("test", "tiny", "ab" * 32, "1.0")


class Room:
    """A control with what it controls, and everything that it publishes."""

    def __init__(self, loaded):
        self.tally = Tally()
        self.devices = Devices(configured(), bundle=loaded, tally=self.tally)
        self.answers: list[Publication] = []
        self.events: list[Publication] = []
        self.retold: list[bool] = []
        self.reloads: list[Callable[[str | None], None]] = []
        self.now_s = 0.0
        self.announcer = Announcer(
            origin=ORIGIN, manifest=loaded.manifest, publish=self.events.append, utc_s=lambda: NOW_S
        )
        self.control = Control(
            origin=ORIGIN,
            discovery_prefix="homeassistant",
            devices=self.devices,
            vitals=Vitals(self.devices, origin=ORIGIN, no_data_after_s=10.0, publish=self.events.append),
            announcer=self.announcer,
            reload=self.reloads.append,
            tell_all=lambda: self.retold.append(True),
            publish=self.answers.append,
            tally=self.tally,
            utc_s=lambda: NOW_S,
            monotonic_s=lambda: self.now_s,
        )

    def hear(self, device, *, seconds=4.0):
        for pipeline, cut in self.devices.receive(
            f"imu/{device}/samples", payload(seconds=seconds), arrival_s=NOW_S
        ):
            if isinstance(cut.piece, Window):
                self.announcer.announce(pipeline, cut, np.array([0.1, 0.9], np.float32))

    def ask(self, name, data=b"", *, topic=None, correlation=None):
        self.now_s += 1.0
        self.control.take(Request(f"vskd/test/cmd/{name}", data, topic, correlation))
        (answer,) = self.answers
        self.answers.clear()
        told = json.loads(answer.payload)
        jsonschema.validate(told, schema("response"))
        return answer, told


@pytest.fixture
def room(loaded):
    return Room(loaded)


def test_an_answer_goes_to_its_own_topic_under_the_id_of_the_request(room):
    answer, told = room.ask("states", b'{"id": "7"}')
    assert (answer.topic, answer.qos, answer.retain) == ("vskd/test/response/states", 1, False)
    assert (told["command"], told["id"], told["ok"], told["result"]) == ("states", "7", True, {})
    assert room.retold == [True]


def test_an_answer_goes_where_it_is_wanted_with_its_correlation_data(room):
    answer, told = room.ask("states", topic="asker/answers", correlation=b"\0\xff")
    assert (answer.topic, answer.correlation, told["ok"]) == ("asker/answers", b"\0\xff", True)


@pytest.mark.parametrize(
    "topic",
    [
        "vskd/test/status",
        "vskd/other/cmd/pause",
        "vskd/other/response/x",
        "vskd",
        "homeassistant/device/x/config",
        "homeassistant",
        "$SYS/x",
        "a/+/b",
        "a/#",
        "",
        "a\0b",
        "x" * 257,
    ],
)
def test_nobody_is_answered_where_only_we_may_write(room, topic):
    answer, told = room.ask("states", b'{"id": "7"}', topic=topic, correlation=b"1")
    assert (answer.topic, answer.correlation) == ("vskd/test/response/states", None)
    assert (told["ok"], told["id"]) == (False, "7")
    assert "no answer can go to" in told["error"]
    assert room.retold == []


def test_correlation_data_is_bounded(room):
    answer, told = room.ask("states", topic="asker", correlation=b"x" * 257)
    assert (answer.topic, answer.correlation) == ("vskd/test/response/states", None)
    assert "correlation data" in told["error"]


def test_devices_are_listed_with_their_health(room):
    room.hear("left")
    _, told = room.ask("devices")
    (device,) = told["result"]["devices"]
    assert (device["device"], device["state"], device["paused"], device["health"]) == (
        "left",
        "online",
        False,
        None,
    )


def test_a_pause_ends_what_goes_on_and_the_state_says_so(room):
    room.hear("left", seconds=8.0)
    assert json.loads(room.events[-1].payload)["label"] == "moving"
    _, told = room.ask("pause", b'{"device": "left"}')
    assert told["ok"]
    end, state = (json.loads(publication.payload) for publication in room.events[-2:])
    assert (end["event_type"], end["reason"]) == ("end", "paused")
    assert (state["reason"], state["id"]) == ("paused", None)
    count = len(room.events)
    assert room.ask("pause", b'{"device": "left"}')[1]["ok"]
    assert len(room.events) == count
    assert room.ask("resume", b'{"device": "left"}')[1]["ok"]
    assert not room.devices.is_paused("left")


def test_what_cannot_be_done_is_told_in_words_and_counted(room):
    _, told = room.ask("pause", b'{"device": "left", "id": "x"}')
    assert (told["ok"], told["id"]) == (False, "x")
    assert told["error"] == "no device 'left' has been heard since the gateway started"
    assert room.tally.counts == {"bad_command": 1}


def test_a_reload_is_answered_when_it_is_known_what_came_of_it(room):
    for request_id in ("1", "2"):
        request = b'{"id": "%s"}' % request_id.encode()
        room.control.take(Request("vskd/test/cmd/reload", request, "asker", b"c"))
    assert room.answers == []
    good, bad = room.reloads
    good(None)
    bad("line 3: gateway: too long")
    answers = [(answer.topic, answer.correlation, json.loads(answer.payload)) for answer in room.answers]
    assert [(topic, correlation) for topic, correlation, _ in answers] == [("asker", b"c")] * 2
    assert [(told["id"], told["ok"], told["error"]) for *_, told in answers] == [
        ("1", True, None),
        ("2", False, "line 3: gateway: too long"),
    ]
    for *_, told in answers:
        jsonschema.validate(told, schema("response"))


@pytest.mark.parametrize("argument", [b'{"path": "/etc/passwd"}', b'{"config": {}}', b"[]"])
def test_a_reload_takes_no_argument(room, argument):
    assert not room.ask("reload", argument)[1]["ok"]
    assert room.reloads == []


def test_the_log_tells_more_when_asked_to(room):
    before = structlog.get_config()
    try:
        room.ask("log_level", b'{"level": "error"}')
        assert logging.getLogger().level == logging.ERROR
        assert structlog.get_config()["wrapper_class"] is structlog.make_filtering_bound_logger(logging.ERROR)
    finally:
        structlog.configure(**before)
        logging.getLogger().setLevel(logging.WARNING)


@pytest.mark.parametrize("name", ["restart", "event", "state", "a b", "ü", "", "x" * 70000])
def test_an_unknown_command_is_answered_on_a_topic_that_is_no_devices(room, name):
    answer, told = room.ask(name)
    assert told["error"].startswith("there is no command")
    level = {"restart": "restart", "x" * 70000: "x" * 64}.get(name, "error")
    assert answer.topic == f"vskd/test/response/{level}"


def test_a_device_called_cmd_is_served_and_what_is_told_of_it_is_no_command(room):
    room.hear("cmd", seconds=8.0)
    echoes = [p for p in room.events if p.topic.startswith("vskd/test/cmd/")]
    assert echoes
    for echo in echoes:
        room.control.take(Request(echo.topic, echo.payload))
    assert room.answers == []
    assert not room.tally.counts
    assert room.ask("pause", b'{"device": "cmd"}')[1]["ok"]


def test_a_flood_is_answered_once_and_counted(room):
    for _ in range(100):
        room.control.take(Request("vskd/test/cmd/states", b""))
    oks = [json.loads(answer.payload)["ok"] for answer in room.answers]
    assert oks == [True] * 10 + [False]
    assert json.loads(room.answers[-1].payload)["error"] == "too many commands; wait a second"
    assert room.tally.counts == {"command_limit": 90}


@given(
    name=st.text(max_size=80),
    data=st.binary(max_size=200),
    topic=st.none() | st.text(max_size=300),
    correlation=st.none() | st.binary(max_size=300),
)
def test_whatever_is_asked_is_answered_validly_where_we_may_write(loaded, name, data, topic, correlation):
    room = Room(loaded)
    room.control._reload = lambda answer: answer(None)
    answer, told = room.ask(name.replace("/", ""), data, topic=topic, correlation=correlation)
    assert answer.topic == topic or answer.topic.startswith("vskd/test/response/")
    assert answer.topic.rsplit("/", 1)[1:] not in [[word] for word in topics.DEVICE_WORDS] or topic
    assert told["ok"] == (told["error"] is None)
