from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_bursts import over_bluetooth
from vskd_stream.bursts import rhythm
from vskd_stream.tools.diagnosis import bluetooth, broker, host
from vskd_stream.tools.diagnosis.bluetooth import Adapter, BluetoothFacts
from vskd_stream.tools.diagnosis.broker import BrokerFacts
from vskd_stream.tools.diagnosis.finding import Finding

LET_IN = BrokerFacts(address="mqtt://b:1883", protocol="5", heard=3, listened_s=2.0, echoed=True)
THERE = BluetoothFacts(is_running=True, version="5.66", adapters=(Adapter("hci0", "00:11", is_powered=True),))


def verdicts(findings) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in findings}


def judged(facts: BrokerFacts, *, embedded: bool = False) -> dict[str, str]:
    return verdicts(broker.judge(facts, gateway="home", filters=["imu/+/samples"], embedded=embedded))


def test_a_finding_is_one_line_with_its_remedy():
    assert str(Finding("clock", "warn", "late", "set it")) == "warn  clock: late -> set it"
    assert str(Finding("clock", "ok", "right")) == "ok    clock: right"


def test_a_package_that_is_missing_is_named():
    finding = host.packages({"numpy": "2.4", "numba": None})
    assert (finding.verdict, finding.found) == ("fail", "not installed: numba")


@pytest.mark.parametrize(
    ("directory", "verdict"), [(None, "warn"), (Path("/tmp/x"), "warn"), (Path("/var/cache/x"), "ok")]
)
def test_a_cache_that_does_not_last_is_warned_of(directory, verdict):
    assert host.kernel_cache(directory, temporary=Path("/tmp")).verdict == verdict


@pytest.mark.parametrize(
    ("machine", "features", "verdict"),
    [
        ("x86_64", {"avx2", "sse2"}, "ok"),
        ("x86_64", {"sse2"}, "warn"),
        ("aarch64", {"asimd", "asimddp"}, "ok"),
        ("armv6l", set(), "warn"),
    ],
)
def test_a_processor_without_the_instructions_for_speed_is_warned_of(machine, features, verdict):
    assert host.cpu(machine, frozenset(features)).verdict == verdict


@pytest.mark.parametrize(("cost_s", "verdict"), [(0.01, "ok"), (0.4, "warn"), (1.5, "fail")])
def test_a_window_must_cost_less_than_the_time_to_the_next(cost_s, verdict):
    assert host.window_cost(cost_s, hop_s=1.0).verdict == verdict


@pytest.mark.parametrize(
    ("utc_s", "synchronised", "verdict"),
    [(0.0, True, "fail"), (1.8e9, True, "ok"), (1.8e9, False, "warn"), (1.8e9, None, "ok")],
)
def test_a_clock_that_is_past_or_alone_is_told(utc_s, synchronised, verdict):
    assert host.clock(utc_s, synchronised=synchronised).verdict == verdict


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o600, "ok"), (0o640, "ok"), (0o660, "warn"), (0o644, "fail"), (None, "fail")]
)
def test_a_key_that_others_may_use_fails(mode, verdict):
    assert host.key_file(Path("k.pem"), mode=mode).verdict == verdict


@pytest.mark.parametrize(
    ("properties", "verdict"),
    [
        (None, "ok"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "7"}, "warn"),
        ({"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed"}, "fail"),
        ({"LoadState": "loaded", "ActiveState": "activating", "SubState": "auto-restart"}, "fail"),
    ],
)
def test_a_service_that_failed_or_restarts_is_told(properties, verdict):
    assert host.unit(properties).verdict == verdict


def test_a_broker_that_allows_everything_is_good():
    assert set(judged(LET_IN).values()) == {"ok"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("refused: Not authorized (wrong username or password, or none given?)", "username"),
        ("its certificate does not hold: unable to get local issuer certificate", "ca_file"),
        ("no such host: Name or service not known", "broker.host"),
        ("connection refused; is it running, and is this its port?", "broker.port"),
        ("something else", "network"),
    ],
)
def test_a_broker_that_cannot_be_had_fails_with_what_to_do(error, words):
    facts = BrokerFacts(address="a", protocol="5", error=error)
    (finding,) = broker.judge(facts, gateway="home", filters=["imu/#"], embedded=False)
    assert finding.verdict == "fail"
    assert words in finding.remedy


