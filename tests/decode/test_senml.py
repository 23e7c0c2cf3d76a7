from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decode.payloads import SENML, check_samples, encode, refused
from vskd_stream.decode import decode

BASE = {"bn": "urn:dev:mac:0024befffe804ff1:", "bu": "g"}


def pack(
    rows: dict[float, tuple[float, float, float]], *, base: dict[str, Any] = BASE
) -> list[dict[str, Any]]:
    """A pack of complete samples; the base fields stand in the first record."""
    records: list[dict[str, Any]] = [
        {"n": axis, "v": value, "t": t}
        for t, row in rows.items()
        for axis, value in zip(("acc_x", "acc_y", "acc_z"), row, strict=True)
    ]
    records[0] = {**base, **records[0]}
    return records


GOOD = pack({1.0: (0.0, 0.0, 1.0), 1.02: (0.5, 0.0, 1.0)})


def test_the_golden_pack_decodes_to_its_numbers() -> None:
    (samples,) = decode(SENML)
    check_samples(samples)
    assert samples.device == "0024befffe804ff1"
    assert samples.epoch == "utc"
    assert samples.t_s.tolist() == [1700000000.0, 1700000000.02]
    assert samples.acc_g.tolist() == [[0, -0.5, 1], [2, 0, 1]]
    assert samples.sampling_rate_hz == pytest.approx(50.0, rel=1e-4)
    assert samples.sequence is None
    assert samples.gyro_dps is None


def test_a_pack_of_resolved_records_means_the_same() -> None:
    resolved = [
        {"n": f"urn:dev:mac:0024befffe804ff1:acc_{axis}", "u": "m/s2", "v": value, "t": t}
        for t, row in {1700000000.0: (0, -4.903325, 9.80665), 1700000000.02: (19.6133, 0, 9.80665)}.items()
        for axis, value in zip("xyz", row, strict=True)
    ]
    (a,), (b,) = decode(SENML), decode(encode(resolved))
    assert a.device == b.device
    assert a.t_s.tolist() == b.t_s.tolist()
    assert a.acc_g.tolist() == b.acc_g.tolist()


@pytest.mark.parametrize(
    "names", ["x", "acc_x", "acc-x", "accel:x", "acc/x", "acc.x", "accelerationX", "ACCX"]
)
def test_a_name_that_ends_in_an_axis_is_an_acceleration(names: str) -> None:
    x, y, z = (names[:-1] + (axis.upper() if names[-1].isupper() else axis) for axis in "xyz")
    records = [
        {"n": n, "v": v, "t": 5.0, **(BASE if n == x else {})} for n, v in ((x, 0.25), (y, 0.5), (z, 1))
    ]
    (samples,) = decode(encode(records), sampling_rate_hz=50.0)
    assert samples.acc_g.tolist() == [[0.25, 0.5, 1]]
    assert samples.device == "0024befffe804ff1"


@pytest.mark.parametrize(
    "name",
    ["gravity/x", "gyro_x", "linear_acceleration_x", "mag:x", "max", "acc", "acc__x", "", "x" * 300, "/x"],
)
def test_records_of_other_names_are_left_alone_whatever_their_unit(name: str) -> None:
    (samples,) = decode(encode([*GOOD, {"n": name, "u": "lx", "v": 7, "t": 1.0}]))
    assert samples.acc_g.tolist() == [[0, 0, 1], [0.5, 0, 1]]


@pytest.mark.parametrize(
    ("base_name", "name", "device"),
    [
        ("urn:dev:mac:0024befffe804ff1:", "acc_", "0024befffe804ff1"),
        ("urn:dev:ow:10e2073a01080063", "acc_", "10e2073a01080063"),
        ("watch-1/", "", "watch-1"),
        ("https://example.org/devices/w7/", "accel:", "w7"),
        ("urn:dev:mac:0024:acc:", "", "0024"),
        ("urn:dev:mac:0024/Accelerometer/", "", "0024"),
        ("", "watch-2/acc/", "watch-2"),
        ("home/", "watch-3:acc_", "watch-3"),
        ("urn:dev:mac:0025:acc_%", None, "0025"),
    ],
)
def test_the_device_is_the_last_part_of_the_base_name(base_name: str, name: str | None, device: str) -> None:
    records = [
        {
            "bn": base_name.replace("%", axis),
            "u": "g",
            "v": 1,
            "t": 0,
            **({} if name is None else {"n": name + axis}),
        }
        for axis in "xyz"
    ]
    assert decode(encode(records), sampling_rate_hz=50)[0].device == device


