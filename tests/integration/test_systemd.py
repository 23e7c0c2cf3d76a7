"""The package under a real systemd as process 1. Opt-in: it needs root, Debian 12 and minutes.

Once, the root file system of the machine (80 s, 330 MB; it stays as it is)::

    apt-get install --no-install-recommends systemd-container debootstrap
    debootstrap --variant=minbase \
        --include=systemd-sysv,dbus,procps,python3,libgomp1,mosquitto,mosquitto-clients \
        bookworm /var/tmp/vskd-machine

Then::

    make deb
    VSKD_SYSTEMD=/var/tmp/vskd-machine python -m pytest tests/integration/test_systemd.py

In such a container all is systemd's own but the limits of memory, which it cannot set there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from tests.machines import Machine, until
from tests.manifests import manifest
from tests.models import acceleration, tiny_graph
from tests.test_bundle import rewritten
from tests.wearer import BATCH, batch
from training.shipping.bundling import write_bundle
from vskd_stream.bundle import load, shipped

Messages = Callable[[], list[tuple[str, dict[str, Any]]]]

ROOT = Path(__file__).parents[2]
UNIT = "vskd-streamd.service"
CONFIG = "/etc/vskd/watch.yaml"
GOOD = """\
gateway: home
broker: {host: 127.0.0.1}
sources: [{topic: imu/+/samples}]
replay: [{recording: demo, topic: imu/demo/samples, repeat: true}]
"""
LISTENING = """\
gateway: home
broker: {host: 127.0.0.1}
sources: [{topic: imu/+/samples}]
publish: {scores: true}
http: {port: 9464}
"""

pytestmark = [
    pytest.mark.skipif("VSKD_SYSTEMD" not in os.environ, reason="VSKD_SYSTEMD names no root file system"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def package():
    built = sorted((ROOT / "dist").glob("vskd-stream_*.deb"))
    assert built, "there is no package: run `make deb` first"
    return built[-1]


@contextlib.contextmanager
def installed(package):
    """A machine with the package; its example configuration names a broker that nobody has."""
    with Machine(Path(os.environ["VSKD_SYSTEMD"]), shared=package.parent) as machine:
        yield machine, machine.run("dpkg", "--install", f"/shared/{package.name}", check=True).stdout


@pytest.fixture(scope="module")
def machine(package):
    """One for all tests that remove nothing."""
    with installed(package) as (machine, _):
        yield machine


@pytest.fixture
def fresh(package):
    """One for a test of its own, and what the installation said."""
    with installed(package) as both:
        yield both


@pytest.fixture
def served(machine):
    """The machine, its service freshly started."""
    serve(machine, GOOD)
    return machine


def serve(machine: Machine, config: str) -> None:
    """Start the service anew, its counts at 0 and its journal empty."""
    machine.run("systemctl", "stop", UNIT)
    machine.forget()
    machine.run("systemctl", "reset-failed", UNIT)
    machine.write(CONFIG, config)
    machine.run("systemctl", "start", UNIT, check=True)


class Feed:
    """Devices that send to the machine's broker, faster than real ones, until the block ends."""

    def __init__(self, machine: Machine, *devices: str, strength: Callable[[int], float]) -> None:
        """``strength`` of each half second, by its number."""
        self.sent = 0
        """Half seconds of each device; when the block has ended the broker has them."""
        self._machine, self._devices, self._strength = machine, devices, strength
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            publishers = []
            for device in self._devices:
                command = ("mosquitto_pub", "-h", "127.0.0.1", "-t", f"imu/{device}/samples", "-q", "1", "-l")
                publishers.append(
                    stack.enter_context(self._machine.beside(*command, stdout=subprocess.DEVNULL))
                )
            while not self._end.wait(0.05):
                for publisher in publishers:
                    assert publisher.stdin is not None
                    publisher.stdin.write(batch(self.sent, self._strength(self.sent)) + b"\n")
                    publisher.stdin.flush()
                self.sent += 1
            for publisher in publishers:
                publisher.communicate()
                assert publisher.returncode == 0


@contextlib.contextmanager
def heard(machine: Machine, topic: str) -> Iterator[Messages]:
    """What has been published on a topic since the block began, and the gateway's retained status."""
    topics = ("-t", topic, "-t", "vskd/home/status")
    command = ("mosquitto_sub", "-h", "127.0.0.1", *topics, "-F", "%t %p")
    with tempfile.NamedTemporaryFile() as file:

        def messages() -> list[tuple[str, dict[str, Any]]]:
            # The last line may be half written.
            lines = Path(file.name).read_text().split("\n")[:-1]
            return [(name, json.loads(text)) for name, text in (line.split(" ", 1) for line in lines)]

        with machine.beside(*command, stdout=file.file):
            # What is kept comes after both are subscribed.
            until(messages)
            yield messages


