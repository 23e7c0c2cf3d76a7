from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vskd_stream import cli
from vskd_stream.errors import ServiceError
from vskd_stream.tools import service as service_cli
from vskd_stream.tools.service import check_command, in_words, packaged_unit, service_settings, unit_for

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / service_cli.UNIT
EXECUTABLE, CONFIG = Path("/opt/vskd-stream/bin/vskd-streamd"), Path("/etc/vskd/watch.yaml")
MOST_EXPOSURE = 11
"""Of 100, as systemd-analyze counts: 1.1."""

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: systemd)"
)


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in service_settings(UNIT.read_text()):
        found.setdefault(key, []).append(value)
    return found


def test_the_unit_that_ships_is_the_one_in_the_repository():
    assert packaged_unit() == UNIT.read_text()


def test_the_unit_asks_for_no_privilege_and_owns_its_folders_alone():
    found = settings()
    assert (found["CapabilityBoundingSet"], found["AmbientCapabilities"]) == ([""], [""])
    assert found["DynamicUser"] == found["NoNewPrivileges"] == found["PrivateUsers"] == ["yes"]
    for folder in ("State", "Cache", "Runtime", "Configuration"):
        assert found[f"{folder}Directory"] == ["vskd"]
    assert "ReadWritePaths" not in found
    assert found["ProtectSystem"] == ["strict"]


def test_what_the_daemon_would_refuse_again_is_not_tried_again():
    told = [os.EX_USAGE, os.EX_DATAERR, os.EX_CONFIG]
    assert settings()["RestartPreventExitStatus"] == [" ".join(map(str, told))]
    assert settings()["Restart"] == ["on-failure"]


def test_every_credential_may_be_absent():
    found = settings()
    loaded = {value.split(":")[0] for value in found["LoadCredential"]}
    assert (
        loaded == {value.split(":")[0] for value in found["SetCredential"]} == {"mqtt-password", "mqtt-key"}
    )


