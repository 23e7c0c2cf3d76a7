"""What a broker may deliver: samples in any format, commands, and what it claims to have kept of us."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from tests.decode.payloads import GOLDEN, check_outcome
from tests.manifests import manifest
from vskd_stream import commands, discovery, topics
from vskd_stream.decode import FORMATS
from vskd_stream.discovery import Discovery
from vskd_stream.payloads import Origin
from vskd_stream.pipeline import Pipeline
from vskd_stream.window import Window

_FORMATS = ("auto", *FORMATS)
_RATES_HZ = (None, 50.0, 1.0, 2000.0)
_DEVICES = (None, "watch", "a b", "")
_ORIGIN = Origin("g", "tiny", "ab" * 32, "1.0")
_MANIFEST = manifest()
_SEPARATOR = b"\xff\xfe\xff"
_DISCOVERY = Discovery(
    origin=_ORIGIN, manifest=_MANIFEST, no_data_after_s=10.0, moving=(), prefix="homeassistant"
)


def run_mqtt(data: bytes) -> None:
    """The first byte chooses format, rate and device; the rest are payloads, and one device sends all."""
    if not data:
        return
    chosen = data[0]
    pipeline = Pipeline(
        "watch", manifest=_MANIFEST, bundle_sha256="ab" * 32, reorder_horizon_s=2.0, no_data_after_s=10.0
    )
    for number, payload in enumerate(data[1:].split(_SEPARATOR)):
        decoded = check_outcome(
            payload,
            format=_FORMATS[chosen % 6],
            sampling_rate_hz=_RATES_HZ[chosen // 6 % 4],
            device=_DEVICES[chosen // 24 % 4],
        )
        for samples in decoded or ():
            for cut in pipeline.cut(samples, arrival_s=1.79e9 + number):
                if isinstance(cut.piece, Window):
                    assert np.isfinite(cut.piece.acc_g).all()
    pipeline.tick(1.8e9)
    # Nothing is held any more: whatever came was used, or is accounted for.
    assert pipeline.ledger.samples.waiting == 0, pipeline.ledger


def mqtt_seeds() -> Iterator[bytes]:
    """A good payload of each format, recognised and by name."""
    for number, name in enumerate(FORMATS):
        yield bytes([number + 1]) + GOLDEN[name]
        yield b"\x18" + GOLDEN[name]
    yield b"\x18" + _SEPARATOR.join(_batch(sequence, 100) for sequence in (0, 1, 3, 2))


def _batch(sequence: int, n: int) -> bytes:
    fields = {"schema": 1, "sequence": sequence, "sampling_rate_hz": 25, "unit": "g", "acc": [[0, 0, 1]] * n}
    return json.dumps(fields | {"first_tick": n * sequence, "tick_rate_hz": 25}).replace(" ", "").encode()


def run_commands(data: bytes) -> None:
    """A command's name, NUL, its payload; and the same bytes as an answer's topic and as kept states."""
    head, _, payload = data.partition(b"\0")
    try:
        topic = head.decode()
    except UnicodeDecodeError:
        # paho refuses such a topic before we see it.
        return
    parsed = commands.parse(topics.command_of(topic), payload)
    assert (parsed.command is None) == (parsed.error is not None)
    answer = topics.response(
        parsed.name,
        request_id=parsed.request_id,
        error=parsed.error,
        result={},
        origin=_ORIGIN,
        published_utc_s=1e9,
        topic=topic if topics.may_answer_on(topic, gateway="g", prefix="homeassistant") else None,
    )
    json.loads(answer.payload)
    assert "\0" not in answer.topic
    assert not {"+", "#"} & set(answer.topic)
    kept = {topic: payload, "vskd/g/watch/state": payload}
    known = _DISCOVERY.heard_from(kept, since_s=0.0)
    assert known <= {"watch", *topic.split("/")}
    _DISCOVERY.stale(kept, known=known)
    discovery.is_ours(payload)


def command_seeds() -> Iterator[bytes]:
    """Every command, as it should be."""
    yield b"vskd/g/cmd/devices\0"
    yield b'vskd/g/cmd/pause\0{"device":"watch","id":"1"}'
    yield b'vskd/g/cmd/resume\0{"device":"watch"}'
    yield b'vskd/g/cmd/log_level\0{"level":"debug"}'
    yield b"vskd/g/cmd/states\0{}"
    yield b'vskd/g/a/state\0{"device":"a","published_utc":"2026-01-01T00:00:00Z"}'
    yield b'vskd/g/a/status\0{"device":"a","heard_utc":"2026-01-01T00:00:00Z"}'
    yield b'homeassistant/device/vskd_g/a/config\0{"origin":{"name":"vskd-stream"}}'
