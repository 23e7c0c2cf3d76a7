from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.manifests import manifest
from vskd_stream import payloads
from vskd_stream.clock import ClockFit, ClockKind
from vskd_stream.events import ActivityEvent, Decider
from vskd_stream.health import Health, HealthMonitor
from vskd_stream.lifecycle import Preferences
from vskd_stream.payloads import DeviceState, Origin, Timing
from vskd_stream.samples import Gap, GapReason
from vskd_stream.scores import Scores

ORIGIN = Origin(gateway="home", bundle_name="wrist", bundle_sha256="ab" * 32, version="0.1.0")
TIMING = Timing(clock="host", utc_offset_s=1_700_000_000.0, published_utc_s=1_700_000_006.25)
START = ActivityEvent(
    device="left",
    type="start",
    label="walk",
    coarse_label="moving",
    id="0123456789abcdef" * 2,
    confidence=0.912345,
    start_sample=80,
    start_s=4.0,
    start_uncertainty_s=None,
    at_sample=120,
    at_s=6.0,
    wrist="left",
)
UPDATE = replace(START, type="update", confidence=0.95, at_sample=1200, at_s=60.0)
END = replace(
    UPDATE,
    type="end",
    at_sample=1230,
    at_s=61.5,
    end_sample=1190,
    end_s=59.5,
    end_uncertainty_s=1.0,
    reason="changed",
)
WINDOW = Scores("left", 120, np.array([0.123456, 0.876544], np.float32))
HEAD = (
    b'"id":"0123456789abcdef0123456789abcdef","gateway":"home","device":"left","wrist":"left",'
    b'"label":"walk","coarse_label":"moving",'
)
BEGAN = b'"start_sample":80,"start_s":4.0,"start_utc":"2023-11-14T22:13:24.000Z","start_uncertainty_s":null,'
GOES_ON = b'"end_sample":null,"end_s":null,"end_utc":null,"end_uncertainty_s":null,'
BUNDLE = b'"bundle":{"name":"wrist","sha256":"' + b"ab" * 32 + b'"},'

Name = payloads.SchemaName
HEALTH = HealthMonitor().read(1.7e9, fit=ClockFit(residual_p95_s=0.5, ppm=12.3, span_s=60.0, restarts=0))


def check(name: Name, payload: bytes) -> dict[str, Any]:
    """Decode a payload that its schema accepts and whose every key it describes."""
    schema = payloads.schema(name)
    value: dict[str, Any] = json.loads(payload)
    Draft202012Validator(schema).validate(value)
    assert list(value) == list(schema["properties"]) == schema["required"]
    return value


def event(activity: ActivityEvent, timing: Timing = TIMING) -> dict[str, Any]:
    return check("event", payloads.event(activity, origin=ORIGIN, timing=timing))


def state(activity: ActivityEvent, timing: Timing = TIMING) -> dict[str, Any]:
    return check("state", payloads.state(activity, origin=ORIGIN, timing=timing))


def scores(window: Scores = WINDOW, timing: Timing = TIMING) -> dict[str, Any]:
    return check("scores", payloads.scores(window, manifest=manifest(), origin=ORIGIN, timing=timing))


def online(published_utc_s: float = 0.0) -> dict[str, Any]:
    return check("status", payloads.status("online", origin=ORIGIN, published_utc_s=published_utc_s))


def health(measured: Health = HEALTH) -> dict[str, Any]:
    return check("health", payloads.health("left", measured, origin=ORIGIN, published_utc_s=1.7e9))


def device_status(state: DeviceState = "online", heard_utc_s: float | None = 1.7e9) -> dict[str, Any]:
    payload = payloads.device_status(
        "left", state, is_paused=False, heard_utc_s=heard_utc_s, origin=ORIGIN, published_utc_s=1.7e9
    )
    return check("device_status", payload)


def response(*, error: str | None = None, result: dict[str, Any] | None = None) -> dict[str, Any]:
    payload = payloads.response(
        "devices", request_id="7", error=error, result=result, origin=ORIGIN, published_utc_s=1.7e9
    )
    return check("response", payload)