def metrics(machine: Machine) -> dict[str, dict[tuple[str, ...], float]]:
    """By name, and by the values of the labels."""
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    told = machine.run("python3", "-c", ask, check=True).stdout
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            values.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return values


def hanging_bundle(path: Path) -> Path:
    """The tiny model, except that it never answers for who runs: its graph has a loop that nothing ends."""
    fields = manifest()
    model = tiny_graph(labels=len(fields.labels), channels=fields.image.channels, size=fields.image.size)
    node, value = helper.make_node, helper.make_tensor_value_info
    (last,) = (each for each in model.graph.node if "logits" in each.output)
    last.output[0] = "decided"
    once_more = helper.make_graph(
        [node("Identity", ["goes_on"], ["still_goes_on"]), node("Identity", ["before"], ["after"])],
        "once more",
        [
            value("turn", TensorProto.INT64, []),
            value("goes_on", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, None),
        ],
        [value("still_goes_on", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.14, np.float32), "running"))
    model.graph.node.extend(
        [
            node("ReduceMax", ["variance"], ["most"], keepdims=0),
            node("Greater", ["most", "running"], ["runs"]),
            node("Loop", ["", "runs", "decided"], ["logits"], body=once_more),
        ]
    )
    samples, rate_hz = fields.window_samples, fields.sampling_rate_hz
    answered = [acceleration(s, samples=samples, sampling_rate_hz=rate_hz).T.copy() for s in (0.0, 0.5)]
    write_bundle(
        path,
        model,
        manifest=fields.model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"}),
        golden_windows=np.stack(answered),
    )
    return path


def restarted(machine: Machine, *, times: int) -> None:
    until(
        lambda: (facts := machine.facts(UNIT))["NRestarts"] == str(times) and facts["ActiveState"] == "active"
    )


def test_the_package_enables_the_service_and_does_not_start_a_configuration_that_is_not_good(fresh):
    machine, said = fresh
    assert "vskd-stream: not started" in said
    assert "broker.password_file" in said
    facts = machine.facts(UNIT)
    assert (facts["UnitFileState"], facts["ActiveState"], facts["NRestarts"]) == ("enabled", "inactive", "0")
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""


def test_it_is_ready_when_events_can_flow_and_they_do(served):
    facts = served.facts(UNIT)
    assert (facts["ActiveState"], facts["SubState"], facts["NRestarts"]) == ("active", "running", "0")
    heard = served.run(
        "mosquitto_sub", "-h", "127.0.0.1", "-t", "vskd/home/demo/event", "-C", "1", "-W", "100", check=True
    ).stdout
    assert '"event_type":"start"' in heard
    status = served.run("vskd", "service", "status", check=True).stdout
    assert "active (running), enabled" in status
    assert "connected to mqtt://127.0.0.1:1883" in status


def test_it_runs_as_nobody_with_nothing_and_owns_its_folders_alone(served):
    status = served.run("cat", f"/proc/{served.facts(UNIT)['MainPID']}/status", check=True).stdout
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["Uid"].split()[0]) >= 61184, "systemd's range of dynamic users"
    assert {int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")
    owned = served.run(
        "find", "/", "-xdev", "-user", lines["Uid"].split()[0], "-not", "-path", "/proc/*"
    ).stdout
    places = ("/var/lib/private/vskd", "/var/cache/private/vskd", "/run/vskd", "/dev/shm", "/tmp", "/var/tmp")
    assert [path for path in owned.splitlines() if not path.startswith(places)] == []


def test_a_killed_daemon_is_started_again(served):
    served.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT, check=True)
    restarted(served, times=1)


def test_a_stopped_daemon_meets_the_watchdog(served):
    served.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT, check=True)
    until(lambda: "Watchdog timeout" in served.journal(UNIT))
    restarted(served, times=1)