@needs_analyze
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    unit = tmp_path / service_cli.UNIT
    # It looks for the program.
    unit.write_text(unit_for(EXECUTABLE, CONFIG).replace(str(EXECUTABLE), "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    # It looks at what else is installed, too, and that is not ours to judge.
    assert [line for line in done.stderr.splitlines() if service_cli.UNIT in line] == []


@needs_analyze
def test_the_unit_is_hardly_exposed():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_starts_this_installation_with_this_configuration():
    text = unit_for(EXECUTABLE, Path("/etc/vskd/lab.yaml"))
    (start,) = re.findall(r"^ExecStart=.*$", text, re.MULTILINE)
    assert start == f"ExecStart={EXECUTABLE} --config /etc/vskd/lab.yaml"
    assert len(text.splitlines()) == len(UNIT.read_text().splitlines())


@pytest.mark.parametrize(
    ("executable", "config", "said"),
    [
        ("/home/me/.local/bin/vskd-streamd", "/etc/vskd/watch.yaml", r"/home/me/.*/opt/vskd-stream"),
        ("/tmp/venv/bin/vskd-streamd", "/etc/vskd/watch.yaml", r"may not see"),
        ("/opt/bin/vskd-streamd", "/root/watch.yaml", r"copy it to /etc/vskd/watch.yaml"),
        ("/opt/bin/vskd-streamd", "/etc/my watch.yaml", r"plainer path"),
        ("/opt/bin/vskd-streamd", "/etc/a\nExecStartPre=/bin/sh.yaml", r"plainer path"),
        ("/opt/bin/vskd-streamd", "/etc/%h.yaml", r"plainer path"),
    ],
)
def test_what_the_service_could_not_see_or_name_is_refused(executable, config, said):
    with pytest.raises(ServiceError, match=said):
        unit_for(Path(executable), Path(config))


def test_a_check_has_all_restrictions_of_the_unit_and_none_of_its_life():
    command = check_command(UNIT.read_text())
    assert command[-3:] == ["--config", "/etc/vskd/watch.yaml", "--check-config"]
    given = {part.removeprefix("--property=") for part in command if part.startswith("--property=")}
    assert {"DynamicUser=yes", "LoadCredential=mqtt-password:/etc/vskd/mqtt-password"} <= given
    assert not [one for one in given if one.startswith(("Restart", "Watchdog", "Exec", "RuntimeDirectory"))]


def test_a_check_heeds_what_an_administrator_has_added():
    drop_in = "\n[Service]\nExecStart=\nExecStart=/opt/x --config /etc/y\nIPAddressAllow=203.0.113.7\n"
    command = check_command(UNIT.read_text() + drop_in)
    assert command[-4:] == ["/opt/x", "--config", "/etc/y", "--check-config"]
    assert "--property=IPAddressAllow=203.0.113.7" in command


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine whose systemd only notes what it is asked, and answers with the code in a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "systemd-run"):
        program = programs / name
        asks = f"printf '%s\\n' \"{name} $*\" >> {tmp_path}/asked"
        program.write_text(f"#!/bin/sh\n{asks}\nexit $(cat {tmp_path}/{name}.code)\n")
        program.chmod(0o755)
        (tmp_path / f"{name}.code").write_text("0")
    units = tmp_path / "units"
    units.mkdir()
    config = Path("/etc/hostname")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(service_cli, "UNITS", units)
    monkeypatch.setattr(service_cli, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setattr(service_cli, "_BOOTED", tmp_path)
    monkeypatch.setattr(service_cli, "_HIDDEN", ())
    monkeypatch.setattr(sys, "executable", "/opt/vskd-stream/bin/python3")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service_cli, "CONFIG", config)
    return tmp_path


def asked(host: Path) -> list[str]:
    path = host / "asked"
    return (
        [line.split()[0] + " " + line.split()[1] for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def install(*arguments: str) -> int:
    return cli.main(["service", "install", "--config", "/etc/hostname", *arguments])


def test_an_installation_checks_first_and_starts_last(host, capsys):
    assert install() == 0
    assert asked(host) == [
        "systemd-run --quiet",
        "systemctl daemon-reload",
        "systemctl enable",
        "systemctl restart",
    ]
    unit = host / "units" / service_cli.UNIT
    assert "ExecStart=/opt/vskd-stream/bin/vskd-streamd --config /etc/hostname" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["check", "write", "run", "run", "run"]


def test_a_configuration_that_is_not_good_changes_nothing(host, capsys):
    (host / "systemd-run.code").write_text("78")
    assert install() == 78
    assert asked(host) == ["systemd-run --quiet"]
    assert list((host / "units").iterdir()) == []
    assert "nothing was changed" in capsys.readouterr().out


def test_a_dry_run_says_all_and_does_nothing(host, capsys):
    assert install("--dry-run") == 0
    assert asked(host) == []
    assert list((host / "units").iterdir()) == []
    said = capsys.readouterr().out
    assert "would write" in said
    assert "DynamicUser=yes" in said


def test_a_step_that_fails_is_named(host, capsys):
    (host / "systemctl.code").write_text("1")
    assert install() == os.EX_UNAVAILABLE
    assert "`systemctl daemon-reload` failed with code 1" in capsys.readouterr().err


def test_what_a_package_brought_is_left_to_the_package_manager(host, capsys):
    (host / "packaged").mkdir()
    (host / "packaged" / service_cli.UNIT).touch()
    assert install() == os.EX_UNAVAILABLE
    assert cli.main(["service", "uninstall"]) == os.EX_UNAVAILABLE
    assert asked(host) == []
    assert "package" in capsys.readouterr().err


def test_a_removal_stops_disables_and_keeps_the_configuration(host, capsys):
    assert install() == 0
    (host / "asked").unlink()
    assert cli.main(["service", "uninstall", "--purge"]) == 0
    assert asked(host) == ["systemctl disable", "systemctl clean", "systemctl daemon-reload"]
    assert list((host / "units").iterdir()) == []
    assert capsys.readouterr().out.splitlines()[-1].endswith("stays")


def test_only_root_and_only_under_systemd(host, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert install() == os.EX_UNAVAILABLE
    assert "only root" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service_cli, "_BOOTED", host / "none")
    for command in ("install", "check", "status"):
        assert cli.main(["service", command]) == os.EX_UNAVAILABLE
        assert "systemd does not run this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"LoadState": "not-found"}, "not installed"),
        (
            {
                "ActiveState": "active",
                "SubState": "running",
                "UnitFileState": "enabled",
                "StatusText": "2 devices",
            },
            "active (running), enabled\n2 devices",
        ),
        (
            {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "78"},
            "failed (failed), static\nfailed: its configuration is not good; `vskd service check` says why",
        ),
        (
            {"ActiveState": "failed", "SubState": "failed", "Result": "watchdog", "NRestarts": "3"},
            (
                "failed (failed), static\nrestarted 3 times: see journalctl -u vskd-streamd.service\n"
                "failed: watchdog; see journalctl -u vskd-streamd.service"
            ),
        ),
    ],
)
def test_the_state_of_the_service_is_told_in_words(facts, said):
    assert in_words(facts) == said