GOOD: dict[Name, Callable[[], dict[str, Any]]] = {
    "event": lambda: event(END),
    "state": lambda: state(UPDATE),
    "scores": scores,
    "status": online,
    "health": health,
    "device_status": device_status,
    "response": lambda: response(result={}),
}


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        (
            START,
            b'{"schema":"vskd.event/1","event_type":"start",'
            + HEAD
            + b'"confidence":0.9123,"reason":null,'
            + BEGAN
            + b'"at_sample":120,"at_s":6.0,'
            + GOES_ON
            + b'"duration_s":2.0,'
            + BUNDLE
            + b'"clock":"host","published_utc":"2023-11-14T22:13:26.250Z","latency_ms":250,'
            b'"replayed":false}',
        ),
        (
            UPDATE,
            b'{"schema":"vskd.event/1","event_type":"update",'
            + HEAD
            + b'"confidence":0.95,"reason":null,'
            + BEGAN
            + b'"at_sample":1200,"at_s":60.0,'
            + GOES_ON
            + b'"duration_s":56.0,'
            + BUNDLE
            + b'"clock":"host","published_utc":"2023-11-14T22:13:26.250Z","latency_ms":-53750,'
            b'"replayed":false}',
        ),
        (
            END,
            b'{"schema":"vskd.event/1","event_type":"end",'
            + HEAD
            + b'"confidence":0.95,"reason":"changed",'
            + BEGAN
            + b'"at_sample":1230,"at_s":61.5,"end_sample":1190,"end_s":59.5,'
            b'"end_utc":"2023-11-14T22:14:19.500Z","end_uncertainty_s":1.0,"duration_s":55.5,'
            + BUNDLE
            + b'"clock":"host","published_utc":"2023-11-14T22:13:26.250Z","latency_ms":-55250,'
            b'"replayed":false}',
        ),
    ],
)
def test_an_events_bytes_are_these(activity: ActivityEvent, expected: bytes) -> None:
    assert payloads.event(activity, origin=ORIGIN, timing=TIMING) == expected
    event(activity)


def test_a_state_tells_what_goes_on() -> None:
    assert payloads.state(UPDATE, origin=ORIGIN, timing=TIMING) == (
        b'{"schema":"vskd.state/1","gateway":"home","device":"left","wrist":"left","label":"walk",'
        b'"coarse_label":"moving","confidence":0.95,"id":"0123456789abcdef0123456789abcdef","reason":null,'
        b'"since_sample":80,"since_s":4.0,"since_utc":"2023-11-14T22:13:24.000Z",'
        + BUNDLE
        + b'"clock":"host","published_utc":"2023-11-14T22:13:26.250Z","latency_ms":-53750}'
    )
    state(UPDATE)


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("gap", "gap"),
        ("data", "unknown"),
        ("silenced", "unknown"),
        ("stopped", "no_data"),
        ("paused", "no_data"),
    ],
)
def test_a_state_after_an_end_keeps_no_label(reason: Any, label: str) -> None:
    told = state(replace(END, reason=reason))
    assert (told["label"], told["coarse_label"]) == (label, label)
    assert (told["confidence"], told["id"]) == (None, None)
    assert (told["reason"], told["since_sample"], told["since_s"]) == (reason, 1190, 59.5)


def test_a_silenced_device_has_a_state_that_says_so_and_nothing_else() -> None:
    told = check("state", payloads.silenced("left", origin=ORIGIN, published_utc_s=1.7e9))
    assert (told["label"], told["reason"]) == ("silenced", "silenced")
    assert {told[key] for key in ("id", "confidence", "since_s", "since_utc", "wrist", "clock")} == {None}


def test_scores_name_each_label_and_the_windows_ends() -> None:
    told = scores()
    assert told["probabilities"] == {"still": 0.1235, "moving": 0.8765}
    assert (told["start_sample"], told["start_s"], told["end_sample"], told["end_s"]) == (80, 4.0, 120, 6.0)
    assert told["latency_ms"] == 250


@given(
    st.integers(-(10**6), 10**12),
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2),
    st.floats(-1e10, 1e10),
    st.floats(0, 4e9),
)
def test_scores_are_the_bytes_that_an_encoder_of_json_makes(
    end: int, probabilities: list[float], offset_s: float, published_utc_s: float
) -> None:
    window = Scores("left", end, np.array(probabilities, np.float32))
    timing = Timing("host", offset_s, published_utc_s, at_s=end / 20.0, skew=1e-5)
    payload = payloads.scores(window, manifest=manifest(), origin=ORIGIN, timing=timing)
    told = json.loads(payload)
    assert payload == msgspec.json.encode(told)
    rounded = [round(probability, 4) for probability in window.probabilities.tolist()]
    assert list(told["probabilities"].values()) == rounded
    times_s = [told["start_s"], told["end_s"]]
    assert times_s == [round((end - 40) / 20.0, 6), round(end / 20.0, 6)]


