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
import os
import subprocess
from pathlib import Path

import pytest

from tests.machines import Machine, until

ROOT = Path(__file__).parents[2]
UNIT = "vskd-streamd.service"
CONFIG = "/etc/vskd/watch.yaml"
GOOD = """\
gateway: home
broker: {host: 127.0.0.1}
sources: [{topic: imu/+/samples}]
replay: [{recording: demo, topic: imu/demo/samples, repeat: true}]
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
    machine.run("systemctl", "stop", UNIT)
    machine.run("systemctl", "reset-failed", UNIT)
    machine.write(CONFIG, GOOD)
    machine.run("systemctl", "start", UNIT, check=True)
    return machine


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


def test_a_password_reaches_the_daemon_and_nobody_else(machine):
    password = "correct-horse-battery"
    machine.write("/etc/vskd/mqtt-password", password, mode="600")
    machine.write(
        "/etc/mosquitto/conf.d/closed.conf",
        "listener 1884 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/users\n",
    )
    machine.run("mosquitto_passwd", "-c", "-b", "/etc/mosquitto/users", "vskd", password, check=True)
    machine.run("chmod", "644", "/etc/mosquitto/users", check=True)
    machine.run("systemctl", "restart", "mosquitto", check=True)
    broker = "{host: 127.0.0.1, port: 1884, username: vskd, password_credential: mqtt-password}"
    machine.write(CONFIG, GOOD.replace("{host: 127.0.0.1}", broker) + "log: {level: debug}\n")
    machine.run("vskd", "service", "check", check=True)
    machine.run("systemctl", "start", UNIT, check=True)
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
