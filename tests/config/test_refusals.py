"""What is said about values and keys that the models refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import GOOD, REMOTE_KEYS, problem, problems


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0.5", "`0.5` is out of range; allowed: a number from 1 to 86400"),
        ("-1", "`-1` is out of range;"),
        (".inf", "`.inf` is out of range;"),
        (".NaN", "`.NaN` is out of range;"),
        ("1.0e+999", "`1.0e+999` is out of range;"),
        ("1" * 400, "this value is out of range;"),
        ("1e3", "YAML reads `1e3` as text; write 1000; allowed: a number from 1 to 86400"),
        ('"10"', "`10` is text because of its quotes; leave them out; allowed"),
        ("ten", "`ten` is not a number; allowed"),
        ("yes", "YAML reads `yes` as true, not as a number; allowed"),
        ("[10]", "a list of 1 entries stands here; allowed: a number"),
    ],
)
def test_a_wrong_number_is_told_with_its_range(file: Path, value: str, said: str) -> None:
    told = problem(file, f"{GOOD}no_data_after_s: {value}\n")
    assert told.startswith(f"line 5: no_data_after_s: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {max_devices: 8.5}\n", "limits.max_devices: `8.5` is not a whole number; allowed: a whole"),
        (
            "replay: [{recording: demo, speed: 0}]\n",
            "replay[0].speed: `0` is out of range; allowed: a number above 0,",
        ),
        ("replay: demo\n", "replay: `demo` does not fit; allowed: a list of 0 to 64 entries"),
        ("replay: [demo]\n", "replay[0]: `demo` does not fit; allowed: a mapping (keys below it)"),
        ("replay: [~]\n", "replay[0]: nothing stands here;"),
        ("publish: {scores: maybe}\n", "publish.scores: `maybe` does not fit; allowed: `true` or `false`"),
        ("limits:\n", "limits: nothing stands here; give a value (`{}`: no keys) or leave the key out"),
        (
            "model: 5\n",
            "model: YAML reads `5` as a number; put it in quotes if it is text; allowed: a shipped",
        ),
        (
            "model: ..\n",
            "model: this is neither the name of something shipped nor a path; allowed: a shipped",
        ),
        ("model: {sha256: abc}\n", "model.sha256: `abc` does not fit; allowed: 64 hexadecimal digits"),
        (
            "gatway: x\n",
            "gatway: unknown key; did you mean `gateway`? allowed: `gateway`, `broker`, `sources`",
        ),
        ("no: x\n", "no: unknown key; allowed: `gateway`"),
        ("1: x\n", "1: unknown key; allowed: `gateway`"),
        ("a b=c: x\n", "?: unknown key; allowed: `gateway`"),
        ("[a]: x\n", "a key must be a word"),
        ("<<: {a: 1}\n", "?: unknown key; allowed"),
        ("gateway: y\n", "gateway: stands here a second time (first on line 1); allowed: once"),
    ],
)
def test_every_mistake_is_told_where_it_is(file: Path, text: str, said: str) -> None:
    assert problem(file, GOOD + text).startswith(f"line 5: {said}")


def test_names_that_people_choose_are_checked_like_any_other_key(file: Path) -> None:
    devices = (
        "devices:\n"
        "  watch:\n"
        "    wrist: both\n"
        "    hold_s: {driving: -1, Cooking: 3}\n"
        "    silence: maybe\n"
        "    holds: {}\n"
        "  my watch: {}\n"
        "  ring:\n"
        "    minimum_s: 5\n"
    )
    label, name = "a label of the model, such as `walking`", "1 to 64 letters (a to z), digits, `-` and `_`"
    either, keys = (
        "`true` or `false`, or a list of 1 to 256 entries",
        "`wrist`, `hold_s`, `minimum_s`, `silence`, `never`",
    )
    assert problems(file, GOOD + devices) == [
        "line 7: devices.watch.wrist: `both` does not fit; allowed: `left`, `right`",
        "line 8: devices.watch.hold_s.driving: `-1` is out of range; allowed: a number from 0 to 3600",
        f"line 8: devices.watch.hold_s.Cooking: `Cooking` cannot be a key here; allowed: {label}",
        f"line 9: devices.watch.silence: `maybe` does not fit; allowed: {either}",
        f"line 10: devices.watch.holds: unknown key; did you mean `hold_s`? allowed: {keys}",
        f"line 11: devices.?: `my watch` cannot be a key here; allowed: {name}",
        "line 13: devices.ring.minimum_s: `5` does not fit; allowed: a mapping (keys below it)",
    ]


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        (
            "broker: {embedded: {port: 0}}",
            "broker.embedded.port: `0` is out of range; allowed: a whole number",
        ),
        (
            "broker: {embedded: {prt: 1}}",
            "broker.embedded.prt: unknown key; did you mean `port`? allowed: `listen`, `",
        ),
        (
            "broker: {embedded: {}, host: b}",
            "broker.embedded: `embedded` stands alone: the broker is either embedded",
        ),
        ("broker: {embedded: 5}", "broker.embedded: `5` does not fit; allowed: a mapping (keys below it)"),
        (
            "broker: {listen: '::'}",
            "broker: the keys of an embedded broker stand one level deeper, under `embedded:`",
        ),
        ("broker: {host: b, listen: x}", f"broker.listen: unknown key; allowed: {REMOTE_KEYS}"),
        (
            "broker: embeded",
            "broker: `embeded` does not fit; allowed: `embedded`, `embedded:` with its own keys below",
        ),
        (
            "broker: []",
            "broker: a list of 0 entries stands here; allowed: `embedded`, `embedded:` with its own keys",
        ),
        ("broker: {host: b, protocol: 4}", "broker.protocol: `4` does not fit; allowed: `5`, `3.1.1`"),
        (
            "broker: {host: b, tls:  }",
            "broker.tls: nothing stands here; give a value (`{}`: no keys) or leave",
        ),
        (
            "broker: {host: b, tls: {key_file: k}}",
            "broker.tls: cert_file goes together with key_file or key_credential",
        ),
        (
            "broker: {host: b, tls: {cert_file: c, key_file: k, key_credential: k}}",
            "broker.tls: give key_file or key_credential, not both",
        ),
        ("broker: {host: b, password_file: p}", "broker: a password needs a username"),
        (
            "broker: {host: 'mqtt://b'}",
            "broker.host: a host stands alone, without mqtt://, user or port; allowed: a",
        ),
        (
            "broker: {host: b, username: 7}",
            "broker.username: YAML reads `7` as a number; put it in quotes if it is",
        ),
    ],
)
def test_a_problem_of_the_broker_is_about_the_broker_that_was_meant(
    file: Path, broker: str, said: str
) -> None:
    assert problem(file, GOOD.replace("broker: embedded", broker)).startswith(f"line 2: {said}")


def test_a_misspelt_embedded_is_recognised(file: Path) -> None:
    told = problems(file, GOOD.replace("embedded", "{embeded: {}}"))
    assert any(
        "broker.embeded: unknown key; did you mean `embedded`? allowed: `embedded`, `host`" in line
        for line in told
    )