def test_the_status_of_a_will_has_no_time() -> None:
    will = check("status", payloads.status("offline", origin=ORIGIN, published_utc_s=None))
    assert (will["state"], will["published_utc"]) == ("offline", None)
    assert (online()["version"], online()["published_utc"]) == ("0.1.0", "1970-01-01T00:00:00.000Z")


def test_health_is_told_in_units_that_people_read() -> None:
    measured = replace(
        HEALTH, grade="fair", reasons=("loss",), loss=0.02346, residual_p95_s=0.0456, rate_hz=49.987
    )
    told = health(replace(measured, batches=1, drift_ppm=-12.6, hole_s=1.00049))
    assert (told["quality"], told["reasons"], told["loss_pct"]) == ("fair", ["loss"], 2.35)
    assert (told["residual_p95_ms"], told["rate_hz"], told["drift_ppm"]) == (45.6, 49.99, -13)
    assert (told["hole_s"], told["turned_deg"]) == (1.0, None)
    assert health(replace(measured, turned_deg=29.6))["turned_deg"] == 30


def test_a_list_of_devices_is_a_valid_response() -> None:
    entries = [
        payloads.listed_device("left", "online", is_paused=False, heard_utc_s=1.7e9, measured=HEALTH),
        payloads.listed_device("right", "offline", is_paused=True, heard_utc_s=None, measured=None),
    ]
    told = response(result={"devices": entries})
    assert told["result"]["devices"][0]["health"]["quality"] == "unusable"
    assert response(error="no")["ok"] is False


@pytest.mark.parametrize("name", GOOD)
def test_a_payload_names_its_schema_first(name: Name) -> None:
    payload = msgspec.json.encode(GOOD[name]())
    assert payloads.schema_of(payload) == payloads.schema(name)["properties"]["schema"]["const"]


@pytest.mark.parametrize("clock", ["utc", "host"])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("event", lambda timing: event(END, timing)),
        ("state", lambda timing: state(END, timing)),
        ("scores", lambda timing: scores(WINDOW, timing)),
    ],
)
def test_only_keys_that_say_so_depend_on_arrival(
    clock: ClockKind, name: Name, make: Callable[[Timing], dict[str, Any]]
) -> None:
    one = make(Timing(clock, utc_offset_s=0.0, published_utc_s=1.7e9))
    other = make(Timing(clock, utc_offset_s=3.0 if clock == "host" else 0.0, published_utc_s=1.8e9))
    changed = {key for key in one if one[key] != other[key]}
    keys = payloads.schema(name)["properties"].items()
    always = {key for key, told in keys if re.search(r"Depends on arrival[.;]", told["description"])}
    if_host = {key for key, told in keys if "Depends on arrival where `clock`" in told["description"]}
    assert changed | {"clock"} == (always | if_host if clock == "host" else always)


@pytest.mark.parametrize("offset_s", [-1e12, -1e3, 1e12, 1e300, float("inf"), float("nan")])
def test_a_clock_that_shows_no_date_is_null_not_an_error(offset_s: float) -> None:
    timing = Timing("utc", offset_s, 1.7e9)
    for told in (event(END, timing), state(END, timing), scores(timing=timing)):
        times = [value for key, value in told.items() if key.endswith("_utc") and key != "published_utc"]
        assert {*times, told["latency_ms"]} == {None}


