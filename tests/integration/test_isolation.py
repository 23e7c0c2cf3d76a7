"""Whatever one device sends, the others are served as if it were not there."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec

from tests.brokers import Observer
from tests.processes import DaemonProcess, write_config
from tests.wearer import batch, day

GOOD = ("left", "right")
HOSTILE_PER_BATCH = 40
LAST = 470
"""Where the last window of 24 s at 20 Hz ends: half a second more waits for the sample behind it."""


def hostile(chance: random.Random, number: int) -> tuple[str, bytes]:
    """What a broken or malicious device may send next."""
    topic, plain = "imu/hostile/samples", batch(number, 0.0)
    strange = chance.choice(["a b", "ü", "x" * 65, "..", "$SYS"])
    return chance.choice(
        [
            (topic, chance.randbytes(chance.randrange(2000))),
            (topic, b"[" * 100_000),
            (topic, msgspec.msgpack.encode({"schema": 1, "acc": [[float("nan")] * 3] * 100})),
            (topic, batch(number, 0.0, sampling_rate_hz=chance.choice([1e12, 0.0, -1.0, 1e-9]))),
            (topic, batch(number, 0.0, sampling_rate_hz=1600.0, tick_rate_hz=1600.0)),
            # Time that jumps to and fro by centuries.
            (topic, batch(0, 0.0, sequence=number, first_tick=chance.randrange(2**40))),
            (f"imu/{'x' * 10_000}/samples", plain),
            (f"imu/{strange}/samples", plain),
            (f"imu/flood-{number}-{chance.randrange(10**6)}/samples", plain),
        ]
    )


async def served(port: int, config, *, disturbed: bool) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What is told of the good devices, as far as it does not depend on arrival; and the counters.

    By device and topic: scores are of QoS 0, and do not wait for events that the broker has not acknowledged.
    """
    told: dict[str, list[Any]] = {f"{device}/{kind}": [] for device in GOOD for kind in ("event", "scores")}
    chance = random.Random(7)
    async with (
        Observer(port, "vskd/test/+/event", "vskd/test/+/scores") as observer,
        DaemonProcess(config) as daemon,
    ):
        await daemon.event("connected")
        for number, payload in enumerate(day(seconds=24)):
            for device in GOOD:
                await observer.publish(f"imu/{device}/samples", payload)
            for _ in range(HOSTILE_PER_BATCH if disturbed else 0):
                # Whoever floods waits for nobody.
                await observer.publish(*hostile(chance, number), qos=0)

        async def hear() -> None:
            message = await observer.next()
            name = message.topic.removeprefix("vskd/test/")
            if name in told:
                payload = json.loads(message.payload)
                kept = {k: v for k, v in payload.items() if not k.endswith("_utc") and k != "latency_ms"}
                told[name].append(kept)

        def last(kind: str, field: str) -> list[Any]:
            return [told[f"{device}/{kind}"][-1:] and told[f"{device}/{kind}"][-1][field] for device in GOOD]

        while last("scores", "end_sample") != [LAST] * len(GOOD):
            await hear()
        assert await daemon.stop() == 0
        while last("event", "reason") != ["stopped"] * len(GOOD):
            await hear()
        summary = daemon.log[-1]
    return told, summary


async def test_a_hostile_device_takes_nothing_from_the_others(mosquitto, model, tmp_path):
    config = write_config(
        tmp_path / "c.yaml",
        broker={"host": "127.0.0.1", "port": mosquitto.port},
        model=str(model),
        limits={"max_devices": 8},
        publish={"scores": True},
    )
    alone, quiet = await served(mosquitto.port, config, disturbed=False)
    beside, loud = await served(mosquitto.port, config, disturbed=True)
    assert all(len(alone[f"{device}/scores"]) > 40 for device in GOOD)
    for name, each in alone.items():
        # Every window and every event, in the same order.
        assert beside[name] == each
    assert loud["received"] > 10 * quiet["received"]
    assert loud["devices"] <= 8
    # Each of them was refused under a name.
    for reason in ("malformed", "bad_rate", "bad_device", "device_limit"):
        assert loud[f"dropped_{reason}"] > 0
    assert not any(key.startswith("dropped_") for key in quiet)
