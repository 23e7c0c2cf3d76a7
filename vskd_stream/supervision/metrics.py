"""What the gateway counts anyway, as Prometheus text: read when somebody asks, counted nowhere twice.

The number of series is bounded: by ``limits.max_devices``, and by reasons that the code names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from vskd_stream.health import GRADES, Health
from vskd_stream.ledger import LATENCY_BOUNDS_S, Ledger

__all__ = ["CONTENT_TYPE_LATEST", "SPECS", "DeviceReading", "Reading", "Spec", "markdown_table", "render"]

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_DEVICE = ("device",)
_DEVICE_REASON = ("device", "reason")

SPECS: Final = (
    Spec("vskd_build_info", "gauge", "Always 1; its label names the release.", ("version",)),
    Spec("vskd_bundle_info", "gauge", "Always 1; its labels name the model in use.", ("name", "sha256")),
    Spec("vskd_ready", "gauge", "Whether events would reach a broker or a disk now."),
    Spec("vskd_event_loop_lag_seconds", "gauge", "The latest that a timer was, in the last minute."),
    Spec("vskd_broker_connected", "gauge", "Whether messages flow to and from the broker."),
    Spec("vskd_broker_connections_total", "counter", "Times that a broker has let us in."),
    Spec("vskd_messages_received_total", "counter", "Messages that came, those that were dropped included."),
    Spec("vskd_messages_published_total", "counter", "Messages handed to the network, repetitions included."),
    Spec("vskd_messages_acknowledged_total", "counter", "Messages of QoS 1 that a broker has taken."),
    Spec("vskd_outbox_messages", "gauge", "Messages of QoS 1 that no broker has taken yet."),
    Spec("vskd_outbox_bytes", "gauge", "Bytes of events that wait in the outbox; 0 without one."),
    Spec("vskd_outbox_replayed_total", "counter", "Events that were sent late, flagged as replayed."),
    Spec(
        "vskd_dropped_total",
        "counter",
        "Messages, batches, windows and events that were dropped or refused, of all devices.",
        ("reason",),
    ),
    Spec("vskd_devices", "gauge", "Devices that were heard since the start."),
    Spec("vskd_devices_limit", "gauge", "Devices that are served at most (limits.max_devices)."),
    Spec("vskd_unserved_samples_total", "counter", "Samples of devices beyond that limit."),
    Spec(
        "vskd_device_online",
        "gauge",
        "Whether the device sent anything in the last no_data_after_s.",
        _DEVICE,
    ),
    Spec("vskd_device_paused", "gauge", "Whether a command has paused the device.", _DEVICE),
    Spec("vskd_device_heard_timestamp_seconds", "gauge", "When the device last sent anything.", _DEVICE),
    Spec("vskd_device_rate_hertz", "gauge", "Samples a second that arrive, over a minute.", _DEVICE),
    Spec("vskd_device_nominal_rate_hertz", "gauge", "The rate that the device states.", _DEVICE),
    Spec("vskd_device_loss_ratio", "gauge", "Part of the samples that never came, over a minute.", _DEVICE),
    Spec("vskd_device_grade", "gauge", "How well samples arrive: 0 excellent to 4 unusable.", _DEVICE),
    Spec("vskd_device_samples_total", "counter", "Samples that came.", _DEVICE),
    Spec("vskd_device_samples_used_total", "counter", "Samples put on the stream's time line.", _DEVICE),
    Spec("vskd_device_samples_dropped_total", "counter", "Samples that will not be used.", _DEVICE_REASON),
    Spec("vskd_device_samples_waiting", "gauge", "Samples held for a batch that is missing.", _DEVICE),
    Spec("vskd_device_windows_total", "counter", "Windows that were completed.", _DEVICE),
    Spec("vskd_device_windows_classified_total", "counter", "Windows that were decided on.", _DEVICE),
    Spec(
        "vskd_device_windows_dropped_total", "counter", "Windows that will not be classified.", _DEVICE_REASON
    ),
    Spec("vskd_device_windows_waiting", "gauge", "Windows that wait for the model.", _DEVICE),
    Spec("vskd_device_gaps_total", "counter", "Breaks that nothing is classified across.", _DEVICE_REASON),
    Spec(
        "vskd_device_latency_seconds",
        "histogram",
        "From a window's last sample, by the device's clock as we know it, to the window's messages.",
        _DEVICE,
    ),
    Spec("vskd_bluetooth_connections_total", "counter", "Connections that were made.", _DEVICE),
    Spec("vskd_bluetooth_failures_total", "counter", "Connections that failed or were lost.", _DEVICE),
)
"""Every metric of ours, in order; beside them those of the process, as any Prometheus client has them."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What is told of one device."""

    ledger: Ledger
    is_online: bool
    is_paused: bool
    heard_utc_s: float | None
    health: Health | None
    """None while it is paused."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is told of the gateway, at one moment."""

    version: str
    bundle_name: str
    bundle_sha256: str
    is_ready: bool
    is_connected: bool
    loop_lag_s: float
    totals: Mapping[str, float]
    """By the names of metrics that have no labels."""
    dropped: Mapping[str, int]
    devices: Mapping[str, DeviceReading]
    bluetooth: Mapping[str, Counter[str]] = field(default_factory=dict)