@pytest.mark.parametrize(
    ("utc_s", "text"),
    [
        (1.7e9 + 0.0004, "2023-11-14T22:13:20.000Z"),
        (1.7e9 + 0.9996, "2023-11-14T22:13:21.000Z"),
        (253_370_764_799.9999, "9999-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rounded_to_milliseconds(utc_s: float, text: str) -> None:
    assert online(utc_s)["published_utc"] == text


@pytest.mark.parametrize("name", GOOD)
def test_a_schema_is_one_and_describes_every_key(name: Name) -> None:
    schema = payloads.schema(name)
    Draft202012Validator.check_schema(schema)
    assert all(value["description"].endswith(".") for value in schema["properties"].values())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("event", {"schema": "vskd.event/2"}),
        ("event", {"event_type": "begin"}),
        ("event", {"id": "walk"}),
        ("event", {"device": "left/right"}),
        ("event", {"label": "Walk"}),
        ("event", {"label": "unknown"}),
        ("event", {"confidence": None}),
        ("event", {"confidence": 1.01}),
        ("event", {"confidence": "0.9"}),
        ("event", {"reason": None}),
        ("event", {"end_sample": None}),
        ("event", {"event_type": "start"}),
        ("event", {"start_sample": 80.5}),
        ("event", {"start_uncertainty_s": -1.0}),
        ("event", {"wrist": "both"}),
        ("event", {"coarse_label": None}),
        ("event", {"start_utc": "2023-11-14 22:13:24"}),
        ("event", {"duration_s": -1.0}),
        ("event", {"bundle": {"name": "wrist"}}),
        ("event", {"clock": "gps"}),
        ("state", {"id": None}),
        ("state", {"reason": "gap"}),
        ("state", {"label": "no_data"}),
        ("state", {"label": "gap", "confidence": None}),
        ("state", {"label": "silenced", "confidence": None, "id": None, "reason": "silenced"}),
        ("state", {"since_sample": None}),
        ("scores", {"probabilities": {"walk": 1.0}}),
        ("scores", {"probabilities": {"walk": 1.5, "sit": 0.0}}),
        ("scores", {"probabilities": {"Walk": 0.5, "sit": 0.5}}),
        ("status", {"state": "on"}),
        ("status", {"state": "offline"}),
        ("health", {"quality": "great"}),
        ("health", {"reasons": ["mood"]}),
        ("health", {"loss_pct": 101}),
        ("device_status", {"state": "stopped"}),
        ("device_status", {"paused": None}),
        ("response", {"ok": False}),
        ("response", {"error": "no"}),
        ("response", {"result": None}),
        ("response", {"result": {"devices": [{"device": "left"}]}}),
        ("response", {"id": "7" * 65}),
    ],
)
def test_a_schema_refuses(name: Name, changes: dict[str, Any]) -> None:
    assert not Draft202012Validator(payloads.schema(name)).is_valid(GOOD[name]() | changes)


@pytest.mark.parametrize("name", GOOD)
def test_a_schema_refuses_a_missing_key_and_takes_one_of_a_later_version(name: Name) -> None:
    validator = Draft202012Validator(payloads.schema(name))
    good = GOOD[name]()
    assert validator.is_valid(good | {"added_later": 1})
    for key in good:
        assert not validator.is_valid({other: value for other, value in good.items() if other != key})


_wishes = st.builds(
    Preferences,
    silenced=st.frozensets(st.sampled_from(["still", "moving"])),
    silent=st.booleans(),
    wrist=st.sampled_from([None, "left", "right"]),
)
_calls = st.lists(
    st.one_of(
        st.floats(0, 1, width=32), st.sampled_from(["missing", "no_data", "units_suspect", "lies"]), _wishes
    ),
    max_size=60,
)


@given(_calls, st.floats(), st.floats(), st.sampled_from(["utc", "host"]), st.sampled_from(["mean", "path"]))
@settings(max_examples=60, deadline=None)
def test_whatever_a_decider_tells_its_payloads_are_valid(
    calls: list[float | GapReason | Literal["lies"] | Preferences],
    offset_s: float,
    published_s: float,
    clock: ClockKind,
    smoothing: str,
) -> None:
    decision = manifest().decision.model_dump() | {
        "smoothing": smoothing,
        "coarse": {"moving": "awake"},
        "not_worn": {"below_g": 0.013, "for_s": 10.0},
    }
    rules = manifest(decision=decision)
    decider = Decider("left", manifest=rules, bundle_sha256=ORIGIN.bundle_sha256)
    timing = Timing(clock, offset_s, published_s)
    told, end = [], 100
    for call in calls:
        if isinstance(call, Preferences):
            told += decider.prefer(call)
        elif call == "lies":
            for _ in range(25):
                row = np.array([0.9, 0.1], np.float32)
                told += decider.push(Scores("left", end, row), unrest_g=0.0)
                end += 10
        elif isinstance(call, float):
            told += decider.push(Scores("left", end, np.array([call, 1 - call], np.float32)))
        else:
            told += decider.gap(Gap("left", end / 20, end / 20, call))
            end += 40
        end += 10
    for activity in told + decider.stop():
        event(activity, timing)
        state(activity, timing)
