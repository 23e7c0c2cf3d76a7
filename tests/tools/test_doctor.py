from __future__ import annotations

import asyncio
import json
import platform
import socket
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.brokers import Mosquitto, free_port
from tests.processes import DaemonProcess, write_config
from tests.test_bursts import over_bluetooth
from vskd_stream import cli
from vskd_stream.recording import Header, Message, write
from vskd_stream.tools import doctor
from vskd_stream.tools.diagnosis.finding import Finding

PASSWORD = "correct-horse-battery"


def examined(config=None, *, recording=None, environ=None) -> dict[str, Finding]:
    """The worst finding of each check."""
    patient = doctor.patient_of(config, recording_path=recording, environ=environ or {})
    found: dict[str, Finding] = {}
    for finding in doctor.examine(patient):
        rank = ("ok", "warn", "fail").index
        if finding.check not in found or rank(finding.verdict) > rank(found[finding.check].verdict):
            found[finding.check] = finding
    return found


def test_this_machine_runs_the_shipped_model():
    found = examined()
    for check in ("python", "packages", "kernel cache", "clock", "model", "window cost", "systemd unit"):
        assert found[check].verdict != "fail", found[check]
    assert platform.python_version() in found["python"].found
    assert "broker" not in found


def test_a_configuration_that_is_not_good_is_told_with_every_problem(tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", broker={"host": "h", "port": 99999}, gateway="a b")
    assert cli.main(["doctor", "--config", str(config)]) == 1
    printed = capsys.readouterr().out
    assert "fail  configuration" in printed
    assert "broker.port" in printed
    assert "gateway" in printed


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"model": "./missing.onnx"}, "model", "missing.onnx"),
        ({"replay": [{"recording": "./missing.vskdrec"}]}, "configuration", "missing.vskdrec"),
        ({"broker": {"host": "127.0.0.1", "tls": {"ca_file": "missing.pem"}}}, "broker", "missing.pem"),
        (
            {"broker": {"host": "127.0.0.1", "username": "me", "password_file": "missing"}},
            "password file",
            "missing",
        ),
    ],
)
def test_what_a_configuration_names_must_be_there(tmp_path, model, changes, check, words):
    keys = {"broker": {"host": "127.0.0.1", "port": free_port()}, "model": str(model)} | changes
    found = examined(write_config(tmp_path / "c.yaml", **keys))
    assert found[check].verdict == "fail"
    assert words in found[check].found


def test_a_key_that_every_user_may_read_fails(tmp_path, model):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no key")
    (tmp_path / "key.pem").chmod(0o644)
    tls = {"cert_file": "cert.pem", "key_file": "key.pem"}
    config = write_config(tmp_path / "c.yaml", broker={"host": "127.0.0.1", "tls": tls}, model=str(model))
    found = examined(config)
    assert found["key file"].verdict == "fail"
    assert "chmod" in found["key file"].remedy


@pytest.mark.parametrize(
    "keys",
    [
        {"username": "me", "password_credential": "mqtt"},
        {"tls": {"cert_file": "cert.pem", "key_credential": "mqtt"}},
    ],
)
def test_a_credential_that_only_the_unit_has_is_no_failure(tmp_path, model, keys):
    broker = {"host": "127.0.0.1", **keys}
    found = examined(write_config(tmp_path / "c.yaml", broker=broker, model=str(model)))
    assert found["broker"].verdict == "warn"


def test_a_free_port_is_free_and_a_taken_one_is_taken(tmp_path, model):
    port = free_port()
    config = write_config(tmp_path / "c.yaml", broker={"embedded": {"port": port}}, model=str(model))
    found = examined(config)
    assert (found["ports"].verdict, found["broker"].verdict) == ("ok", "warn")
    with socket.socket() as other:
        # Bound and deaf: nobody has to wait for an answer.
        other.bind(("127.0.0.1", port))
        found = examined(config)
    assert found["ports"].verdict == "fail"


