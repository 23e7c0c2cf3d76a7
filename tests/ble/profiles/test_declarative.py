from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.ble.profiles.links import ARRIVAL_S, FakeLink, Write, fed, feed, one, started
from tests.decode.payloads import check_samples
from vskd_stream.errors import ConfigError, DecodeError, OptionError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Advertisement, Session
from vskd_stream.sources.ble.profiles.declarative import PROFILE, load

BAND = """
characteristic: "fff1"
service: 0000fff0-0000-1000-8000-00805f9b34fb
sampling_rate_hz: 50
layout:
  - constant: "a5"
  - sequence: u8
  - tick: u16
    rate_hz: 1000
  - samples: [x, y, z]
    type: i16
    count: fill
acc: {unit: g, scale: 1/4096, range_g: 8}
start:
  - {characteristic: "fff2", data: "01 32"}
  - {characteristic: "fff2", service: "fff0", data: "02", response: false, pause_s: 0.001}
stop:
  - {characteristic: "fff2", data: "00"}
match: {name: MyBand, service: "fff0"}
note: shakes
"""
GOLDEN = bytes.fromhex(
    "a5"  # what each packet begins with
    "07"  # sequence number 7
    "e803"  # tick 1000, in milliseconds, of the last sample
    "0000 00f8 0010"  # 0, -2048 and 4096 of 4096 to the g
    "ff7f 0000 0000"  # 32767, 0 and 0
)
FULL = "0000{}-0000-1000-8000-00805f9b34fb"
PLAIN: dict[str, Any] = {
    "characteristic": "fff1",
    "sampling_rate_hz": 50,
    "layout": [{"samples": ["x", "y", "z"], "type": "i16"}],
    "acc": {"unit": "mg"},
}


def described(text: str = BAND, **changes: Any) -> dict[str, Any]:
    """The options of a device, with some changed or, by None, left out."""
    options = {**yaml.safe_load(text), **changes}
    return {key: value for key, value in options.items() if value is not None}


def band(number: int, tick: int, *, samples: int = 5) -> bytes:
    head = struct.pack("<BBH", 0xA5, number % 256, tick % 65536)
    return head + b"".join(struct.pack("<3h", number * samples + k, 0, 4096) for k in range(samples))


def streamed(session: Session, packets: list[tuple[float, bytes]]) -> list[Samples]:
    found, refused = fed(session, packets)
    assert refused == []
    return found


def times(batches: list[Samples]) -> Any:
    return np.concatenate([samples.t_s for samples in batches])


async def test_the_golden_packet_decodes_to_its_numbers() -> None:
    samples = one(feed(await started(PROFILE, described()), GOLDEN))
    check_samples(samples)
    assert samples.acc_g.tolist() == [[0, -0.5, 1], [np.float32(32767 / 4096), 0, 0]]
    np.testing.assert_allclose(samples.t_s, [ARRIVAL_S - 0.02, ARRIVAL_S])
    assert samples.sampling_rate_hz == 50.0


async def test_a_session_writes_what_is_described() -> None:
    link = FakeLink()
    session = await started(PROFILE, described(), link)
    assert session.notify == (f"{FULL.format('fff0')}/{FULL.format('fff1')}",)
    assert link.writes == [
        Write(FULL.format("fff2"), b"\x01\x32"),
        Write(f"{FULL.format('fff0')}/{FULL.format('fff2')}", b"\x02", response=False),
    ]
    await session.stop(link)
    assert link.writes[2:] == [Write(FULL.format("fff2"), b"\0")]
    traits = session.traits
    assert (traits.sampling_rate_hz, traits.range_g, traits.clock, traits.note) == (50, 8, "device", "shakes")


async def test_what_comes_before_the_writes_are_done_is_left_out() -> None:
    assert feed(PROFILE.session("d1", described()), GOLDEN) == []


@pytest.mark.parametrize(
    ("acc", "raw", "acc_g"),
    [
        ({"unit": "mg"}, (0, -500, 1000), [0, -0.5, 1]),
        ({"unit": "g", "scale": 1 / 1024}, (0, -512, 1024), [0, -0.5, 1]),
        ({"unit": "g", "scale": "1/1024"}, (0, -512, 1024), [0, -0.5, 1]),
        ({"unit": "g", "scale": "16 / 32768"}, (0, -1024, 2048), [0, -0.5, 1]),
        ({"unit": "m/s2", "scale": 0.00980665}, (0, -500, 1000), [0, -0.5, 1]),
    ],
)
async def test_scale_and_unit_bring_values_to_g(acc: Any, raw: tuple[int, ...], acc_g: list[float]) -> None:
    session = await started(PROFILE, {**PLAIN, "acc": acc})
    np.testing.assert_allclose(one(feed(session, struct.pack("<3h", *raw))).acc_g, [acc_g], rtol=1e-6)


