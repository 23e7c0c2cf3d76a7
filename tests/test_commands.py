from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vskd_stream.commands import (
    COMMANDS,
    MAX_BYTES,
    Allowance,
    ListDevices,
    Pause,
    Reload,
    Resume,
    SetLogLevel,
    TellStates,
    parse,
)


@pytest.mark.parametrize(
    ("name", "payload", "command"),
    [
        ("devices", b"", ListDevices()),
        ("devices", b"{}", ListDevices()),
        ("pause", b'{"device": "left", "id": "7"}', Pause(device="left", id="7")),
        ("resume", b'{"device": "left"}', Resume(device="left")),
        ("log_level", b'{"level": "debug"}', SetLogLevel(level="debug")),
        ("reload", b"", Reload()),
        ("states", b'{"id": null}', TellStates()),
    ],
)
def test_a_command_is_read(name, payload, command):
    parsed = parse(name, payload)
    assert (parsed.command, parsed.error, parsed.request_id) == (command, None, command.id)


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("pause", b"", "missing required field `device`"),
        ("pause", b'{"device": "a/b"}', "matching regex"),
        ("pause", b'{"device": ["left"]}', r"Expected `str`, got `array` - at `\$.device`"),
        ("pause", b'{"device": "left", "path": "/etc"}', "unknown field `path`"),
        ("log_level", b'{"level": "all"}', "Invalid enum value 'all'"),
        ("devices", b"[]", "Expected `object`, got `array`"),
        ("devices", b"\xff", "not what devices takes"),
        ("devices", b'{"id": "\xff"}', "not what devices takes"),
        ("devices", b'{"id": 7}', "Expected `str | null`, got `int`"),
        ("devices", b'{"id": "' + b"7" * 65 + b'"}', "length <= 64"),
        ("devices", b'{"x": ' + b"[" * 2000, "not what devices takes"),
        ("devices", b" " * (MAX_BYTES + 1), "4097 bytes; a command has at most 4096"),
        (
            "restart",
            b"{}",
            "no command 'restart'; there are devices, log_level, pause, reload, resume, states",
        ),
        ("reload", b'{"path": "/etc/vskd.yaml"}', "unknown field `path`"),
        ("../../etc", b"{}", "no command"),
        ("", b"{}", "no command ''"),
    ],
)
def test_what_is_no_command_is_refused_in_words(name, payload, words):
    parsed = parse(name, payload)
    assert parsed.command is None
    assert parsed.error is not None
    assert re.search(words, parsed.error)


def test_a_command_that_is_wrong_is_answered_under_its_id():
    assert parse("pause", b'{"id": "7", "device": 5}').request_id == "7"
    assert parse("reboot", b'{"id": "7"}').request_id == "7"
    assert parse("pause", b'{"id": "7", "device"').request_id is None


@given(st.one_of(st.sampled_from(sorted(COMMANDS)), st.text(max_size=200)), st.binary(max_size=5000))
@example("pause", b'{"device":"' + b"\xed\xa0\x80" + b'"}')
@example("pause", b"[" * 4096)
@example("pause", b'{"' + b"x" * 4000 + b'": 1}')
def test_whatever_comes_is_a_command_or_a_short_sentence(name, payload):
    parsed = parse(name, payload)
    assert (parsed.command is None) != (parsed.error is None)
    assert len(parsed.name) <= 64
    assert len(parsed.error or "") < 500


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.sampled_from(sorted(COMMANDS)),
    st.dictionaries(st.sampled_from(["id", "device", "level", "path", "broker"]), _json, max_size=4),
)
def test_a_command_holds_nothing_but_what_its_name_takes(name, fields):
    parsed = parse(name, json.dumps(fields).encode())
    if parsed.command is not None:
        assert set(fields) <= {"id", "device", "level"}
        assert parsed.command == COMMANDS[name](**fields)


def test_ten_commands_are_taken_at_once_and_then_two_a_second():
    now_s = [100.0]
    allowance = Allowance(monotonic_s=lambda: now_s[0])
    assert [allowance.take() for _ in range(13)] == ["yes"] * 10 + ["refuse", "ignore", "ignore"]
    now_s[0] += 1.0
    assert [allowance.take() for _ in range(4)] == ["yes", "yes", "refuse", "ignore"]
    now_s[0] += 3600.0
    assert [allowance.take() for _ in range(11)] == ["yes"] * 10 + ["refuse"]
    now_s[0] -= 3600.0
    assert allowance.take() == "ignore"