def test_several_devices_in_a_pack_are_kept_apart() -> None:
    first = pack({1.0: (0, 0, 1), 1.02: (0, 0, 1)}, base={"bn": "urn:dev:1:", "bu": "g"})
    second = pack({1.0: (1, 0, 0), 1.04: (1, 0, 0)}, base={"bn": "urn:dev:2:"})
    one, two = decode(encode(first + second))
    assert (one.device, two.device) == ("1", "2")
    assert one.acc_g[:, 2].tolist() == [1, 1]
    assert two.acc_g[:, 0].tolist() == [1, 1]
    assert two.sampling_rate_hz == pytest.approx(25.0)


def test_base_fields_hold_until_they_are_set_again() -> None:
    records = [
        {"bn": "w:", "bu": "mg", "bt": 100.0, "bv": 500, "n": "x", "v": 0, "t": 0},
        {"n": "y", "v": 250, "t": 0},
        {"n": "z", "u": "m/s2", "bv": 0, "v": 9.80665, "t": 0},
        {"bt": 200.0, "bu": "g", "n": "x", "v": 0.125, "t": 1},
        {"n": "y", "v": 0.25, "t": 1},
        {"bt": 201.0},
        {"n": "z", "v": 1},
    ]
    (samples,) = decode(encode(records), sampling_rate_hz=50.0)
    assert samples.t_s.tolist() == [100.0, 201.0]
    assert samples.acc_g.tolist() == [[0.5, 0.75, 1], [0.125, 0.25, 1]]


def test_samples_without_all_axes_are_dropped_and_repeated_ones_ignored() -> None:
    records = [*GOOD, {"n": "acc_x", "v": 9, "t": 1.0}, {"n": "acc_x", "v": 1, "t": 1.04}]
    (samples,) = decode(encode(records))
    assert samples.t_s.tolist() == [1.0, 1.02]
    assert samples.acc_g[:, 0].tolist() == [0, 0.5]


@given(order=st.permutations(range(18)))
def test_records_may_come_in_any_order(order: list[int]) -> None:
    rows = {i / 50: (i / 8, -i / 8, 1.0) for i in range(6)}
    records = pack(rows, base={})
    shuffled = [{**BASE, **records[order[0]]}, *(records[i] for i in order[1:])]
    (samples,) = decode(encode(shuffled))
    assert samples.t_s.tolist() == list(rows)
    assert samples.acc_g.tolist() == [list(row) for row in rows.values()]


def test_times_below_two_to_the_28_are_the_devices_own() -> None:
    assert decode(encode(GOOD))[0].epoch == "device"
    base = {**BASE, "bt": 2.0**28 - 2}
    assert refused(encode(pack({0.0: (0, 0, 1), 3.0: (0, 0, 1)}, base=base))).reason == "bad_time"


def test_a_configured_rate_goes_before_the_measured_one() -> None:
    assert decode(encode(GOOD), sampling_rate_hz=52.0)[0].sampling_rate_hz == 52.0
    assert decode(encode(GOOD))[0].sampling_rate_hz == pytest.approx(50.0)


def test_the_measured_rate_survives_a_lost_sample() -> None:
    times = [i / 50 for i in range(25) if i != 7]
    (samples,) = decode(encode(pack(dict.fromkeys(times, (0, 0, 1)))))
    assert samples.sampling_rate_hz == pytest.approx(50.0)


def test_a_sum_or_a_text_beside_the_values_is_no_sample() -> None:
    others = [
        {"n": "acc_x", "s": 5, "t": 1.04},
        {"n": "acc_y", "vs": "n/a", "t": 1.04},
        {"n": "acc_z", "vb": True},
    ]
    assert len(decode(encode([*GOOD, *others]))[0]) == 2


def with_first(**fields: Any) -> list[dict[str, Any]]:
    """``GOOD`` with fields of its first record replaced; None takes a field away."""
    first = {name: value for name, value in {**GOOD[0], **fields}.items() if value is not None}
    return [first, *GOOD[1:]]


