"""Many watches in one process of its own: batches over MQTT at their pace, and when each score came back.

``python -m tests.bench.load --port P --phases 1000x60``; prints one JSON object.

Every watch has a phase of its own, as watches have that people switch on when they like: the tick that it
begins with, and the moment within a batch's time at which its batches leave. Both are drawn from a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 50
BATCH_SAMPLES = 25
"""Of half a second, unless others are asked for."""
_CONNECTIONS = 20
_TAIL_S = 3.0
_MOVEMENTS = 16
_TURN_S = 0.001
"""What is due within one turn leaves together: to sleep for each message would cost more than to send it."""
_LATEST_TICK = 3600 * RATE_HZ
_READ_BYTES = 2**20
_END_SAMPLE = re.compile(rb'"end_sample":(\d+)')
_PUBLISH_QOS_0 = 0x30


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

    def batches(self, batch_s: float) -> int:
        """Of each device."""
        return round(self.seconds / batch_s)


@dataclass(frozen=True)
class Fleet:
    """The watches' own phases, and how much they send at once."""

    first_tick: NDArray[np.int64]
    """(devices,) what each counts its samples from."""
    moment_s: NDArray[np.float64]
    """(devices,) when in a batch's time each sends it."""
    batch_samples: int = BATCH_SAMPLES

    @property
    def batch_s(self) -> float:
        """Time that a batch holds."""
        return self.batch_samples / RATE_HZ

    @classmethod
    def of(cls, devices: int, *, together: bool, seed: int = 0, batch_samples: int = BATCH_SAMPLES) -> Fleet:
        """Random phases; ``together``: they count from the same tick, as if all told the same UTC.

        Then all windows end at the same moments, and become whole within the time of one batch.
        """
        rng = np.random.default_rng(seed)
        ticks = rng.integers(0, _LATEST_TICK, devices)
        moment_s = rng.uniform(0.0, batch_samples / RATE_HZ, devices)
        return cls(np.zeros_like(ticks) if together else ticks, moment_s, batch_samples)


@dataclass
class Load:
    """What was sent when, and what came back when; all times monotonic seconds."""

    encode: Any
    fleet: Fleet
    sent_s: dict[tuple[int, int], float] = field(default_factory=dict)
    """By device and batch."""
    received: list[tuple[float, bytes]] = field(default_factory=list)
    """What the listener read, as it came."""
    behind_s: float = 0.0
    """The latest that a batch left after its moment: large, and it is the load that was too slow."""

    def send(self, port: int, phases: Sequence[Phase]) -> list[tuple[float, float]]:
        """Play all phases; when each began and ended."""
        sockets = [_connect(port, f"load-{i}") for i in range(_CONNECTIONS)]
        packets = _Packets(self.encode, self.fleet)
        spans = []
        batch = 0
        due_s = time.monotonic() + 0.1
        for phase in phases:
            begun_s = due_s
            turns = list(_turns(self.fleet.moment_s[: phase.devices]))
            for _ in range(phase.batches(self.fleet.batch_s)):
                for moment_s, devices in turns:
                    if (early_s := due_s + moment_s - time.monotonic()) > 0.0:
                        time.sleep(early_s)
                    for device in devices:
                        packet = packets.make(device, batch)
                        self.sent_s[device, batch] = time.monotonic()
                        sockets[device % _CONNECTIONS].sendall(packet)
                    self.behind_s = max(self.behind_s, time.monotonic() - due_s - moment_s)
                batch += 1
                due_s += self.fleet.batch_s
            spans.append((begun_s, due_s))
        time.sleep(_TAIL_S)
        for each in sockets:
            each.close()
        return spans

    def listen(self, port: int) -> socket.socket:
        """Keep every score that comes, in a thread, until the connection is closed."""
        connection = _connect(port, "load-listener")
        topic = b"vskd/+/+/scores"
        connection.sendall(_packet(0x82, b"\x00\x01" + len(topic).to_bytes(2, "big") + topic + b"\x00"))
        if connection.recv(5) != b"\x90\x03\x00\x01\x00":
            raise RuntimeError("the broker refuses the listener")
        threading.Thread(target=self._read, args=(connection,), daemon=True).start()
        return connection

    def scores(self) -> Iterator[tuple[float, int, int]]:
        """When each score came, of which device, and where its window ends."""
        stream = bytearray()
        for at_s, piece in self.received:
            stream += piece
            begin = 0
            while (packet := _next_packet(stream, begin)) is not None:
                head, body, begin = packet
                if head & 0xF0 != _PUBLISH_QOS_0:
                    continue
                length = int.from_bytes(body[:2], "big")
                found = _END_SAMPLE.search(body, 2 + length)
                assert found is not None
                yield at_s, int(body[2 : 2 + length].split(b"/")[2][1:]), int(found[1])
            del stream[:begin]

    def _read(self, connection: socket.socket) -> None:
        while piece := connection.recv(_READ_BYTES):
            self.received.append((time.monotonic(), piece))


