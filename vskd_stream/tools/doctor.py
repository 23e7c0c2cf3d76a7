"""``vskd doctor``: collects facts about this machine and what it talks to, and prints a finding a line.

The checks stand in a table, in the order in which a person would look; what a fact means is judged in
``diagnosis``. A check that fails itself is a finding too, and keeps no other from being made.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import socket
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vskd_stream import bursts, config, recording
from vskd_stream.broker.endpoint import endpoint_of
from vskd_stream.errors import BrokerError, ConfigError, DecodeError, VskdError
from vskd_stream.settings import EmbeddedBroker, RemoteBroker, Settings
from vskd_stream.sources.ble.transcript import is_notification
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tools import bluez, probe
from vskd_stream.tools.diagnosis import bluetooth, broker, host
from vskd_stream.tools.diagnosis.finding import Finding

if TYPE_CHECKING:
    from vskd_stream.broker.endpoint import Endpoint

UNIT: Final = "vskd-streamd.service"
PACKAGES: Final = (
    "iotcore", "msgspec", "numba", "numpy", "onnxruntime", "paho-mqtt", "pydantic", "pyyaml", "structlog",
)  # fmt: skip
MAX_STREAMS: Final = 64
"""Topics of a recording that are judged."""
_COMMAND_S = 5.0
_RUNS = 20


@dataclass(frozen=True, slots=True)
class Patient:
    """What is to be examined."""

    config_path: Path | None = None
    settings: Settings | None = None
    """None without a configuration, or with one that is not good."""
    problems: tuple[str, ...] = ()
    """What is wrong with the configuration."""
    recording: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def _python(_: Patient) -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.release()} ({platform.machine()})"
    yield Finding("python", "ok", found)
    yield host.packages({name: _version(name) for name in PACKAGES})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _kernels(_: Patient) -> Iterator[Finding]:
    from vskd_stream._jit import CACHE_DIRECTORY

    yield host.kernel_cache(CACHE_DIRECTORY, temporary=Path(tempfile.gettempdir()))


def _cpu(_: Patient) -> Iterator[Finding]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    yield host.cpu(platform.machine(), frozenset(lines[0].split() if lines else ()))


def _configuration(patient: Patient) -> Iterator[Finding]:
    for problem in patient.problems:
        yield Finding("configuration", "fail", f"{patient.config_path}: {problem}", "correct it")
    if patient.settings is None:
        return
    yield Finding("configuration", "ok", f"{patient.config_path} is good")
    for warning in config.warnings(patient.settings):
        yield Finding("configuration", "warn", warning, "change it unless it is meant")
    for replay in patient.settings.replay:
        try:
            recording.read(recording.resolve(replay.recording))
        except VskdError as error:
            yield Finding("configuration", "fail", str(error), "correct the `replay` section")


def _model(patient: Patient) -> Iterator[Finding]:
    from vskd_stream import bundle, runtime

    model = patient.settings.model if patient.settings else None
    try:
        path = bundle.resolve(model.bundle if model else "wrist")
        loaded = bundle.load(path, sha256=model.sha256 if model else None)
        classifier = runtime.classifier(loaded)
    except VskdError as error:
        yield Finding("model", "fail", str(error))
        return
    manifest, goldens = loaded.manifest, loaded.golden.windows
    found = f"{manifest.name}, {len(manifest.labels)} labels; its {len(goldens)} golden windows come out"
    yield Finding("model", "ok", found)
    classifier.warm()
    costs_s = []
    for _ in range(_RUNS):
        began_s = time.perf_counter()
        classifier.classify(goldens[:1])
        costs_s.append(time.perf_counter() - began_s)
    hop_s = manifest.hop_samples / manifest.sampling_rate_hz
    yield host.window_cost(statistics.median(costs_s), hop_s=hop_s)


def _clock(_: Patient) -> Iterator[Finding]:
    said = _said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    yield host.clock(time.time(), synchronised={"yes": True, "no": False}.get(said or ""))


def _files(patient: Patient) -> Iterator[Finding]:
    remote = _remote(patient)
    if remote is None:
        return
    if remote.tls is not None and (path := remote.tls.key_file) is not None:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            yield host.key_file(path, mode=None, problem=error.strerror or "cannot be looked at")
        else:
            yield host.key_file(path, mode=mode)
    if (path := remote.password_file) is not None:
        try:
            config.read_password(remote, environ=patient.environ)
        except ConfigError as error:
            for problem in error.problems:
                yield Finding("password file", "fail", f"{path}: {problem}")
        else:
            yield Finding("password file", "ok", f"{path}: readable, and not by every user")


def _broker(patient: Patient) -> Iterator[Finding]:
    if (settings := patient.settings) is None:
        return
    remote = _remote(patient)
    if remote is not None and remote.credentials and "CREDENTIALS_DIRECTORY" not in patient.environ:
        found = f"systemd credentials ({', '.join(remote.credentials)}), which only the unit is given"
        remedy = "run this with `systemd-run -P` and the same LoadCredential="
        yield Finding("broker", "warn", found, remedy)
        return
    try:
        password = config.read_password(remote, environ=patient.environ) if remote else None
        endpoint = endpoint_of(settings, password, environ=patient.environ)
    except ConfigError:
        # Said already: of the file itself.
        return
    except BrokerError as error:
        yield Finding("broker", "fail", error.reason, "correct the `tls` section, or the file that it names")
        return
    yield from _asked(settings, endpoint)


def _asked(settings: Settings, endpoint: Endpoint) -> Iterator[Finding]:
    reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)

    def refusal_of(topic: str, payload: bytes) -> str:
        try:
            reader.read(topic, payload)
        except DecodeError as error:
            return error.reason
        return ""

    filters = reader.topic_filters
    asking = probe.ask(endpoint, gateway=settings.gateway, filters=filters, refusal_of=refusal_of)
    facts = asyncio.run(asking)
    embedded = settings.broker if isinstance(settings.broker, EmbeddedBroker) else None
    if embedded is not None:
        numbers = (embedded.port, *((embedded.mqtt5_port,) if embedded.mqtt5_port else ()))
        taken = {port: _why_taken(embedded.listen, port) for port in numbers}
        yield broker.ports(taken, daemon_answers=facts.status == "online")
    yield from broker.judge(facts, gateway=settings.gateway, filters=filters, embedded=embedded is not None)


def _why_taken(listen: str, port: int) -> str:
    """Why nobody can listen there now; empty if one can."""
    try:
        family = socket.getaddrinfo(listen, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((listen, port))
            trial.listen()
    except OSError as error:
        return (error.strerror or "cannot be opened").lower()
    return ""


def _unit(_: Patient) -> Iterator[Finding]:
    names = "LoadState,ActiveState,SubState,Result,NRestarts"
    said = _said("systemctl", "show", UNIT, f"--property={names}")
    pairs = (line.partition("=") for line in (said or "").splitlines())
    yield host.unit({name: value for name, _, value in pairs} if said else None)


def _bluetooth(patient: Patient) -> Iterator[Finding]:
    devices = patient.settings.bluetooth if patient.settings else ()
    if patient.settings is not None and not devices:
        return
    version = re.search(r"\d+\.\d+", _said("bluetoothctl", "--version") or "")
    facts = asyncio.run(bluez.ask(version=version[0] if version else None))
    wanted = frozenset(device.adapter for device in devices if device.adapter)
    yield from bluetooth.judge(facts, is_needed=bool(devices), wanted=wanted)


def _interval(patient: Patient) -> Iterator[Finding]:
    if patient.recording is None:
        return
    arrivals_s: dict[str, list[float]] = {}
    try:
        for message in islice(recording.read(patient.recording, accept_cut=True), bursts.MAX_ARRIVALS):
            if recording.is_bluetooth(message.topic) and not is_notification(message.topic):
                continue
            if message.topic in arrivals_s or len(arrivals_s) < MAX_STREAMS:
                arrivals_s.setdefault(message.topic, []).append(message.arrival_s)
    except VskdError as error:
        yield Finding("recording", "fail", str(error), "make another one with `vskd record`")
    for topic, times_s in arrivals_s.items():
        shown = topic if topic.isprintable() else repr(topic)
        yield bluetooth.interval(shown[:80], bursts.rhythm(np.array(times_s)))


CHECKS: Final[tuple[tuple[str, Callable[[Patient], Iterator[Finding]]], ...]] = (
    ("python", _python),
    ("cpu", _cpu),
    ("kernel cache", _kernels),
    ("clock", _clock),
    ("configuration", _configuration),
    ("model", _model),
    ("files", _files),
    ("broker", _broker),
    ("systemd unit", _unit),
    ("bluetooth", _bluetooth),
    ("interval", _interval),
)


def examine(patient: Patient) -> Iterator[Finding]:
    """Make every check, each finding as soon as it is known."""
    for name, check in CHECKS:
        try:
            yield from check(patient)
        except Exception as error:  # noqa: BLE001 (whatever a strange machine raises, the rest is looked at)
            # Not the error's text: nobody knows what of a configuration it repeats.
            found = f"the check itself failed ({type(error).__name__})"
            yield Finding(name, "fail", found, "please report this")


def patient_of(
    config_path: Path | None, *, recording_path: Path | None, environ: Mapping[str, str] = os.environ
) -> Patient:
    """Read the configuration, if there is one; what is wrong with it is for ``examine`` to tell."""
    settings: Settings | None = None
    problems: tuple[str, ...] = ()
    if config_path is not None:
        try:
            settings = config.load(config_path)
        except ConfigError as error:
            problems = tuple(error.problems)
    return Patient(config_path, settings, problems, recording_path, environ)


def run(config_path: Path | None, *, recording: Path | None = None, as_json: bool = False) -> int:
    """The command: print the findings; 1 if anything failed, else 0."""
    findings = []
    for finding in examine(patient_of(config_path, recording_path=recording)):
        findings.append(finding)
        if not as_json:
            sys.stdout.write(f"{finding}\n")
            sys.stdout.flush()
    failed = sum(finding.verdict == "fail" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        sys.stdout.write(json.dumps({"ok": not failed, "findings": checks}, indent=2) + "\n")
    return 1 if failed else 0


def _remote(patient: Patient) -> RemoteBroker | None:
    configured = patient.settings.broker if patient.settings else None
    return configured if isinstance(configured, RemoteBroker) else None


def _said(*command: str) -> str | None:
    """What a command of the system prints; None if there is none, or it fails."""
    try:
        done = subprocess.run(  # noqa: S603 (our own words, no shell)
            command, capture_output=True, check=True, timeout=_COMMAND_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