REFUSALS: dict[str, tuple[Any, str, str]] = {
    "another version": (with_first(bver=11), "unsupported_schema", "record 0"),
    "a later version in a later record": ([*GOOD, {"bver": 26}], "unsupported_schema", "record 6"),
    "a field that must be understood": (with_first(tz_="CET"), "unsupported_schema", '"tz_"'),
    "no unit": (with_first(bu=None), "unknown_unit", "no unit"),
    "an unknown unit": (with_first(u="Cel"), "unknown_unit", '"Cel"'),
    "no base name": (with_first(bn=None), "no_device", "topic"),
    "a base name of a quantity alone": (with_first(bn="acc:"), "no_device", "topic"),
    "a base name that ends in no identifier": (with_first(bn="urn:a b:"), "bad_device", '"a b"'),
    "no axis complete": (GOOD[:2], "empty", "x, y and z"),
    "axes at different times": (
        [{**record, "t": i / 50} for i, record in enumerate(GOOD)],
        "empty",
        "equal times",
    ),
    "no records": ([], "empty", "x, y and z"),
    "empty records": ([{}, {}], "empty", "x, y and z"),
    "no time": (with_first(t=None), "bad_time", "neither"),
    "a time before now": ([{**record, "t": record["t"] - 2} for record in GOOD], "bad_time", "now"),
    "utc and device times": (
        [*GOOD, *pack({1.7e9: (0, 0, 1)})],
        "bad_time",
        "mixes",
    ),
    "utc in milliseconds": (pack({1.7e12: (0, 0, 1), 1.7e12 + 20: (0, 0, 1)}), "bad_time", "utc"),
    "an absurd time": (pack({1e308: (0, 0, 1)}, base={**BASE, "bt": 1e308}), "not_finite", "finite"),
    "more than 64 g": (with_first(v=65), "out_of_range", "acc[0].x is 65 g"),
    "an absurd value": (with_first(v=1e308, bv=1e308), "not_finite", "acc[0].x"),
    "a rate too high": (pack({1.0: (0, 0, 1), 1.0001: (0, 0, 1)}), "bad_rate", "10000"),
    "a rate too low": (pack({1.0: (0, 0, 1), 9.0: (0, 0, 1)}), "bad_rate", "0.125"),
    "one sample and no rate": (pack({1.0: (0, 0, 1)}), "bad_rate", "sampling_rate_hz"),
    "too many samples": (
        pack({i / 50: (0, 0, 1) for i in range(10_000)}),
        "too_many_samples",
        "10000",
    ),
    "too many records": ([{}] * 70_000, "too_many_samples", "records"),
    "null for a value": ([*GOOD, {"n": "acc_x", "v": None}], "malformed", "$[6].v"),
    "text for a value": (with_first(v="1"), "malformed", "$[0].v"),
    "a record that is no object": ([1], "malformed", "$[0]"),
}


@pytest.mark.parametrize(("records", "reason", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_bad_pack_is_refused_with_its_reason_in_words(records: Any, reason: str, words: str) -> None:
    error = refused(encode(records))
    assert (error.reason, words in error.detail) == (reason, True), error


@pytest.mark.parametrize("spelling", [rb"tz\u005f", rb"tz\u005F", b"_"])
def test_a_field_that_must_be_understood_is_found_however_it_is_spelt(spelling: bytes) -> None:
    payload = encode(GOOD).replace(b'"bn"', b'"' + spelling + b'" : 1, "bn"')
    assert refused(payload).reason == "unsupported_schema"


def test_an_underscore_that_ends_a_value_does_no_harm() -> None:
    assert len(decode(encode([*GOOD, {"n": "a_", "vs": "b_"}]))[0]) == 2


def test_a_topics_device_names_a_pack_of_one_base_name_only() -> None:
    assert decode(encode(with_first(bn=None)), device="w9")[0].device == "w9"
    second = pack({1.0: (1, 0, 0)}, base={"bn": "urn:dev:2:"})
    assert refused(encode(GOOD + second), device="w9").reason == "bad_device"


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from("xyz"), st.integers(-2000, 2000)),
        min_size=1,
        max_size=60,
    )
)
def test_axes_are_joined_as_a_slow_table_would(readings: list[Any]) -> None:
    records = [{"n": axis, "u": "mg", "v": v, "t": tick / 50} for tick, axis, v in readings]
    table: dict[float, dict[str, int]] = {}
    for tick, axis, v in readings:
        table.setdefault(tick / 50, {}).setdefault(axis, v)
    expected = {t: [row[axis] for axis in "xyz"] for t, row in sorted(table.items()) if len(row) == 3}
    if not expected:
        assert refused(encode(records), device="w", sampling_rate_hz=50.0).reason == "empty"
        return
    (samples,) = decode(encode(records), device="w", sampling_rate_hz=50.0)
    assert samples.t_s.tolist() == list(expected)
    np.testing.assert_array_equal(samples.acc_g, np.float32(np.array(list(expected.values())) / 1000))
