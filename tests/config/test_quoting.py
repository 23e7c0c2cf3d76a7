"""What a message repeats of a file: never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import GOOD, problem, problems


@pytest.mark.parametrize(
    "text",
    [
        "broker: {host: b, password: hunter2}",
        "broker: {host: b, password: [hunter2, hunter2]}",
        "broker: {host: b, password: {hunter2: 1, hunter2: 2}}",
        "broker: {host: b, password_file: {hunter2: 1, hunter2: 2}}",
        "broker: {host: b, password_credential: hunter2 is no name}",
        "broker: {host: 'mqtt://me:hunter2@b'}",
        "broker: mqtt://me:hunter2@b",
        "broker:\n  password:hunter2",
        "broker:\n  host: b\n  password:hunter2",
        "broker:\n  host: b\n  password: hunter2: x",
        "broker:\n  host: b\n  password:hunter2: x",
        "broker:\n  host: b\n  password: *hunter2",
        "broker:\n  host: b\n  password: !hunter2",
        "broker:\n  host: b\n  password: !hunter2!x y",
        "broker:\n  host: b\n  password: &hunter2",
        "broker:\n  host: b\n  password: @hunter2",
        "broker:\n  host: b\n  password: %hunter2",
        'broker:\n  host: b\n  password: "hunter2',
        'broker:\n  host: b\n  password: "hunter2\\q"',
        "broker:\n  host: b\n  password: [hunter2",
        "broker:\n  host: b\n  password: {hunter2",
        "broker:\n  host: b\n  password: |hunter2",
        "broker:\n  host: b\n  password: hunter2\x07",
        "password: hunter2",
        "secret: hunter2\nsecret: hunter2",
    ],
)
def test_a_password_is_never_echoed(file: Path, text: str) -> None:
    told = problems(file, GOOD.replace("broker: embedded", text) if "broker" in text else f"{GOOD}{text}\n")
    assert "hunter2" not in "".join(told)


@pytest.mark.parametrize("key", ["password", "password_file", "password_credential"])
@pytest.mark.parametrize("value", ["0123", "2024-01-31", "12345", "no", "1.5"])
def test_a_password_that_yaml_misreads_is_not_echoed_either(file: Path, key: str, value: str) -> None:
    text = f"broker: {{host: b, username: u, {key}: {value}}}"
    told = problem(file, GOOD.replace("broker: embedded", text))
    assert f"broker.{key}: " in told
    assert value not in told.replace("unknown", "")
