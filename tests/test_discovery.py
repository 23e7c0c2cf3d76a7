"""What Home Assistant is told fits its rules, and reads what our payloads write."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment
from jsonschema import Draft202012Validator
from msgspec import structs

from tests.manifests import manifest
from tests.test_payloads import END, ORIGIN, START, TIMING, UPDATE
from vskd_stream import discovery, entities, payloads, topics
from vskd_stream.discovery import Discovery, Entry
from vskd_stream.errors import VskdError
from vskd_stream.events import ActivityEvent
from vskd_stream.health import Health
from vskd_stream.manifest import STATES
from vskd_stream.payloads import Origin, schema
from vskd_stream.publication import Publication

LABELS = ("walk", "sit", "lie")
RULES = json.loads((Path(__file__).parent / "reference" / "home_assistant_discovery.json").read_text())
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
SHORT_IDS = st.text("ab_-", min_size=1, max_size=4)
"""Few enough letters for pairs that only differ in where one ends."""


def made(
    *,
    origin: Origin = ORIGIN,
    labels: tuple[str, ...] = LABELS,
    moving: tuple[str, ...] = ("walk",),
    coarse: dict[str, str] | None = None,
    prefix: str = "homeassistant",
) -> Discovery:
    plain = manifest(labels=labels)
    decision = plain.decision.model_copy(update={"coarse": coarse or {}})
    return Discovery(
        origin=origin,
        manifest=plain.model_copy(update={"decision": decision}),
        no_data_after_s=10.0,
        moving=moving,
        prefix=prefix,
    )


def config(publication: Publication) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(publication.payload)
    Draft202012Validator(RULES).validate(value)
    assert (publication.qos, publication.retain) == (1, True)
    return value


def rendered(template: str, payload: bytes) -> str:
    """As Home Assistant renders it."""
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters["to_json"] = json.dumps
    return environment.from_string(template).render(value_json=json.loads(payload))


def state(activity: ActivityEvent) -> bytes:
    return payloads.state(activity, origin=ORIGIN, timing=TIMING)


def device_status(state: Any) -> bytes:
    return payloads.device_status(
        "left", state, is_paused=False, heard_utc_s=1.7e9, origin=ORIGIN, published_utc_s=1.7e9
    )


def health(*, rate_hz: float | None) -> bytes:
    measured = Health(
        grade="poor",
        reasons=("loss", "jitter"),
        measured_s=59.0,
        batches=100,
        samples=2500,
        nominal_rate_hz=50.0,
        rate_hz=rate_hz,
        loss=0.125,
        missing_batches=14,
        hole_s=0.0,
        gaps=2,
        duplicates=0,
        late=0,
        skipped_windows=0,
        clock="host",
        residual_p95_s=0.2,
        drift_ppm=None,
    )
    return payloads.health("left", measured, origin=ORIGIN, published_utc_s=1.7e9)


WALKING, UNDECIDED = state(UPDATE), state(END)
SILENT = state(replace(START, label="no_data", confidence=None))


# --- entries


def test_a_gateway_is_a_device_that_is_connected_or_not_but_never_unavailable() -> None:
    publication = made().gateway()
    told = config(publication)
    assert publication.topic == "homeassistant/device/vskd_home/config"
    assert told["device"]["name"] == "vskd Home"
    assert told["device"]["sw_version"] == ORIGIN.version
    assert "availability" not in told
    assert told["state_topic"] == topics.status_topic("home")
    assert not any("availability" in part for part in told["components"].values())


@pytest.mark.parametrize(("said", "shown"), [("online", "ON"), ("stopped", "OFF"), ("offline", "OFF")])
def test_a_gateway_is_connected_while_it_is_online(said: Any, shown: str) -> None:
    parts = config(made().gateway())["components"]
    status = payloads.status(said, origin=ORIGIN, published_utc_s=None)
    assert rendered(parts["connectivity"]["value_template"], status) == shown
    assert rendered(parts["status"]["value_template"], status) == said
    available = config(made().device("left"))["availability"][0]["value_template"]
    assert rendered(available, status) == ("online" if said == "online" else "offline")


def test_every_state_that_a_gateway_may_be_in_is_an_option() -> None:
    options = config(made().gateway())["components"]["status"]["options"]
    assert sorted(options) == sorted(schema("status")["properties"]["state"]["enum"])


def test_a_device_belongs_to_its_gateway_and_is_available_while_that_is() -> None:
    publication = made().device("left-wrist")
    told = config(publication)
    assert publication.topic == "homeassistant/device/vskd_home/left-wrist/config"
    assert told["device"]["name"] == "Left wrist"
    assert [told["device"]["via_device"]] == config(made().gateway())["device"]["identifiers"]
    assert told["availability_mode"] == "all"
    assert [each["topic"] for each in told["availability"]] == [
        topics.status_topic("home"),
        topics.device_status_topic("home", "left-wrist"),
    ]
    assert told["state_topic"] == topics.state_topic("home", "left-wrist")


def test_a_device_that_is_off_is_unavailable_but_says_so() -> None:
    told = config(made().device("left"))
    status = told["components"]["status"]
    assert status["options"] == schema("device_status")["properties"]["state"]["enum"]
    assert [each["topic"] for each in status["availability"]] == [topics.status_topic("home")]
    for state, available in (("online", "online"), ("silent", "online"), ("offline", "offline")):
        payload = device_status(state)
        assert rendered(told["availability"][1]["value_template"], payload) == available
        assert rendered(status["value_template"], payload) == state
    attributes = json.loads(rendered(status["json_attributes_template"], device_status("silent")))
    assert attributes == {"paused": False, "heard_utc": "2023-11-14T22:13:20.000Z"}


def test_health_is_shown_with_its_reasons_and_what_is_not_measured_yet_is_not_known() -> None:
    parts = config(made().device("left"))["components"]
    assert parts["quality"]["options"] == schema("health")["properties"]["quality"]["enum"]
    payload = health(rate_hz=49.98765)
    assert rendered(parts["quality"]["value_template"], payload) == "poor"
    assert json.loads(rendered(parts["quality"]["json_attributes_template"], payload)) == {
        "reasons": ["loss", "jitter"]
    }
    assert rendered(parts["loss"]["value_template"], payload) == "12.5"
    assert rendered(parts["rate"]["value_template"], payload) == "49.99"
    assert rendered(parts["rate"]["value_template"], health(rate_hz=None)) == "None"
    assert {parts[part]["state_topic"] for part in ("quality", "loss", "rate")} == {
        topics.health_topic("home", "left")
    }


def test_coarse_labels_are_shown_where_the_model_has_some() -> None:
    assert config(made().device("left"))["components"]["coarse_activity"] == {"platform": "sensor"}
    parts = config(made(coarse={"sit": "rest", "lie": "rest"}, moving=()).device("left"))["components"]
    assert parts["coarse_activity"]["options"] == ["walk", "rest", *STATES]
    lying = state(replace(UPDATE, label="lie", coarse_label="rest"))
    assert rendered(parts["coarse_activity"]["value_template"], lying) == "rest"


def test_coarse_labels_may_be_what_is_moving() -> None:
    coarse = {"walk": "active", "sit": "rest", "lie": "rest"}
    one = made(coarse=coarse, moving=("active",))
    template = config(one.device("left"))["components"]["moving"]["value_template"]
    assert rendered(template, WALKING) == "ON"
    assert rendered(template, state(replace(UPDATE, label="lie"))) == "OFF"


@pytest.mark.parametrize("payload", [WALKING, UNDECIDED, SILENT])
def test_the_activity_shown_is_one_of_the_options(payload: bytes) -> None:
    activity = config(made().device("left"))["components"]["activity"]
    assert activity["options"] == [*LABELS, *STATES]
    label = rendered(activity["value_template"], payload)
    assert label == json.loads(payload)["label"]
    assert label in activity["options"]


def test_attributes_stay_the_same_while_an_activity_goes_on() -> None:
    template = config(made().device("left"))["components"]["activity"]["json_attributes_template"]
    attributes = json.loads(rendered(template, WALKING))
    assert attributes == {
        "id": UPDATE.id,
        "reason": None,
        "wrist": "left",
        "since_utc": "2023-11-14T22:13:24Z",
        "clock": "host",
    }
    # A clock that is estimated from arrivals moves by milliseconds.
    later = structs.replace(
        TIMING, published_utc_s=TIMING.published_utc_s + 10, utc_offset_s=TIMING.utc_offset_s + 0.02
    )
    again = payloads.state(replace(UPDATE, confidence=0.5, at_s=70.0), origin=ORIGIN, timing=later)
    assert json.loads(rendered(template, again)) == attributes
    dateless = payloads.state(UPDATE, origin=ORIGIN, timing=structs.replace(TIMING, utc_offset_s=-1e9))
    assert json.loads(rendered(template, dateless))["since_utc"] is None


def test_what_is_added_to_payloads_later_becomes_an_attribute() -> None:
    parts = config(made().device("left"))["components"]
    payload = json.dumps({**json.loads(WALKING), "worn": "left"}).encode()
    assert json.loads(rendered(parts["activity"]["json_attributes_template"], payload))["worn"] == "left"
    event = payloads.event(END, origin=ORIGIN, timing=TIMING)
    payload = json.dumps({**json.loads(event), "replayed": True}).encode()
    assert json.loads(rendered(parts["event"]["value_template"], payload))["replayed"] is True


def test_confidence_is_a_percentage_or_not_known() -> None:
    confidence = config(made().device("left"))["components"]["confidence"]
    assert rendered(confidence["value_template"], WALKING) == "95"
    assert rendered(confidence["value_template"], SILENT) == "None"


def test_events_come_with_their_type_and_without_what_only_machines_read() -> None:
    event = config(made().device("left"))["components"]["event"]
    assert event["state_topic"] == topics.event_topic("home", "left")
    assert event["event_types"] == schema("event")["properties"]["event_type"]["enum"]
    value = json.loads(rendered(event["value_template"], payloads.event(END, origin=ORIGIN, timing=TIMING)))
    assert value["event_type"] == "end"
    assert value["duration_s"] == 55.5
    assert not {"schema", "bundle", "start_sample", "end_s"} & value.keys()
    # Home Assistant takes these for its own.
    assert not {"event_types", "device_class", "icon", "friendly_name"} & value.keys()


def test_moving_is_what_the_configuration_calls_moving_and_not_known_where_nothing_is() -> None:
    template = config(made(moving=("walk",)).device("left"))["components"]["moving"]["value_template"]
    assert rendered(template, WALKING) == "ON"
    assert rendered(template, state(replace(UPDATE, label="sit"))) == "OFF"
    for payload in (UNDECIDED, SILENT):
        assert rendered(template, payload) == "None"


def test_without_labels_that_are_moving_an_earlier_moving_sensor_is_taken_away() -> None:
    assert config(made(moving=()).device("left"))["components"]["moving"] == {"platform": "binary_sensor"}


def test_a_state_expires_only_when_repetitions_are_missing() -> None:
    parts = config(made().device("left"))["components"]
    assert {parts[key]["expire_after"] for key in ("activity", "confidence", "moving")} == {60}
    assert "expire_after" not in parts["event"]
    assert entities.expire_after_s(30.0, 10.0) == 100
    for update_every_s, no_data_after_s in ((0.1, 1.0), (10.0, 10.0), (3600.0, 86_400.0)):
        expiry_s = entities.expire_after_s(update_every_s, no_data_after_s)
        assert expiry_s > 2 * update_every_s + no_data_after_s


@given(IDS, IDS)
def test_every_id_makes_an_entry_that_fits_the_rules(gateway: str, device: str) -> None:
    one = made(origin=replace(ORIGIN, gateway=gateway))
    for publication, expected in ((one.gateway(), None), (one.device(device), device)):
        config(publication)
        assert re.fullmatch(
            r"homeassistant/device/([a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config", publication.topic
        )
        assert discovery.parse(publication.topic, prefix="homeassistant") == Entry(gateway, expected)
        assert discovery.is_ours(publication.payload)


@given(st.tuples(SHORT_IDS, SHORT_IDS), st.tuples(SHORT_IDS, SHORT_IDS))
def test_no_two_devices_share_a_topic_or_an_identity(one: tuple[str, str], other: tuple[str, str]) -> None:
    def identity(pair: tuple[str, str]) -> tuple[str, ...]:
        publication = made(origin=replace(ORIGIN, gateway=pair[0])).device(pair[1])
        told = config(publication)
        unique = [part["unique_id"] for part in told["components"].values() if "unique_id" in part]
        return publication.topic, *told["device"]["identifiers"], *unique

    assert (one == other) == bool(set(identity(one)) & set(identity(other)))


@pytest.mark.parametrize("hostile", ["", "+", "#", "a/b", "a b", "a\0", "a" * 65, "\u043b", "a" * 10_000])
def test_no_entry_is_made_for_a_hostile_id(hostile: str) -> None:
    with pytest.raises(VskdError, match="cannot be part of a topic"):
        made().device(hostile)
    with pytest.raises(VskdError, match="cannot be part of a topic"):
        made(origin=replace(ORIGIN, gateway=hostile)).gateway()


def test_the_same_configuration_makes_the_same_bytes() -> None:
    assert made().device("left") == made().device("left")
    assert made(moving=("lie", "walk")).device("left") == made(moving=("walk", "lie")).device("left")


@pytest.mark.parametrize(
    ("device", "name"),
    [("left-wrist", "Left wrist"), ("MyPhone", "MyPhone"), ("demo__watch_2", "Demo watch 2"), ("_-_", "_-_")],
)
def test_a_name_is_what_a_person_would_write(device: str, name: str) -> None:
    assert config(made().device(device))["device"]["name"] == name


# --- what a broker keeps


def test_entries_of_devices_that_nobody_knows_are_stale() -> None:
    one = made(prefix="ha/entries")
    kept = {each.topic: each.payload for each in (one.gateway(), one.device("left"), one.device("right"))}
    assert one.stale(kept, known={"left", "right"}) == []
    (removal,) = one.stale(kept, known={"left"})
    assert removal == Publication("ha/entries/device/vskd_home/right/config", b"", retain=True)


@pytest.mark.parametrize(
    "topic",
    [
        "homeassistant/device/vskd_other/left/config",
        "homeassistant/device/other_home/left/config",
        "homeassistant/sensor/vskd_home/left/config",
        "homeassistant/device/vskd_home/config",
        "other/device/vskd_home/left/config",
        "homeassistant/device/vskd_home/left/more/config",
        "vskd/home/left/state",
        "",
    ],
)
def test_what_is_not_an_entry_of_a_device_of_this_gateway_is_never_removed(topic: str) -> None:
    assert made().stale([topic], known=()) == []


@given(st.text())
def test_any_topic_is_an_entry_or_not(topic: str) -> None:
    assert discovery.parse(topic, prefix="homeassistant") is None or topic.startswith("homeassistant/device/")


BROKEN = [b'{"device":"a\x94","origin":{"name":"\x94"}}', b'{"other":' * 3000]
"""Text that is no UTF-8, and what is nested more deeply than any parser goes."""


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"null", b"[]", b'{"origin":{}}', b'{"origin":{"name":"other"}}', b"\xff", *BROKEN]
)
def test_an_entry_that_others_made_is_not_ours(payload: bytes) -> None:
    assert not discovery.is_ours(payload)


def test_a_device_is_known_as_long_as_its_last_state_is_not_too_old() -> None:
    told_s = TIMING.published_utc_s
    kept = {topics.state_topic("home", "left"): WALKING}
    assert made().heard_from(kept, since_s=told_s - 1) == {"left"}
    assert made().heard_from(kept, since_s=told_s + 1) == set()


def test_a_device_is_known_as_long_as_its_status_says_that_it_was_heard_lately() -> None:
    payload = payloads.device_status(
        "left", "offline", is_paused=False, heard_utc_s=1.8e9, origin=ORIGIN, published_utc_s=1.9e9
    )
    kept = {topics.device_status_topic("home", "left"): payload}
    assert made().heard_from(kept, since_s=1.8e9 - 1) == {"left"}
    assert made().heard_from(kept, since_s=1.8e9 + 1) == set()


def test_the_status_of_a_gateway_is_no_devices() -> None:
    online = payloads.status("online", origin=ORIGIN, published_utc_s=1.8e9)
    assert made().heard_from({topics.status_topic("home"): online}, since_s=0.0) == set()


def test_a_state_of_which_nobody_knows_when_it_was_told_counts() -> None:
    dateless = payloads.state(UPDATE, origin=ORIGIN, timing=structs.replace(TIMING, published_utc_s=-1.0))
    assert made().heard_from({"vskd/home/left/state": dateless}, since_s=2e9) == {"left"}


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"null", b"\xff", b'{"device":"left"}', b'{"device":5,"published_utc":null}'),
        b'{"device":"right","published_utc":null}',
        b'{"device":"a/b","published_utc":null}',
        b'{"device":"left","published_utc":"yesterday"}',
        *BROKEN,
    ],
)
def test_what_is_no_state_of_the_topics_device_tells_of_nobody(payload: bytes) -> None:
    assert made().heard_from({"vskd/home/left/state": payload}, since_s=0.0) == set()


def test_a_time_without_a_zone_is_utc() -> None:
    payload = b'{"device":"left","published_utc":"2026-01-01T00:00:00"}'
    assert made().heard_from({"vskd/home/left/state": payload}, since_s=1_767_225_600.0) == {"left"}


def test_the_filters_hear_all_entries_states_and_statuses_and_last_the_gateways_own() -> None:
    one = made()
    entries, states, statuses, status = one.filters
    assert entries.replace("+", "left") == one.device("left").topic
    assert states.replace("+", "left") == topics.state_topic("home", "left")
    assert statuses.replace("+", "left") == topics.device_status_topic("home", "left")
    assert one.can_read({status: b""})
    assert not one.can_read({topics.state_topic("home", "status"): b""})
    every = discovery.filters("homeassistant")
    assert every[0].replace("+", "vskd_home") == one.gateway().topic
    assert every[1].replace("+", "vskd_home", 1).replace("+", "left") == one.device("left").topic


def test_what_is_never_told_of_a_device_is_no_option_of_its_sensors():
    plain = manifest(labels=("sit", "walk", "run"))
    decision = plain.decision.model_copy(update={"coarse": {"walk": "feet", "run": "feet"}})
    made = Discovery(
        origin=ORIGIN,
        manifest=plain.model_copy(update={"decision": decision}),
        no_data_after_s=10.0,
        moving=("feet",),
        prefix="homeassistant",
        untold={"left": {"walk"}, "right": {"walk", "run"}},
    )
    left, right = (config(made.device(device))["components"] for device in ("left", "right"))
    assert left["activity"]["options"][:3] == ["sit", "run", "unknown"]
    assert left["coarse_activity"]["options"][:2] == ["sit", "feet"]
    assert "walk" not in left["moving"]["value_template"]
    assert right["activity"]["options"][:2] == ["sit", "unknown"]
    assert "feet" not in right["coarse_activity"]["options"]
    assert right["moving"] == {"platform": "binary_sensor"}