def test_without_a_daemon_its_own_broker_is_not_missed():
    assert judged(BrokerFacts(address="a", protocol="3.1.1", error="x"), embedded=True) == {"broker": "warn"}


@pytest.mark.parametrize(
    ("changes", "check", "verdict"),
    [
        ({"refused": {"imu/+/samples": "Not authorized"}}, "subscribe", "fail"),
        ({"publish_refusal": "Not authorized"}, "publish", "fail"),
        ({"heard": 0}, "samples", "warn"),
        ({"unread": {"unknown_format": 3}}, "samples", "warn"),
        ({"protocol": "3.1.1", "echoed": False}, "publish", "warn"),
        ({"protocol": "3.1.1"}, "publish", "ok"),
        ({"echoed": False}, "publish", "ok"),
    ],
)
def test_what_a_broker_withholds_is_found(changes, check, verdict):
    assert judged(replace(LET_IN, **changes))[check] == verdict


def test_a_foreign_broker_on_the_port_of_the_embedded_one_fails():
    assert judged(LET_IN, embedded=True)["daemon"] == "fail"
    assert judged(replace(LET_IN, status="online"), embedded=True)["daemon"] == "ok"


def test_a_port_is_taken_unless_by_the_daemon():
    assert broker.ports({1883: "", 1884: ""}, daemon_answers=False).verdict == "ok"
    assert broker.ports({1883: "in use", 1884: ""}, daemon_answers=False).verdict == "fail"
    assert broker.ports({1883: "in use"}, daemon_answers=True).verdict == "ok"


def test_bluetooth_that_works_is_good():
    assert set(verdicts(bluetooth.judge(THERE, is_needed=True)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (BluetoothFacts(is_installed=False), "pip install"),
        (BluetoothFacts(bus_error="FileNotFoundError"), "dbus"),
        (BluetoothFacts(is_denied=True), "usermod"),
        (BluetoothFacts(), "bluez"),
        (replace(THERE, adapters=()), "dmesg"),
        (replace(THERE, adapters=(Adapter("hci0", "00:11", is_powered=False),)), "power on"),
        (replace(THERE, blocked="soft"), "rfkill unblock"),
        (replace(THERE, version="5.50"), "5.55"),
    ],
)
def test_whatever_keeps_bluetooth_from_working_has_a_remedy(facts, words):
    for is_needed, worst in ((True, "fail"), (False, "warn")):
        findings = [each for each in bluetooth.judge(facts, is_needed=is_needed) if each.verdict != "ok"]
        assert [each.verdict for each in findings] == [worst]
        assert words in findings[0].remedy


def test_an_adapter_that_the_configuration_names_has_to_be_there():
    found = list(bluetooth.judge(THERE, is_needed=True, wanted=frozenset({"hci1"})))
    assert any(each.verdict == "fail" and "hci1" in each.found for each in found)


def test_a_second_adapter_that_nobody_uses_may_be_off():
    adapters = (*THERE.adapters, Adapter("hci1", "00:12", is_powered=False))
    facts = replace(THERE, adapters=adapters)
    found = list(bluetooth.judge(facts, is_needed=True, wanted=frozenset({"hci0"})))
    assert {each.verdict for each in found} == {"ok", "warn"}


def test_the_connection_interval_is_warned_of_only_where_it_holds_a_stream_up():
    slow = bluetooth.interval("polar", rhythm(over_bluetooth(interval_s=0.195, period_s=0.02)))
    assert slow.verdict == "warn"
    assert "195 ms" in slow.found
    assert "MaxConnectionInterval" in slow.remedy
    fast = bluetooth.interval("polar", rhythm(over_bluetooth(interval_s=0.03, period_s=0.25)))
    assert fast.verdict == "ok"
    assert "not the bottleneck" in fast.found
    assert bluetooth.interval("polar", rhythm(np.arange(5.0))).verdict == "warn"