@pytest.mark.parametrize(
    ("gyro", "dps"),
    [({"unit": "deg/s", "scale": 0.5}, 45), ({"unit": "rad/s", "scale": "1/90"}, 180 / math.pi)],
)
async def test_angular_rates_come_out_in_degrees(gyro: Any, dps: float) -> None:
    layout = [{"samples": ["x", "y", "z"], "type": "i16"}, {"samples": ["gx", "gy", "gz"], "type": "i16"}]
    session = await started(PROFILE, {**PLAIN, "layout": layout, "gyro": gyro})
    samples = one(feed(session, struct.pack("<6h", 0, 0, 1000, 90, 0, -90)))
    check_samples(samples)
    assert samples.gyro_dps is not None
    np.testing.assert_allclose(samples.gyro_dps, [[dps, 0, -dps]], rtol=1e-6)


async def test_numbered_and_timed_packets_are_dated_over_both_wraps() -> None:
    session = await started(PROFILE, described())
    found = streamed(session, [(i * 0.1, band(i, 60_000 + i * 100)) for i in range(600)])
    np.testing.assert_allclose(times(found), times(found)[0] + np.arange(3000) * 0.02, atol=1e-5)


async def test_their_loss_leaves_a_hole() -> None:
    session = await started(PROFILE, described())
    packets = [(i * 0.1, band(i, i * 100)) for i in range(20) if i not in {7, 8, 15}]
    found = times(streamed(session, packets))
    np.testing.assert_allclose(found - found[0], np.r_[0:35, 45:75, 80:100] * 0.02, atol=1e-5)


@pytest.mark.parametrize("counts", ["packets", "samples"])
async def test_numbers_alone_advance_the_count_by_what_was_lost(counts: str) -> None:
    layout = [{"sequence": "u8", "counts": counts}, {"samples": ["x", "y", "z"], "type": "i16", "count": 5}]
    session = await started(PROFILE, {**PLAIN, "layout": layout})
    assert session.traits.clock == "counter"
    step = 5 if counts == "samples" else 1
    packets = [
        (i * 0.1, bytes([i * step % 256]) + struct.pack("<15h", *range(15)))
        for i in range(100)
        if i not in {40, 41, 60}
    ]
    found = times(streamed(session, packets))
    due = np.r_[0:200, 210:300, 305:500] * 0.02
    np.testing.assert_allclose(found - found[0], due, atol=1e-5)


async def test_ticks_alone_date_the_samples() -> None:
    layout = [
        {"tick": "u32", "rate_hz": 1000, "dates": "first"},
        {"samples": ["x", "y", "z"], "type": "i16", "count": 5},
    ]
    session = await started(PROFILE, {**PLAIN, "layout": layout})
    packets = [
        (i * 0.1, struct.pack("<I15h", 2000 + i * 100, *range(15))) for i in range(20) if i not in {7, 8}
    ]
    np.testing.assert_allclose(
        times(streamed(session, packets)), 62.0 + np.r_[0:35, 45:100] * 0.02, atol=1e-6
    )


async def test_without_either_samples_are_counted() -> None:
    session = await started(PROFILE, PLAIN)
    found = times(streamed(session, [(i * 0.02, struct.pack("<3h", 0, 0, 1000)) for i in range(50)]))
    np.testing.assert_allclose(found, ARRIVAL_S + np.arange(50) * 0.02)


async def test_a_repeated_packet_keeps_its_times() -> None:
    session = await started(PROFILE, described())
    first, second, third = streamed(session, [(0, band(0, 0)), (0.01, band(0, 0)), (0.1, band(1, 100))])
    assert first.t_s.tolist() == second.t_s.tolist()
    assert third.t_s[0] - first.t_s[-1] == pytest.approx(0.02, abs=1e-6)


async def test_what_is_no_packet_is_refused_and_the_next_one_is_read() -> None:
    session = await started(PROFILE, described())
    for data in (b"", GOLDEN[:-1], b"\xa6" + GOLDEN[1:], GOLDEN[:4]):
        with pytest.raises(DecodeError, match="malformed"):
            feed(session, data)
    assert len(one(feed(session, GOLDEN))) == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [(math.nan, "not_finite"), (math.inf, "not_finite"), (65.0, "out_of_range"), (-3e38, "out_of_range")],
)
async def test_values_that_nothing_measures_are_refused(value: float, reason: str) -> None:
    layout = [{"samples": ["x", "y", "z"], "type": "f32"}]
    session = await started(PROFILE, {**PLAIN, "layout": layout, "acc": {"unit": "g"}})
    with pytest.raises(DecodeError) as caught:
        feed(session, struct.pack("<3f", 0, value, 0))
    assert caught.value.reason == reason


