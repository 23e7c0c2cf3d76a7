from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.manifests import manifest
from tests.test_payloads import END, ORIGIN, START, TIMING, WINDOW
from vskd_stream import topics
from vskd_stream.commands import COMMANDS
from vskd_stream.errors import VskdError
from vskd_stream.health import HealthMonitor
from vskd_stream.publication import Publication
from vskd_stream.scores import Scores

SPELLED: list[Callable[[str], str]] = [
    topics.status_topic,
    lambda name: topics.event_topic(name, "left"),
    lambda name: topics.event_topic("home", name),
    lambda name: topics.state_topic("home", name),
    lambda name: topics.scores_topic("home", name),
    lambda name: topics.device_status_topic("home", name),
    lambda name: topics.health_topic("home", name),
    topics.command_filter,
    lambda name: topics.response_topic(name, "pause"),
]


HEALTH = HealthMonitor().read(1.7e9, fit=None)


def summary(publication: Publication) -> tuple[str, int, bool, str]:
    schema = json.loads(publication.payload)["schema"]
    return publication.topic, publication.qos, publication.retain, schema


def test_each_message_has_its_topic_quality_and_retention() -> None:
    assert summary(topics.event(START, origin=ORIGIN, timing=TIMING)) == (
        "vskd/home/left/event",
        1,
        False,
        "vskd.event/1",
    )
    assert summary(topics.state(START, origin=ORIGIN, timing=TIMING)) == (
        "vskd/home/left/state",
        1,
        True,
        "vskd.state/1",
    )
    assert summary(topics.scores(WINDOW, manifest=manifest(), origin=ORIGIN, timing=TIMING)) == (
        "vskd/home/left/scores",
        0,
        False,
        "vskd.scores/1",
    )


def test_a_will_and_a_status_share_a_retained_topic_so_that_the_last_word_stands() -> None:
    will = topics.will(origin=ORIGIN)
    online = topics.status("online", origin=ORIGIN, published_utc_s=1.7e9)
    stopped = topics.status("stopped", origin=ORIGIN, published_utc_s=1.7e9)
    expected = ("vskd/home/status", 1, True, "vskd.status/1")
    assert [summary(publication) for publication in (will, online, stopped)] == [expected] * 3
    states = [json.loads(publication.payload)["state"] for publication in (will, online, stopped)]
    assert states == ["offline", "online", "stopped"]


OF_A_DEVICE = (
    topics.event_topic,
    topics.state_topic,
    topics.scores_topic,
    topics.device_status_topic,
    topics.health_topic,
)


def test_no_name_is_reserved_because_no_two_speak_on_the_same_topic() -> None:
    of_gateway = {topics.status_topic("home")}
    names = ("status", "cmd", "response", "event", "vskd", "home")
    of_devices = {spell("home", name) for spell in OF_A_DEVICE for name in names}
    asked = ("pause", "cmd", "error", *topics.DEVICE_WORDS, "a/b", "+", "")
    answers = {topics.response_topic("home", command) for command in asked}
    commands = {f"vskd/home/cmd/{command}" for command in COMMANDS}
    assert len(of_devices) == len(OF_A_DEVICE) * len(names)
    assert {topic.count("/") for topic in of_gateway} == {2}
    assert {topic.count("/") for topic in of_devices | answers | commands} == {3}
    assert not of_devices & (answers | commands)
    assert {topic.rpartition("/")[2] for topic in of_devices} == topics.DEVICE_WORDS
    # So that whoever listens to all states, say, hears nothing else.
    assert not {topic.rpartition("/")[2] for topic in answers | commands} & topics.DEVICE_WORDS


def test_each_message_tells_its_schema_and_bundle_before_it_is_read() -> None:
    messages = [
        topics.event(START, origin=ORIGIN, timing=TIMING, expiry_s=3600),
        topics.state(START, origin=ORIGIN, timing=TIMING),
        topics.scores(WINDOW, manifest=manifest(), origin=ORIGIN, timing=TIMING),
        topics.will(origin=ORIGIN),
        topics.status("online", origin=ORIGIN, published_utc_s=1.7e9),
        topics.health("left", HEALTH, origin=ORIGIN, published_utc_s=1.7e9),
        topics.device_status(
            "left", "online", is_paused=False, heard_utc_s=1.7e9, origin=ORIGIN, published_utc_s=1.7e9
        ),
        topics.response(
            "pause", request_id=None, error=None, result={}, origin=ORIGIN, published_utc_s=1.7e9
        ),
    ]
    for message in messages:
        said = json.loads(message.payload)["schema"]
        assert message.user_properties == (("schema", said), ("bundle", ORIGIN.bundle_sha256))
        assert message.content_type == "application/json"
    # What is retained is to be found for ever; only news grows old.
    assert [message.expiry_s for message in messages] == [3600] + [None] * 7


@pytest.mark.parametrize(
    "topic", ["asker/answers", "vskd/home/response/asker-7", "vskd/home/response/a/b", "hall/x", "a" * 256]
)
def test_answers_go_where_an_asker_wants_them(topic: str) -> None:
    assert topics.may_answer_on(topic, gateway="home", prefix="ha")


@pytest.mark.parametrize(
    "topic",
    [
        "vskd/home/left/state",
        "vskd/other/response/pause",
        "vskd",
        "ha",
        "ha/device/x/config",
        "a/+",
        "#",
        "$SYS/broker",
        "",
        "a\nb",
        "a" * 257,
    ],
)
def test_answers_go_nowhere_where_an_asker_may_not_be_allowed_to_write(topic: str) -> None:
    assert not topics.may_answer_on(topic, gateway="home", prefix="ha")


@pytest.mark.parametrize("spell", SPELLED)
@given(st.text(max_size=70))
@example("")
@example("+")
@example("#")
@example("left/event")
@example("left\n")
@example("left\0")
@example("\ud800")
@example("l\u0435ft")
@example("$SYS")
@example("left right")
@example("a" * 65)
def test_an_id_is_either_one_plain_level_or_refused(spell: Callable[[str], str], name: str) -> None:
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", name):
        assert name in spell(name).split("/")
    else:
        with pytest.raises(VskdError, match="cannot be part of a topic"):
            spell(name)


@pytest.mark.parametrize("hostile", ["", "left/+", "#", "\ud800", "a" * 1_000_000])
def test_no_message_is_made_for_a_hostile_id(hostile: str) -> None:
    gateway = replace(ORIGIN, gateway=hostile)
    attempts: list[Callable[[], Publication]] = [
        lambda: topics.event(replace(END, device=hostile), origin=ORIGIN, timing=TIMING),
        lambda: topics.state(replace(END, device=hostile), origin=ORIGIN, timing=TIMING),
        lambda: topics.scores(
            Scores(hostile, 120, WINDOW.probabilities), manifest=manifest(), origin=ORIGIN, timing=TIMING
        ),
        lambda: topics.event(END, origin=gateway, timing=TIMING),
        lambda: topics.will(origin=gateway),
        lambda: topics.status("online", origin=gateway, published_utc_s=0.0),
    ]
    for attempt in attempts:
        with pytest.raises(VskdError) as refused:
            attempt()
        assert len(str(refused.value)) < 500