async def test_a_running_daemon_with_its_own_broker_is_well(tmp_path, model):
    broker = {"embedded": {"port": free_port()}}
    config = write_config(tmp_path / "c.yaml", broker=broker, model=str(model), log={"format": "json"})
    async with DaemonProcess(config) as daemon:
        await daemon.event("connected")
        found = await asyncio.to_thread(examined, config)
        assert await daemon.stop() == 0
    assert {found[check].verdict for check in ("ports", "broker", "publish", "subscribe", "daemon")} == {"ok"}
    assert "online" in found["daemon"].found


def test_bluetooth_is_looked_for_where_a_configuration_needs_it(tmp_path, model, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    keys = {"broker": {"host": "127.0.0.1", "port": free_port()}, "model": str(model)}
    without = examined(write_config(tmp_path / "a.yaml", **keys))
    assert "bluetooth" not in without
    devices = [{"device": "strap", "profile": "polar"}]
    needed = examined(write_config(tmp_path / "b.yaml", bluetooth=devices, **keys))
    assert needed["bluetooth"].verdict == "fail"
    assert examined()["bluetooth"].verdict == "warn"


def test_the_connection_interval_is_judged_from_a_recording(tmp_path):
    path = tmp_path / "slow.vskdrec"
    times = over_bluetooth(interval_s=0.195, period_s=0.02)
    messages = [Message(float(t), "imu/strap/samples", b"x") for t in times]
    write(path, Header(created=datetime.now(UTC)), messages)
    found = examined(recording=path)
    assert found["interval imu/strap/samples"].verdict == "warn"
    assert "195 ms" in found["interval imu/strap/samples"].found


def test_a_file_that_is_no_recording_fails(tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(b"noise")
    assert examined(recording=path)["recording"].verdict == "fail"


def test_streams_of_a_recording_are_judged_up_to_a_bound(tmp_path):
    path = tmp_path / "many.vskdrec"
    messages = (Message(float(t), f"imu/{t}/samples", b"") for t in np.arange(200))
    write(path, Header(created=datetime.now(UTC)), messages)
    found = examined(recording=path)
    assert sum(check.startswith("interval") for check in found) == doctor.MAX_STREAMS


def test_a_check_that_fails_itself_keeps_no_other_from_being_made(monkeypatch):
    def broken(_):
        yield Finding("a", "ok", "so far")
        raise RuntimeError(PASSWORD)

    def whole(_):
        yield Finding("b", "ok", "fine")

    monkeypatch.setattr(doctor, "CHECKS", (("broken", broken), ("whole", whole)))
    found = list(doctor.examine(doctor.Patient()))
    assert [(each.check, each.verdict) for each in found] == [("a", "ok"), ("broken", "fail"), ("b", "ok")]
    assert PASSWORD not in str(found)


def test_findings_are_printed_for_machines_too(capsys, monkeypatch):
    def check(_):
        yield Finding("a", "warn", "odd", "look")

    monkeypatch.setattr(doctor, "CHECKS", (("a", check),))
    assert cli.main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    finding = {"check": "a", "verdict": "warn", "found": "odd", "remedy": "look"}
    assert printed == {"ok": True, "findings": [finding]}


async def test_no_secret_is_ever_shown(tmp_path, model, capsys):
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    for mode, known in ((0o600, PASSWORD), (0o600, "another"), (0o644, PASSWORD)):
        secret.chmod(mode)
        async with Mosquitto(passwords={"me": known}) as broker:
            remote = {"host": "127.0.0.1", "port": broker.port, "username": "me", "password_file": "password"}
            config = write_config(tmp_path / "c.yaml", broker=remote, model=str(model))
            code = await asyncio.to_thread(cli.main, ["doctor", "--config", str(config), "--json"])
        printed = capsys.readouterr()
        assert PASSWORD not in printed.out + printed.err
        assert code == (0 if (mode, known) == (0o600, PASSWORD) else 1), printed.out
