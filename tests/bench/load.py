"""Many watches in one process of its own: batches over MQTT at their pace, and when each score came back.

``python -m tests.bench.load --port P --phases 1000x60``; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

RATE_HZ = 50
BATCH_SAMPLES = 25
BATCH_S = BATCH_SAMPLES / RATE_HZ
_CONNECTIONS = 20
_TAIL_S = 3.0
_MOVEMENTS = 16


@dataclass(frozen=True)
class Phase:
    """So many devices for so long."""

    devices: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Phase:
        """From ``1000x60``."""
        devices, seconds = text.split("x")
        return cls(int(devices), float(seconds))


@dataclass
class Load:
    """What was sent when, and what came back when; all times monotonic seconds."""

    encode: Any
    sent_s: dict[tuple[str, int], float] = field(default_factory=dict)
    received: list[tuple[float, str, bytes]] = field(default_factory=list)
    behind_s: float = 0.0
    """The latest that a batch left after its moment: large, and it is the load that was too slow."""

    def send(self, port: int, phases: Sequence[Phase]) -> list[tuple[float, float]]:
        """Play all phases; when each began and ended."""
        sockets = [_connect(port, f"load-{i}") for i in range(_CONNECTIONS)]
        acc = _movements()
        spans = []
        batch = 0
        due_s = time.monotonic() + 0.1
        for phase in phases:
            begun_s = due_s
            for _ in range(round(phase.seconds / BATCH_S)):
                for device in range(phase.devices):
                    moment_s = due_s + device * BATCH_S / phase.devices
                    if (early_s := moment_s - time.monotonic()) > 0.0:
                        time.sleep(early_s)
                    packet = self._packet(device, batch, acc[device % _MOVEMENTS][batch % len(acc[0])])
                    now_s = time.monotonic()
                    self.behind_s = max(self.behind_s, now_s - moment_s)
                    self.sent_s[f"d{device}", batch] = now_s
                    sockets[device % _CONNECTIONS].sendall(packet)
                batch += 1
                due_s += BATCH_S
            spans.append((begun_s, due_s))
        time.sleep(_TAIL_S)
        for each in sockets:
            each.close()
        return spans

    def listen(self, port: int) -> paho.Client:
        """Keep every score that comes, in a thread."""
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="load-listener")
        ready = threading.Event()
        client.on_message = lambda _c, _u, message: self.received.append(
            (time.monotonic(), message.topic, bytes(message.payload))
        )
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", port)
        client.subscribe("vskd/+/+/scores", 0)
        client.loop_start()
        if not ready.wait(30.0):
            raise RuntimeError("the broker does not answer")
        return client

    def _packet(self, device: int, batch: int, acc: list[list[float]]) -> bytes:
        payload = self.encode(
            {
                "schema": 1,
                "sequence": batch,
                "sampling_rate_hz": float(RATE_HZ),
                "first_tick": batch * BATCH_SAMPLES,
                "tick_rate_hz": float(RATE_HZ),
                "unit": "g",
                "acc": acc,
            }
        )
        topic = f"imu/d{device}/samples".encode()
        return _packet(0x30, len(topic).to_bytes(2, "big") + topic + payload)


def completing_batch(end_sample: int, *, grid_hz: float, reach_s: float) -> int:
    """The batch whose last sample makes the window that ends there whole."""
    last_needed_s = (end_sample - 1) / grid_hz + reach_s
    # The resampler takes what lies strictly before the newest sample.
    newest = math.floor(round(last_needed_s * RATE_HZ, 6)) + 1
    return newest // BATCH_SAMPLES


def _movements() -> list[list[list[list[float]]]]:
    """Eight seconds of a few steady movements, as batches."""
    rng = np.random.default_rng(0)
    t = np.arange(8 * RATE_HZ) / RATE_HZ
    movements = []
    for number in range(_MOVEMENTS):
        strength, pace_hz = 0.1 + 0.05 * number, 1.0 + number % 4 / 4
        acc = rng.normal(0.0, 0.02, (len(t), 3)) + np.array([0.0, 0.2, 0.95])
        acc[:, 0] += strength * np.sin(2 * np.pi * pace_hz * t)
        acc[:, 2] += strength * np.cos(2 * np.pi * pace_hz * t)
        movements.append(np.round(acc, 3).reshape(-1, BATCH_SAMPLES, 3).tolist())
    return movements


def _connect(port: int, client_id: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    # MQTT 3.1.1, clean session, no keep-alive.
    connection.sendall(_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name))
    if connection.recv(4) != b"\x20\x02\x00\x00":
        raise RuntimeError("the broker refuses the load")
    return connection


def _packet(head: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([head]) + bytes(digits) + body


def summary(load: Load, spans: Sequence[tuple[float, float]], *, hop: int, grid_hz: float) -> dict[str, Any]:
    """Latencies from the sending of the batch that made a window whole to its published scores."""
    reach_s = 4.0 / grid_hz if grid_hz * 1.5 < RATE_HZ else 0.0
    latencies: list[list[tuple[float, float]]] = [[] for _ in spans]
    seen: set[tuple[str, int]] = set()
    for at_s, topic, payload in load.received:
        end_sample = int(msgspec.json.decode(payload)["end_sample"])
        device = topic.split("/")[2]
        sent_s = load.sent_s.get((device, completing_batch(end_sample, grid_hz=grid_hz, reach_s=reach_s)))
        seen.add((device, end_sample))
        if sent_s is None:
            continue
        for span, of_span in zip(spans, latencies, strict=True):
            if span[0] <= sent_s < span[1]:
                of_span.append((sent_s, at_s - sent_s))
    phases = []
    for span, of_span in zip(spans, latencies, strict=True):
        values = np.array([latency_s for _, latency_s in of_span])
        by_second: dict[int, list[float]] = {}
        for sent_s, latency_s in of_span:
            by_second.setdefault(int(sent_s - span[0]), []).append(latency_s)
        slow = [second for second, each in by_second.items() if np.percentile(each, 99) > 0.25]
        phases.append(
            {
                "windows": len(values),
                "p50_ms": round(float(np.percentile(values, 50)) * 1e3, 2) if len(values) else None,
                "p99_ms": round(float(np.percentile(values, 99)) * 1e3, 2) if len(values) else None,
                "max_ms": round(float(values.max()) * 1e3, 2) if len(values) else None,
                "late_until_s": max(slow) + 1 if slow else 0,
            }
        )
    return {
        "phases": phases,
        "load_behind_ms": round(load.behind_s * 1e3, 1),
        "batches": len(load.sent_s),
        "hop": hop,
    }


def main() -> None:
    """Play the load, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--phases", type=lambda text: [Phase.parse(one) for one in text.split(",")], required=True
    )
    parser.add_argument("--format", choices=("msgpack", "json"), default="msgpack")
    parser.add_argument("--grid-hz", type=float, default=20.0)
    parser.add_argument("--hop", type=int, default=20)
    options = parser.parse_args()
    load = Load(msgspec.msgpack.encode if options.format == "msgpack" else msgspec.json.encode)
    client = load.listen(options.port)
    spans = load.send(options.port, options.phases)
    client.disconnect()
    client.loop_stop()
    print(json.dumps(summary(load, spans, hop=options.hop, grid_hz=options.grid_hz)))


if __name__ == "__main__":
    main()
