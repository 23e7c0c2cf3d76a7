from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vskd_stream.health import HealthMonitor
from vskd_stream.ledger import LATENCY_BOUNDS_S, Flow, Ledger
from vskd_stream.supervision import metrics
from vskd_stream.supervision.metrics import SPECS, DeviceReading, Reading, render

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
TOTALS = [
    spec.name
    for spec in SPECS
    if not spec.labels
    and spec.name
    not in {"vskd_ready", "vskd_broker_connected", "vskd_event_loop_lag_seconds", "vskd_devices"}
]


def device(**changes) -> DeviceReading:
    ledger = Ledger(
        samples=Flow(100, 90, Counter(late=7, duplicate=1)),
        windows=Flow(9, 5, Counter(overload=1)),
        gaps=Counter(no_data=2),
    )
    for seconds in (0.004, 0.2, 99.0):
        ledger.latency.observe(seconds)
    values: dict[str, Any] = {
        "ledger": ledger,
        "is_online": True,
        "is_paused": False,
        "heard_utc_s": 1.7e9,
        "health": replace(
            HealthMonitor().read(1.7e9, fit=None), rate_hz=49.5, nominal_rate_hz=50.0, loss=0.01
        ),
    }
    return DeviceReading(**(values | changes))


def reading(**changes) -> Reading:
    values: dict[str, Any] = {
        "version": "1.2",
        "bundle_name": "wrist",
        "bundle_sha256": "ab",
        "is_ready": True,
        "is_connected": False,
        "loop_lag_s": 0.25,
        "totals": {name: float(i) for i, name in enumerate(TOTALS)},
        "dropped": {"late": 3},
        "devices": {"left": device()},
        "bluetooth": {"left": Counter(connected=4, lost=2, failed=1)},
    }
    return Reading(**(values | changes))


def read(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_told():
    told = read(render(reading()))
    assert told["vskd_build_info", "1.2"] == 1
    assert told["vskd_bundle_info", "wrist", "ab"] == 1
    assert (told["vskd_ready",], told["vskd_broker_connected",]) == (1, 0)
    assert told["vskd_event_loop_lag_seconds",] == 0.25
    assert told["vskd_dropped_total", "late"] == 3
    assert told["vskd_devices",] == 1
    assert told["vskd_device_samples_total", "left"] == 100
    assert told["vskd_device_samples_used_total", "left"] == 90
    assert told["vskd_device_samples_dropped_total", "left", "late"] == 7
    assert told["vskd_device_samples_waiting", "left"] == 2
    assert told["vskd_device_windows_waiting", "left"] == 3
    assert told["vskd_device_gaps_total", "left", "no_data"] == 2
    assert told["vskd_device_grade", "left"] == 4
    assert told["vskd_device_rate_hertz", "left"] == 49.5
    assert told["vskd_bluetooth_failures_total", "left"] == 3
    for number, name in enumerate(TOTALS):
        assert told[name,] == number


def test_a_device_that_is_paused_has_counters_and_no_grade():
    told = read(render(reading(devices={"left": device(is_paused=True, health=None, heard_utc_s=None)})))
    assert told["vskd_device_paused", "left"] == 1
    assert told["vskd_device_samples_total", "left"] == 100
    assert ("vskd_device_grade", "left") not in told
    assert ("vskd_device_heard_timestamp_seconds", "left") not in told


def test_latencies_are_cumulative_and_end_with_all_of_them():
    told = read(render(reading()))
    buckets = [told["vskd_device_latency_seconds_bucket", "left", str(b)] for b in LATENCY_BOUNDS_S]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (1, 2)
    assert told["vskd_device_latency_seconds_bucket", "left", "+Inf"] == 3
    assert told["vskd_device_latency_seconds_count", "left"] == 3
    assert told["vskd_device_latency_seconds_sum", "left"] == pytest.approx(99.204)


def test_what_is_told_of_the_process_is_there():
    told = read(render(reading()))
    assert told["process_resident_memory_bytes",] > 1e6
    assert told["process_cpu_seconds_total",] > 0
    assert told["process_open_fds",] > 2


def test_every_metric_is_described_and_told_as_its_kind():
    families = {family.name: family for family in text_string_to_metric_families(render(reading()).decode())}
    for spec in SPECS:
        family = families[spec.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (spec.kind, spec.help)
        assert family.samples, spec.name
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels - {"le"} == set(spec.labels)


def test_metrics_without_labels_are_told_by_name_or_as_totals():
    assert len(TOTALS) == len(set(TOTALS)) == 9


def test_the_documentation_has_the_table_of_the_code():
    assert metrics.markdown_table() in DOC.read_text(), (
        "python -c 'from vskd_stream import metrics; print(metrics.markdown_table())' prints the table"
    )


def test_promtool_has_nothing_to_say_against_the_metrics():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=render(reading()), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
