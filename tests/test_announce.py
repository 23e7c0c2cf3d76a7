from __future__ import annotations

import json
from datetime import datetime

import jsonschema
import numpy as np
import pytest
from msgspec.structs import replace

from tests.manifests import manifest
from vskd_stream.announce import Announcer
from vskd_stream.clock import ClockReading
from vskd_stream.lifecycle import Preferences
from vskd_stream.payloads import Origin, schema
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.publication import Publication
from vskd_stream.samples import Gap
from vskd_stream.window import Window

CLOCK = ClockReading("host", 1.79e9)
MOVING = np.array([0.1, 0.9], np.float32)


@pytest.fixture
def published() -> list[Publication]:
    return []


def announcer(published: list[Publication], *, scores: bool = False) -> Announcer:
    origin = Origin("home", "tiny", "ab" * 32, "1.0")
    return Announcer(
        origin=origin, manifest=manifest(), publish=published.append, utc_s=lambda: 1.79e9 + 99, scores=scores
    )


def pipeline() -> Pipeline:
    return Pipeline(
        "watch", manifest=manifest(), bundle_sha256="ab" * 32, reorder_horizon_s=2.0, no_data_after_s=10.0
    )


def windows(count: int) -> list[Cut]:
    return [Cut(Window(10 * i, np.zeros((3, 40), np.float32)), CLOCK) for i in range(4, 4 + count)]


def test_an_activity_is_told_as_an_event_and_as_a_retained_state(published):
    one, stream = announcer(published), pipeline()
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    assert [(p.topic, p.qos, p.retain) for p in published] == [
        ("vskd/home/watch/event", 1, False),
        ("vskd/home/watch/state", 1, True),
    ]
    assert json.loads(published[1].payload)["label"] == "moving"


def test_a_broker_that_forgot_us_is_told_that_we_run_and_can_be_told_every_state(published):
    one, stream = announcer(published), pipeline()
    assert [p.topic for p in one.birth()] == ["vskd/home/status"]
    assert one.state("watch") is None
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    assert one.state("watch") == published[-1]


def test_a_device_is_idle_while_no_update_would_tell_its_state(published):
    one, stream = announcer(published), pipeline()
    cuts = windows(4)
    for cut in cuts:
        one.announce(stream, cut, MOVING)
    assert one.idle() == set()
    one.announce(stream, Cut(Gap("watch", 3.5, 4.0, "missing"), CLOCK), None)
    assert one.idle() == {"watch"}
    one.announce(stream, Cut(Gap("watch", 4.0, 4.0, "no_data"), CLOCK), None)
    assert json.loads(published[-1].payload)["label"] == "no_data"
    assert one.idle() == {"watch"}
    for end in range(14, 18):
        one.announce(stream, Cut(Window(10 * end, np.zeros((3, 40), np.float32)), CLOCK), MOVING)
    assert one.idle() == set()


def test_a_silent_device_is_told_to_be_so_in_place_of_what_a_broker_may_have_kept(published):
    one = Announcer(
        origin=Origin("home", "tiny", "ab" * 32, "1.0"),
        manifest=manifest(),
        publish=published.append,
        utc_s=lambda: 1.79e9,
        silent=["watch"],
    )
    _, state, *unsaid = one.birth()
    assert [(each.topic, each.payload, each.retain) for each in unsaid] == [
        ("vskd/home/watch/status", b"", True),
        ("vskd/home/watch/health", b"", True),
    ]
    assert (state.topic, state.retain) == ("vskd/home/watch/state", True)
    assert json.loads(state.payload)["label"] == "silenced"


def test_no_scores_are_published_of_a_device_with_a_silenced_label(published):
    one, stream = announcer(published, scores=True), pipeline()
    stream.prefer(Preferences(silenced=frozenset({"moving"})))
    for cut in windows(30):
        one.announce(stream, cut, MOVING)
    told = [json.loads(each.payload) for each in published]
    assert {each["schema"] for each in told} == {"vskd.event/1", "vskd.state/1"}
    assert {each["label"] for each in told} == {"unknown"}


def test_scores_are_published_only_when_asked_for(published):
    one, stream = announcer(published, scores=True), pipeline()
    for cut in windows(2):
        one.announce(stream, cut, MOVING)
    assert [(p.topic, p.qos) for p in published] == [("vskd/home/watch/scores", 0)] * 2


def test_of_an_end_and_a_start_at_once_the_state_tells_the_start(published):
    one, stream = announcer(published), pipeline()
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    one.announce(stream, Cut(Gap("watch", 3.5, 3.5, "no_data"), CLOCK), None)
    topics = [p.topic.rsplit("/", 1)[1] for p in published]
    assert topics == ["event", "state", "event", "event", "state"]
    assert json.loads(published[-1].payload)["label"] == "no_data"


def test_stopping_ends_what_goes_on(published):
    one, stream = announcer(published), pipeline()
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    one.stop(stream)
    assert json.loads(published[-2].payload)["reason"] == "stopped"
    assert json.loads(one.farewell().payload)["state"] == "stopped"


def test_a_device_whose_samples_are_not_to_be_trusted_has_that_state(published):
    one, stream = announcer(published), pipeline()
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    one.announce(stream, Cut(Gap("watch", 3.5, 3.5, "units_suspect", "the unit is m/s2, not g"), CLOCK), None)
    ended, started, state = (json.loads(p.payload) for p in published[-3:])
    assert (ended["label"], ended["reason"]) == ("moving", "units_suspect")
    assert (started["event_type"], started["label"], state["label"]) == ("start", *["units_suspect"] * 2)
    assert one.idle() == {"watch"}
    for event in (ended, started):
        jsonschema.validate(event, schema("event"))
    jsonschema.validate(state, schema("state"))


def test_a_start_long_ago_is_dated_by_the_slope_of_the_clock(published):
    one, stream = announcer(published), pipeline()
    drifting = ClockReading("host", 1.79e9, at_s=1000.0, skew=0.02)
    for cut in windows(4):
        one.announce(stream, replace(cut, clock=drifting), MOVING)
    event = json.loads(published[0].payload)
    assert datetime.fromisoformat(event["start_utc"]).timestamp() == pytest.approx(
        1.79e9 + event["start_s"] - 0.02 * (1000 - event["start_s"]), abs=1e-3
    )


def test_who_is_newly_silent_is_told_so_once_and_its_last_state_forgotten(published):
    one, stream = announcer(published), pipeline()
    for cut in windows(4):
        one.announce(stream, cut, MOVING)
    published.clear()
    origin = Origin("home", "other", "cd" * 32, "1.0")
    for _ in range(2):
        one.follow(
            origin=origin, manifest=manifest(), scores=False, event_expiry_s=None, silent=["watch", "other"]
        )
    assert [p.topic for p in published] == [
        f"vskd/home/{device}/{word}"
        for device in ("watch", "other")
        for word in ("state", "status", "health")
    ]
    assert json.loads(published[0].payload)["bundle"] == {"name": "other", "sha256": "cd" * 32}
    assert one.state("watch") is None