async def test_scaling_that_overflows_is_refused_as_such() -> None:
    layout = [{"samples": ["x", "y", "z"], "type": "f64"}]
    session = await started(PROFILE, {**PLAIN, "layout": layout, "acc": {"unit": "g", "scale": 1e6}})
    with pytest.raises(DecodeError, match="not_finite"):
        feed(session, struct.pack("<3d", 0, 1e308, 0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"characteristic": None}, "characteristic: Field required"),
        ({"characteristic": 1234}, "characteristic: .*quotes"),
        ({"characteristic": "fff"}, "4 hexadecimal digits"),
        ({"characteristic": "6fbe1da7-3001-44de-92c4-bb6e04fb021"}, "4 hexadecimal digits"),
        ({"sampling_rate_hz": 0}, "sampling_rate_hz: .*greater than or equal to 1"),
        ({"sampling_rate_hz": "50"}, "sampling_rate_hz: .*valid number"),
        ({"layout": []}, "layout: .*at least 1"),
        (
            {"layout": [{"sample": "x"}]},
            "layout.0: a part of a layout is a mapping with one of the keys samples",
        ),
        ({"layout": ["x"]}, "layout.0: a part of a layout"),
        ({"layout": [{"samples": ["x", "y", "z"], "type": "i24"}]}, "type: .*'i8', 'u8'"),
        ({"layout": [{"samples": ["x", "y", "z"], "type": "i16", "count": 0}]}, "count"),
        ({"layout": [{"samples": ["x", "y", "w"], "type": "i16"}]}, "a column is x, y, z"),
        ({"layout": [{"samples": ["x", "y"], "type": "i16"}]}, "the layout has no z"),
        ({"layout": [{"sequence": "u16"}]}, "the layout has no x, y, z"),
        ({"layout": [{"tick": "u16"}]}, "layout.0.tick.rate_hz: Field required"),
        (
            {"layout": [{"samples": ["x", "y", "z"], "type": "i16", "sequence": "u8"}]},
            "sequence: Extra inputs",
        ),
        ({"acc": {"unit": "cm"}}, "acc.unit: .*'g', 'mg' or 'm/s2'"),
        ({"acc": {"unit": "g", "scale": 0}}, "acc.scale: .*greater than 0"),
        ({"acc": {"unit": "g", "scale": "1/0"}}, "acc.scale: .*a fraction such as 1/4096"),
        ({"acc": {"unit": "g", "scale": "__import__"}}, "acc.scale: .*a fraction such as 1/4096"),
        ({"acc": {"unit": "g", "scale": float("inf")}}, "acc.scale: "),
        ({"gyro": {"unit": "deg/s"}}, "gx, gy, gz in the layout and the unit under `gyro` go together"),
        ({"start": [{"characteristic": "fff2", "data": 1}]}, "start.0.data: .*quotes"),
        ({"start": [{"characteristic": "fff2", "data": "0"}]}, "start.0.data: .*pairs of hexadecimal"),
        ({"start": [{"characteristic": "fff2", "data": "00", "pause_s": 60}]}, "start.0.pause_s"),
        ({"scale": 1}, "scale: Extra inputs"),
    ],
)
def test_a_description_that_cannot_be_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        PROFILE.session("d1", described(**changes))


def test_by_itself_it_recognises_nothing() -> None:
    assert not PROFILE.matches(Advertisement("a", "MyBand", frozenset(), -50))


async def test_a_file_becomes_a_profile_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my-band.yaml"
    path.write_text(BAND)
    profile = load(path)
    assert profile.name == "my-band"
    assert profile.matches(Advertisement("a", "MyBand 7", frozenset(), -50))
    assert profile.matches(Advertisement("a", "", frozenset({FULL.format("fff0")}), -50))
    assert not profile.matches(Advertisement("a", "Band", frozenset(), -50))
    assert len(one(feed(await started(profile), GOLDEN))) == 2
    with pytest.raises(OptionError, match="sampling_rate_hz"):
        profile.session("d1", {"sampling_rate_hz": 50})


def test_a_file_that_names_nothing_recognises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "my-band.yaml"
    path.write_text(yaml.safe_dump(described(match=None)))
    assert not load(path).matches(Advertisement("a", "", frozenset(), -50))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            BAND.replace("type: i16", "type: i17").replace("unit: g,", "unit: k,"),
            ["line 11: layout.3.type: ", "line 13: acc.unit: "],
        ),
        (BAND.replace('data: "00"', "data: 00"), ["line 18: stop.0.data: "]),
        (BAND.replace("sampling_rate_hz: 50", ""), ["line 2: sampling_rate_hz: Field required"]),
        ("[1, 2]", ["it must be a mapping"]),
        ("", ["it must be a mapping"]),
        ("a: [", ["line 1: "]),
        ("a: &a [1]\nb: *a", ["aliases"]),
        ("\0", ["no YAML"]),
        ("x: " + "y" * 70_000, ["larger than 64 KiB"]),
        ("[" * 60_000, ["nested more than 8 levels"]),
    ],
)
def test_a_file_with_mistakes_is_told_with_their_lines(
    tmp_path: Path, text: str, problems: list[str]
) -> None:
    path = tmp_path / "band.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(caught.value.problems) == len(problems)
    for told, words in zip(caught.value.problems, problems, strict=True):
        assert words in told


def test_a_file_that_is_not_there_or_has_no_name_for_a_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "band.yaml")
    with pytest.raises(ConfigError, match="becomes the profile's"):
        load(tmp_path / "my band.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"note: \xff")
    with pytest.raises(ConfigError, match="no YAML"):
        load(tmp_path / "latin.yaml")