def test_a_model_that_never_answers_meets_the_watchdog_though_all_else_goes_on(machine, tmp_path):
    machine.write("/etc/vskd/hanging.onnx", hanging_bundle(tmp_path / "hanging.onnx").read_bytes())
    serve(machine, LISTENING + "model: /etc/vskd/hanging.onnx\n")
    before = machine.facts(UNIT)["MainPID"]
    with heard(machine, "vskd/home/+/event") as messages:

        def told(device: str) -> bool:
            return any(name == f"vskd/home/{device}/event" for name, _ in messages())

        with Feed(machine, "left", strength=lambda number: 1.5 * (number >= 40)) as feed:
            until(lambda: feed.sent > 40)
            assert told("left")
            # Nobody but the thread of the model hangs: the daemon itself can say so.
            until(lambda: "the model does not answer" in machine.facts(UNIT)["StatusText"])
            assert metrics(machine)["vskd_device_windows_waiting"]["left",] > 0
            assert machine.facts(UNIT)["MainPID"] == before
        until(lambda: "Watchdog timeout" in machine.journal(UNIT))
        restarted(machine, times=1)
        with Feed(machine, "right", strength=lambda _: 0.0):
            until(lambda: told("right"))
    facts = machine.facts(UNIT)
    assert (facts["ActiveState"], facts["NRestarts"]) == ("active", "1")
    assert facts["MainPID"] != before


