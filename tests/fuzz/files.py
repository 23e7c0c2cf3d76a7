"""Files that a person may name: configurations, model bundles and recordings."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.manifests import manifest
from vskd_stream import bundle, config, recording
from vskd_stream.errors import BundleError, ConfigError, RecordingError

_CONFIGS = Path(__file__).parents[2] / "configs"
_GRAPH = b"\x08\x08\x3a\x02\x0a\x00"
"""As little of a ModelProto as has a graph in it: what is inside is onnxruntime's business."""
_RAW, _SEALED = b"r", b"s"


def _check_words(*problems: str) -> None:
    assert problems
    assert all(0 < len(words) < 2000 for words in problems), problems
    assert all(character.isprintable() for words in problems for character in words), problems


@functools.cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="vskd-fuzz-")) / "input"


def _written(data: bytes) -> Path:
    _file().write_bytes(data)
    return _file()


def run_config(data: bytes) -> None:
    """Any file is a configuration, or refused in lines that can be shown."""
    try:
        settings = config.load(_written(data))
    except ConfigError as error:
        _check_words(*error.problems)
        return
    config.warnings(settings)
    for device in settings.devices:
        settings.preferences(device)


def config_seeds() -> Iterator[bytes]:
    """The examples."""
    for path in sorted(_CONFIGS.glob("*.yaml")):
        yield path.read_bytes()
    yield b"gateway: g\nbroker: {embedded: {port: 1884}}\nsources: [{topic: '+/x/#', device_level: 2}]\n"


def run_bundle(data: bytes) -> None:
    """``r``: a file as it stands; ``s``: a manifest, NUL, golden pairs, which get the seals they need."""
    file = _sealed(data[1:]) if data[:1] == _SEALED else data[1:]
    try:
        loaded = bundle.load(_written(file))
    except BundleError as error:
        _check_words(error.reason)
        return
    assert loaded.golden.windows.shape[1:] == (3, loaded.manifest.window_samples)
    assert np.isfinite(loaded.golden.probabilities).all()


def bundle_seeds() -> Iterator[bytes]:
    """A good one, sealed and unsealed."""
    fields = manifest().model_dump_json().encode()
    golden = bundle.Golden(np.ones((1, 3, 40), np.float32), np.array([[0.5, 0.5]], np.float32)).to_json()
    yield _SEALED + fields + b"\0" + golden
    yield _RAW + _sealed(fields + b"\0" + golden)


def _sealed(data: bytes) -> bytes:
    fields, _, golden = data.partition(b"\0")
    try:
        values = json.loads(fields)
        values |= {"graph_bytes": len(_GRAPH), "graph_sha256": hashlib.sha256(_GRAPH).hexdigest()}
        fields = json.dumps(values).encode()
    except (ValueError, TypeError, RecursionError):
        pass
    file = _GRAPH + _entry(bundle.MANIFEST_KEY, fields) + _entry(bundle.GOLDEN_KEY, golden)
    return file + _entry(bundle.DIGEST_KEY, hashlib.sha256(file).hexdigest().encode())


def _entry(key: str, value: bytes) -> bytes:
    return _delimited(14, _delimited(1, key.encode()) + _delimited(2, value))


def _delimited(number: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while rest >= 0x80:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + body


def run_recording(data: bytes) -> None:
    """Any file is a recording, damaged from some byte on, or none."""
    for accept_cut in (False, True):
        last_s = 0.0
        try:
            for message in recording.read(_written(data), accept_cut=accept_cut):
                assert message.arrival_s >= last_s
                assert message.topic
                last_s = message.arrival_s
        except RecordingError as error:
            _check_words(error.reason)


def recording_seeds() -> Iterator[bytes]:
    """The beginning of the shipped one, and a small whole one."""
    head = recording.resolve("demo").read_bytes()[:2500]
    yield head
    lines = head.split(b"\n", 2)
    small = b'{"schema_version":1,"created":"2026-01-01T00:00:00Z"}'
    frame = b"\x93\xcb\x41\xd9\x55\x55\x55\x55\x55\x55\xa1t\xc4\x02{}"
    yield b"\n".join((lines[0], small, b"")) + (len(frame).to_bytes(4, "little") + frame) * 2