class _Packets:
    """The watches' messages; what repeats in them is encoded once."""

    def __init__(self, encode: Any, fleet: Fleet) -> None:
        self._encode = encode
        self._first_tick = fleet.first_tick.tolist()
        self._acc = [[msgspec.Raw(encode(acc)) for acc in each] for each in _movements(fleet.batch_samples)]
        self._batch_samples = fleet.batch_samples
        topics = [f"imu/d{device}/samples".encode() for device in range(len(self._first_tick))]
        self._topics = [len(topic).to_bytes(2, "big") + topic for topic in topics]

    def make(self, device: int, batch: int) -> bytes:
        acc = self._acc[device % _MOVEMENTS]
        payload = self._encode(
            {
                "schema": 1,
                "sequence": batch,
                "sampling_rate_hz": float(RATE_HZ),
                "first_tick": self._first_tick[device] + batch * self._batch_samples,
                "tick_rate_hz": float(RATE_HZ),
                "unit": "g",
                "acc": acc[batch % len(acc)],
            }
        )
        return _packet(_PUBLISH_QOS_0, self._topics[device] + payload)


def _turns(moment_s: NDArray[np.float64]) -> Iterator[tuple[float, list[int]]]:
    """The moments at which something leaves, and whose: in order, a turn apart at least."""
    turns = np.floor(moment_s / _TURN_S).astype(int)
    order = np.argsort(turns, kind="stable")
    for devices in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        yield float(moment_s[devices].max()), devices.tolist()


