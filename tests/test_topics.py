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
from vskd_stream.errors import VskdError
from vskd_stream.publication import Publication
from vskd_stream.scores import Scores

SPELLED: list[Callable[[str], str]] = [
    topics.status_topic,
    lambda name: topics.event_topic(name, "left"),
    lambda name: topics.event_topic("home", name),
    lambda name: topics.state_topic("home", name),
    lambda name: topics.scores_topic("home", name),
]


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


def test_no_name_is_reserved_because_gateways_and_devices_speak_on_different_levels() -> None:
    of_gateway = {topics.status_topic("home")}
    names = ("status", "cmd", "event", "vskd", "home")
    of_devices = {
        spell("home", name)
        for spell in (topics.event_topic, topics.state_topic, topics.scores_topic)
        for name in names
    }
    assert len(of_devices) == 3 * len(names)
    assert {topic.count("/") for topic in of_gateway} == {2}
    assert {topic.count("/") for topic in of_devices} == {3}


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
