"""``vskd doctor`` as a process, against a real mosquitto with passwords and an ACL."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.brokers import Mosquitto
from tests.models import tiny_bundle
from tests.processes import command, write_config

PASSWORD = "correct-horse-battery"
ALLOWED = "user vskd\ntopic read imu/#\ntopic readwrite vskd/home/#\n"


@pytest.mark.parametrize(
    ("acl", "password", "code", "failed"),
    [
        (ALLOWED, PASSWORD, 0, []),
        ("user vskd\ntopic read imu/#\n", PASSWORD, 1, ["publish"]),
        (ALLOWED, "battery-horse", 1, ["broker"]),
    ],
)
async def test_what_a_broker_does_not_allow_is_found(tmp_path, acl, password, code, failed):
    model = tiny_bundle(tmp_path / "tiny.onnx")
    (tmp_path / "password").write_text(password)
    (tmp_path / "password").chmod(0o600)
    async with Mosquitto(passwords={"vskd": PASSWORD}, acl=acl) as broker:
        remote = {"host": "127.0.0.1", "port": broker.port, "username": "vskd", "password_file": "password"}
        config = write_config(tmp_path / "c.yaml", gateway="home", broker=remote, model=str(model))
        process = await asyncio.create_subprocess_exec(
            *(command("vskd"), "doctor", "--json", "--config", str(config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            printed, errors = await process.communicate()
    findings = json.loads(printed)["findings"]
    assert [each["check"] for each in findings if each["verdict"] == "fail"] == failed
    assert process.returncode == code
    assert password.encode() not in printed + errors