def render(reading: Reading) -> bytes:
    """The text that a Prometheus server scrapes, process metrics included; may be called in a thread."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def markdown_table() -> str:
    """All metrics as a Markdown table."""
    rows = ["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{spec.name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |"
        for spec in SPECS
    ]
    return "\n".join(rows) + "\n"


class _Collector(Collector):
    """Hands a reading to a registry."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        reading = self._reading
        families = {spec.name: _family(spec) for spec in SPECS}

        def add(name: str, value: float, *labels: str) -> None:
            families[name].add_metric(labels, value)  # type: ignore[call-arg,arg-type]

        add("vskd_build_info", 1, reading.version)
        add("vskd_bundle_info", 1, reading.bundle_name, reading.bundle_sha256)
        add("vskd_ready", reading.is_ready)
        add("vskd_broker_connected", reading.is_connected)
        add("vskd_event_loop_lag_seconds", reading.loop_lag_s)
        add("vskd_devices", len(reading.devices))
        for name, value in reading.totals.items():
            add(name, value)
        for reason, count in reading.dropped.items():
            add("vskd_dropped_total", count, reason)
        for device, counts in reading.bluetooth.items():
            add("vskd_bluetooth_connections_total", counts["connected"], device)
            add("vskd_bluetooth_failures_total", counts["failed"] + counts["lost"], device)
        for device, one in reading.devices.items():
            for name, value in _gauges(one):
                add(name, value, device)
            ledger = one.ledger
            for name, counter in (
                ("vskd_device_samples_dropped_total", ledger.samples.dropped),
                ("vskd_device_windows_dropped_total", ledger.windows.dropped),
                ("vskd_device_gaps_total", ledger.gaps),
            ):
                for reason, count in list(counter.items()):
                    add(name, count, device, reason)
            latency = families["vskd_device_latency_seconds"]
            assert isinstance(latency, HistogramMetricFamily)
            latency.add_metric([device], _buckets(ledger), ledger.latency.sum_s)
        yield from families.values()


def _gauges(one: DeviceReading) -> Iterator[tuple[str, float]]:
    """What has no label but the device."""
    samples, windows = one.ledger.samples, one.ledger.windows
    yield "vskd_device_online", one.is_online
    yield "vskd_device_paused", one.is_paused
    if one.heard_utc_s is not None:
        yield "vskd_device_heard_timestamp_seconds", one.heard_utc_s
    if one.health is not None:
        yield "vskd_device_grade", GRADES.index(one.health.grade)
        yield "vskd_device_loss_ratio", one.health.loss
        if one.health.rate_hz is not None:
            yield "vskd_device_rate_hertz", one.health.rate_hz
        if one.health.nominal_rate_hz is not None:
            yield "vskd_device_nominal_rate_hertz", one.health.nominal_rate_hz
    yield "vskd_device_samples_total", samples.taken
    yield "vskd_device_samples_used_total", samples.used
    yield "vskd_device_samples_waiting", samples.waiting
    yield "vskd_device_windows_total", windows.taken
    yield "vskd_device_windows_classified_total", windows.used
    yield "vskd_device_windows_waiting", windows.waiting


def _buckets(ledger: Ledger) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, ledger.latency.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _family(spec: Spec) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if spec.kind == "counter":
        return CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
    if spec.kind == "gauge":
        return GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    return HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