@dataclass(frozen=True)
class Grid:
    """Where the model's windows lie."""

    rate_hz: float
    window: int
    hop: int
    batch_samples: int = BATCH_SAMPLES

    @property
    def reach_s(self) -> float:
        """How far beyond a grid sample the resampler needs samples of the watch, and before it."""
        return 4.0 / self.rate_hz if self.rate_hz * 1.5 < RATE_HZ else 0.0

    def completing_batch(self, end_sample: int, *, first_tick: int) -> int:
        """The batch whose last sample makes the window that ends there whole."""
        last_needed_s = (end_sample - 1) / self.rate_hz + self.reach_s
        # The resampler takes what lies strictly before the newest sample.
        newest = math.floor(round(last_needed_s * RATE_HZ, 6)) + 1
        return (newest - first_tick) // self.batch_samples

    def windows(self, *, first_tick: int, batches: range) -> int:
        """How many windows an unbroken run of a watch's batches makes whole."""
        begin_s = (first_tick + batches.start * self.batch_samples) / RATE_HZ
        first = math.floor(round((begin_s + self.reach_s) * self.rate_hz, 6)) + 1
        end = -(-(first + self.window) // self.hop) * self.hop
        count = 0
        while self.completing_batch(end + count * self.hop, first_tick=first_tick) < batches.stop:
            count += 1
        return count


def _runs(phases: Sequence[Phase], device: int, *, batch_s: float) -> Iterator[range]:
    """The unbroken runs of a device's batches."""
    begin = end = 0
    for phase in phases:
        if device < phase.devices:
            end += phase.batches(batch_s)
        else:
            if begin < end:
                yield range(begin, end)
            begin = end = end + phase.batches(batch_s)
    if begin < end:
        yield range(begin, end)


def _movements(batch_samples: int) -> list[list[list[list[float]]]]:
    """Sixteen batches of a few steady movements."""
    rng = np.random.default_rng(0)
    t = np.arange(16 * batch_samples) / RATE_HZ
    movements = []
    for number in range(_MOVEMENTS):
        strength, pace_hz = 0.1 + 0.05 * number, 1.0 + number % 4 / 4
        acc = rng.normal(0.0, 0.02, (len(t), 3)) + np.array([0.0, 0.2, 0.95])
        acc[:, 0] += strength * np.sin(2 * np.pi * pace_hz * t)
        acc[:, 2] += strength * np.cos(2 * np.pi * pace_hz * t)
        movements.append(np.round(acc, 3).reshape(-1, batch_samples, 3).tolist())
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


def _next_packet(stream: bytearray, begin: int) -> tuple[int, bytes, int] | None:
    """Head and body of the packet that begins there, and where the next one does; None if it is not whole."""
    length = shift = 0
    at = begin + 1
    while at < len(stream):
        digit = stream[at]
        length |= (digit & 0x7F) << shift
        shift += 7
        at += 1
        if not digit & 0x80:
            end = at + length
            return (stream[begin], bytes(stream[at:end]), end) if end <= len(stream) else None
    return None


def summary(
    load: Load, phases: Sequence[Phase], spans: Sequence[tuple[float, float]], *, grid: Grid
) -> dict[str, Any]:
    """Latencies from the sending of the batch that made a window whole to its published scores."""
    first_tick = load.fleet.first_tick.tolist()
    latencies: list[list[tuple[float, float]]] = [[] for _ in spans]
    scores = 0
    for at_s, device, end_sample in load.scores():
        scores += 1
        sent_s = load.sent_s[device, grid.completing_batch(end_sample, first_tick=first_tick[device])]
        for span, of_span in zip(spans, latencies, strict=True):
            if span[0] <= sent_s < span[1]:
                of_span.append((sent_s, at_s - sent_s))
    told = []
    for span, of_span in zip(spans, latencies, strict=True):
        values = np.array([latency_s for _, latency_s in of_span])
        by_second: dict[int, list[float]] = {}
        for sent_s, latency_s in of_span:
            by_second.setdefault(int(sent_s - span[0]), []).append(latency_s)
        slow = [second for second, each in by_second.items() if np.percentile(each, 99) > 0.25]
        told.append(
            {
                "windows": len(values),
                "p50_ms": round(float(np.percentile(values, 50)) * 1e3, 2) if len(values) else None,
                "p99_ms": round(float(np.percentile(values, 99)) * 1e3, 2) if len(values) else None,
                "max_ms": round(float(values.max()) * 1e3, 2) if len(values) else None,
                "late_until_s": max(slow) + 1 if slow else 0,
            }
        )
    whole = sum(
        grid.windows(first_tick=tick, batches=run)
        for device, tick in enumerate(first_tick)
        for run in _runs(phases, device, batch_s=load.fleet.batch_s)
    )
    return {
        "phases": told,
        "load_behind_ms": round(load.behind_s * 1e3, 1),
        "batches": len(load.sent_s),
        "windows_whole": whole,
        "windows_missing": whole - scores,
    }


def main() -> None:
    """Play the load, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--phases", type=lambda text: [Phase.parse(one) for one in text.split(",")], required=True
    )
    parser.add_argument("--format", choices=("msgpack", "json"), default="msgpack")
    parser.add_argument("--together", action="store_true", help="all watches count from the same tick")
    parser.add_argument("--batch", type=int, default=BATCH_SAMPLES, help="samples of a message")
    parser.add_argument("--grid-hz", type=float, default=20.0)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--hop", type=int, default=20)
    options = parser.parse_args()
    encode = msgspec.msgpack.encode if options.format == "msgpack" else msgspec.json.encode
    devices = max(phase.devices for phase in options.phases)
    load = Load(encode, Fleet.of(devices, together=options.together, batch_samples=options.batch))
    listener = load.listen(options.port)
    spans = load.send(options.port, options.phases)
    listener.shutdown(socket.SHUT_RDWR)
    grid = Grid(options.grid_hz, options.window, options.hop, options.batch)
    print(json.dumps(summary(load, options.phases, spans, grid=grid)))


if __name__ == "__main__":
    main()