def test_a_model_is_exchanged_on_reload_under_load_and_no_window_is_lost(machine):
    wrist = shipped("wrist")
    of_wrist = load(wrist).manifest
    name, window, hop = of_wrist.name, of_wrist.window_samples, of_wrist.hop_samples
    machine.write("/etc/vskd/other.onnx", rewritten(wrist, manifest=lambda m: m.update(name="other")))
    serve(machine, LISTENING)
    before = machine.facts(UNIT)["MainPID"]
    devices = [f"d{number}" for number in range(8)]
    with heard(machine, "vskd/home/+/scores") as messages:
        with Feed(machine, *devices, strength=lambda number: 1.5 * (number // 16 % 2)) as feed:
            until(lambda: feed.sent > 40)
            machine.write(CONFIG, LISTENING + "model: /etc/vskd/other.onnx\n")
            machine.run("systemctl", "reload", UNIT, check=True)
            until(lambda: '"reloaded"' in machine.journal(UNIT))
            enough = feed.sent + 40
            until(lambda: feed.sent > enough)
        came = {(device,): feed.sent * BATCH for device in devices}
        until(lambda: metrics(machine)["vskd_device_samples_total"] == came)
        until(lambda: not any(metrics(machine)["vskd_device_windows_waiting"].values()))
        counts = metrics(machine)
        classified = sum(counts["vskd_device_windows_classified_total"].values())
        until(lambda: sum(topic.endswith("/scores") for topic, _ in messages()) >= classified)
        told = messages()
    # At the model's 20 Hz a half second is 10 samples; the last waits for the one behind it.
    due = range(window + hop, 10 * feed.sent, hop)
    skipped = counts.get("vskd_device_windows_dropped_total", {})
    # On a machine that is too busy some may be skipped, under their name.
    assert {reason for _, reason in skipped} <= {"hop_widened", "overload"}
    for device in devices:
        scores = [message for topic, message in told if topic == f"vskd/home/{device}/scores"]
        ends = [each["end_sample"] for each in scores]
        assert ends == sorted(set(ends) & set(due))
        left_out = sum(count for (of, _), count in skipped.items() if of == device)
        assert len(ends) + left_out == len(due) == counts["vskd_device_windows_total"][device,]
        names = [each["bundle"]["name"] for each in scores]
        assert names == [name] * names.count(name) + ["other"] * names.count("other")
        assert set(names) == {name, "other"}
    for none in ("vskd_device_samples_dropped_total", "vskd_device_gaps_total"):
        assert none not in counts
    assert counts["vskd_broker_connections_total"][()] == 1
    facts = machine.facts(UNIT)
    assert (facts["ActiveState"], facts["NRestarts"], facts["MainPID"]) == ("active", "0", before)


def test_a_configuration_is_read_again_on_reload_and_a_bad_one_leaves_the_old_one_in_place(served):
    before = served.facts(UNIT)["MainPID"]
    served.write(CONFIG, GOOD + "no_data_after_s: 20\n")
    served.run("systemctl", "reload", UNIT, check=True)
    served.write(CONFIG, "gateway: home\nbrokr: embedded\n")
    served.run("systemctl", "reload", UNIT, check=True)
    until(lambda: "did you mean `broker`?" in served.journal(UNIT))
    facts = served.facts(UNIT)
    assert (facts["ActiveState"], facts["MainPID"]) == ("active", before)


def test_a_configuration_that_is_not_good_ends_with_78_and_is_not_tried_again(served):
    served.write(CONFIG, "gateway: home\nbrokr: embedded\n")
    check = served.run("vskd", "service", "check")
    assert check.returncode == 78
    assert "line 2: brokr: unknown key; did you mean `broker`?" in check.stdout
    assert served.run("systemctl", "restart", UNIT).returncode != 0
    facts = served.facts(UNIT)
    assert (facts["ActiveState"], facts["ExecMainStatus"], facts["NRestarts"]) == ("failed", "78", "0")
    assert "line 2: brokr: unknown key" in served.journal(UNIT)
    told = served.run("vskd", "service", "status")
    assert told.returncode == 3
    assert "its configuration is not good" in told.stdout


@pytest.fixture
def closed(machine):
    """The machine with a broker on port 1884 that asks for a password, and none on 1883."""
    path = "/etc/mosquitto/conf.d/closed.conf"
    users = "password_file /etc/mosquitto/users\n"
    machine.write(path, f"listener 1884 127.0.0.1\nallow_anonymous false\n{users}")
    yield machine
    machine.run("rm", path, check=True)
    machine.run("systemctl", "restart", "mosquitto", check=True)


def test_a_password_reaches_the_daemon_and_nobody_else(closed):
    machine, password = closed, "correct-horse-battery"
    machine.write("/etc/vskd/mqtt-password", password, mode="600")
    machine.run("mosquitto_passwd", "-c", "-b", "/etc/mosquitto/users", "vskd", password, check=True)
    machine.run("chmod", "644", "/etc/mosquitto/users", check=True)
    machine.run("systemctl", "restart", "mosquitto", check=True)
    broker = "{host: 127.0.0.1, port: 1884, username: vskd, password_credential: mqtt-password}"
    config = GOOD.replace("{host: 127.0.0.1}", broker) + "log: {level: debug}\n"
    machine.write(CONFIG, config)
    machine.run("vskd", "service", "check", check=True)
    serve(machine, config)
    until(lambda: '"connected"' in machine.journal(UNIT))
    pid = machine.facts(UNIT)["MainPID"]
    for name in ("cmdline", "environ"):
        assert password not in machine.run("cat", f"/proc/{pid}/{name}", check=True).stdout
    assert password not in machine.run("journalctl", "--no-pager").stdout
    assert password not in machine.run("systemctl", "show", UNIT).stdout


def test_it_is_removed_cleanly(fresh):
    machine, _ = fresh
    machine.write(CONFIG, GOOD)
    machine.run("systemctl", "start", UNIT, check=True)
    machine.run("dpkg", "--remove", "vskd-stream", check=True)
    assert machine.facts(UNIT)["ActiveState"] == "inactive"
    assert machine.run("test", "-e", CONFIG).returncode == 0
    machine.run("dpkg", "--purge", "vskd-stream", check=True)
    places = ("/etc", "/var", "/usr", "/opt", "/run")
    left = machine.run("find", *places, "-xdev", "-name", "*vskd*").stdout
    assert left.split() == []
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""


def test_an_installation_of_pip_is_a_service_by_one_command_and_gone_by_another(fresh, package):
    machine, _ = fresh
    machine.run("dpkg", "--purge", "vskd-stream", check=True)
    # The environment itself, as pip would have made it somewhere else.
    machine.run("dpkg-deb", "--extract", f"/shared/{package.name}", "/opt/whole", check=True)
    machine.run("mv", "/opt/whole/usr/lib/vskd-stream", "/opt/vskd-stream", check=True)
    python, home = "/opt/vskd-stream/bin/python3.11", "/opt/vskd-stream/bin"
    machine.run("sed", "-i", f"1s|.*|#!{python}|", f"{home}/vskd-streamd", check=True)
    vskd = (python, f"{home}/vskd", "service")
    machine.run("mkdir", "-p", "/etc/vskd", check=True)
    machine.write(CONFIG, "gateway: home\n")
    refused = machine.run(*vskd, "install")
    assert refused.returncode == 78, refused.stdout
    assert "nothing was changed" in refused.stdout
    assert "not installed" in machine.run(*vskd, "status").stdout
    machine.write(CONFIG, GOOD)
    said = machine.run(*vskd, "install", check=True).stdout
    assert "write /etc/systemd/system/vskd-streamd.service" in said
    facts = machine.facts(UNIT)
    assert (facts["UnitFileState"], facts["ActiveState"]) == ("enabled", "active")
    assert f"{home}/vskd-streamd" in facts["ExecStart"]
    machine.run(*vskd, "uninstall", "--purge", check=True)
    assert machine.facts(UNIT)["LoadState"] == "not-found"
    assert machine.run("ls", "/var/lib/private/vskd").returncode != 0


def test_a_machine_leaves_its_root_file_system_as_it_was():
    inside = Path(os.environ["VSKD_SYSTEMD"])
    found = subprocess.run(
        ["find", str(inside), "-name", "*vskd*"], capture_output=True, text=True, check=True
    ).stdout
    assert found.replace(str(inside), "").split() == []
