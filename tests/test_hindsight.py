from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.manifests import manifest
from tests.messages import event
from vskd_stream import hindsight, payloads, topics
from vskd_stream.events import ActivityEvent, Decider
from vskd_stream.payloads import Origin, Timing
from vskd_stream.publication import Publication
from vskd_stream.samples import Gap
from vskd_stream.scores import Scores

ORIGIN = Origin(gateway="home", bundle_name="tiny", bundle_sha256="ab" * 32, version="1.0")
TIMING = Timing("host", utc_offset_s=1.7e9, published_utc_s=1.7e9 + 60.25)
RESTARTED_S = 1.7e9 + 3600.0


def activities() -> Iterator[ActivityEvent]:
    """What a decider tells of somebody who moves, and is then silent."""
    decider = Decider("left", manifest=manifest(), bundle_sha256=ORIGIN.bundle_sha256)
    for number in range(40):
        moving = Scores("left", 100 + 10 * number, np.array([0.1, 0.9], np.float32))
        yield from decider.push(moving)
    yield from decider.gap(Gap("left", 24.5, 30.0, "no_data"))


def message(activity: ActivityEvent, timing: Timing = TIMING) -> Publication:
    return topics.event(activity, origin=ORIGIN, timing=timing, expiry_s=7)


def told(publication: Publication) -> dict[str, object]:
    payload: dict[str, object] = json.loads(publication.payload)
    return payload


@pytest.mark.parametrize("clock", ["host", "utc"])
def test_an_activity_whose_gateway_was_killed_ends_at_the_last_sample_that_was_told(clock: str) -> None:
    timing = replace(TIMING, clock="host" if clock == "host" else "utc")
    open_ones = [one for one in activities() if one.type != "end"]
    assert {one.type for one in open_ones} == {"start", "update"}
    assert {one.label for one in open_ones} == {"moving", "no_data"}
    for one in open_ones:
        last = message(one, timing)
        ended = hindsight.ended(last, published_utc_s=RESTARTED_S)
        assert (ended.device, ended.label, ended.id) == ("left", one.label, one.id)
        end, state = told(ended.end), told(ended.state)
        Draft202012Validator(payloads.schema("event")).validate(end)
        Draft202012Validator(payloads.schema("state")).validate(state)
        assert (end["event_type"], end["reason"], end["replayed"]) == ("end", "stopped", False)
        assert (end["end_sample"], end["end_s"]) == (one.at_sample, one.at_s)
        assert end["end_uncertainty_s"] is None
        changed = {"event_type", "reason", "end_sample", "end_s", "end_utc", "published_utc", "latency_ms"}
        before = told(last)
        assert {key: end[key] for key in end.keys() - changed} == {
            key: before[key] for key in end.keys() - changed
        }
        # Of when it is made the schema says that it depends on arrival.
        assert end["published_utc"] == "2023-11-14T23:13:20.000Z"
        assert end["latency_ms"] == round((3600.0 - one.at_s) * 1000)
        assert (state["label"], state["id"], state["since_sample"]) == ("no_data", None, one.at_sample)
        assert (ended.end.topic, ended.state.topic) == ("vskd/home/left/event", "vskd/home/left/state")
        assert (ended.end.retain, ended.state.retain, ended.end.expiry_s) == (False, True, 7)


@pytest.mark.parametrize("offset_s", [float("nan"), -1e12, 1e12])
def test_what_had_no_date_gets_none(offset_s: float) -> None:
    timing = Timing("utc", offset_s, published_utc_s=1.7e9)
    end = told(hindsight.ended(message(next(activities()), timing), published_utc_s=RESTARTED_S).end)
    Draft202012Validator(payloads.schema("event")).validate(end)
    assert (end["start_utc"], end["end_utc"], end["latency_ms"]) == (None, None, None)


def test_an_event_that_comes_late_says_so_and_nothing_else() -> None:
    for one in activities():
        before = message(one)
        late = hindsight.replayed(before)
        Draft202012Validator(payloads.schema("event")).validate(told(late))
        assert list(told(late).items()) == list((told(before) | {"replayed": True}).items())
        assert replace(late, payload=b"") == replace(before, payload=b"")
        assert hindsight.replayed(late) == late


def test_an_event_is_known_by_its_payload() -> None:
    for one in activities():
        assert hindsight.told(message(one)) == hindsight.Told(one.type, one.id)


def test_what_is_no_event_to_be_sent_once_is_none() -> None:
    one = event("start")
    for payload in (b"", b"{}", b'{"event_type":"start","id":"a"}', b"\x93", b'["vskd.event/1"]'):
        assert hindsight.told(Publication(one.topic, payload)) is None
    assert hindsight.told(replace(one, retain=True)) is None
    assert hindsight.told(replace(one, qos=0)) is None


@pytest.mark.parametrize(
    "payload",
    [b'{"schema":"vskd.event/1"}', b"{", b'{"at_sample":1,"at_s":1,"gateway":"g","bundle":3}'],
)
def test_what_cannot_be_ended_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"no event|truncated"):
        hindsight.ended(Publication("vskd/home/left/event", payload), published_utc_s=0.0)
