"""``vskd service``: the systemd unit of this installation; it never starts on a bad configuration."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vskd_stream.errors import ServiceError

UNIT = "vskd-streamd.service"
CONFIG = Path("/etc/vskd/watch.yaml")
UNITS = Path("/etc/systemd/system")
PACKAGED = Path("/lib/systemd/system")

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (what the unit cannot see)
_BOOTED = Path("/run/systemd/system")
_NOT_FOR_A_CHECK = {
    "Type", "NotifyAccess", "ExecStart", "ExecReload", "TimeoutStartSec", "TimeoutStopSec", "TimeoutAbortSec",
    "WatchdogSec", "Restart", "RestartSec", "RestartPreventExitStatus",
    # Removed when the check ends, under the daemon that may be running.
    "RuntimeDirectory",
}  # fmt: skip


def add_to(command: argparse.ArgumentParser) -> None:
    """Add ``install``, ``uninstall``, ``status`` and ``check``."""
    parts = command.add_subparsers(required=True, metavar="COMMAND")
    part = parts.add_parser(
        "install",
        help="write the unit, enable and start it, if the configuration is good",
        description="Writes a systemd unit for this installation, enables and starts it. The configuration "
        "is checked first, as the service will see it: with its user, its credentials and its restrictions.",
    )
    part.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"({CONFIG})")
    _add_dry_run(part)
    part.set_defaults(run=_install)

    part = parts.add_parser("uninstall", help="stop, disable and remove the unit; the configuration stays")
    part.add_argument("--purge", action="store_true", help="remove what it kept, too: outbox and cache")
    _add_dry_run(part)
    part.set_defaults(run=_uninstall)

    part = parts.add_parser("status", help="what the service does; exits with 0 if it runs, else with 3")
    part.set_defaults(run=_status)

    part = parts.add_parser("check", help="check the configuration as the service will see it")
    part.set_defaults(run=_check)


def _add_dry_run(part: argparse.ArgumentParser) -> None:
    part.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def packaged_unit() -> str:
    """The unit file that ships with this package."""
    beside = Path(__file__).parents[1] / "systemd" / UNIT
    # In a source tree it stands at the top, and a wheel takes it in.
    path = beside if beside.is_file() else Path(__file__).parents[2] / "systemd" / UNIT
    return path.read_text()


def unit_for(executable: Path, config: Path) -> str:
    """The unit with this daemon and this configuration.

    Raises:
        ServiceError: the unit would not see one of them.
    """
    for what, path in (("this installation", executable), ("the configuration", config)):
        if any(path.is_relative_to(place) for place in _HIDDEN):
            remedy = (
                "install into /opt/vskd-stream: python3 -m venv /opt/vskd-stream"
                if path == executable
                else f"copy it to {CONFIG}"
            )
            raise ServiceError(f"{what} is in {path.parent}, which the service may not see; {remedy}")
        if not str(path).isprintable() or any(letter in "%$\\\"' ;" for letter in str(path)):
            raise ServiceError(f"{what} is at {path!r}, which no unit can name; choose a plainer path")
    lines = packaged_unit().splitlines()
    start = f"ExecStart={executable} --config {config}"
    return "\n".join(start if line.startswith("ExecStart=") else line for line in lines) + "\n"


def service_settings(text: str) -> list[tuple[str, str]]:
    """The assignments of all [Service] sections in unit files, in their order."""
    found = []
    section = ""
    for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.append((key.strip(), value.strip()))
    return found


def check_command(text: str) -> list[str]:
    """The command that checks the configuration under all restrictions of the unit ``text``."""
    settings = service_settings(text)
    starts = [value for key, value in settings if key == "ExecStart" and value]
    properties = [f"--property={key}={value}" for key, value in settings if key not in _NOT_FOR_A_CHECK]
    return [
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec"),
        *properties,
        *shlex.split(starts[-1]),
        "--check-config",
    ]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Steps that are said before they are done; a dry run only says them."""

    dry_run: bool
    say: Callable[[str], object] = field(default=lambda words: sys.stdout.write(f"{words}\n"))

    def do(self, words: str, step: Callable[[], object]) -> None:
        self.say(f"would {words}" if self.dry_run else words)
        if not self.dry_run:
            sys.stdout.flush()
            step()

    def run(self, *command: str) -> None:
        self.do(f"run {shlex.join(command)}", partial(_run, command))


def _run(command: Sequence[str]) -> None:
    if code := _code(command):
        raise ServiceError(f"`{shlex.join(command)}` failed with code {code}")


def _code(command: Sequence[str]) -> int:
    return subprocess.run([_found(command[0]), *command[1:]], check=False).returncode  # noqa: S603


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ServiceError(f"there is no `{program}`: this is for machines that systemd runs")
    return path


def _install(options: argparse.Namespace) -> int:
    executable = Path(sys.executable).parent / "vskd-streamd"
    text = unit_for(executable.absolute(), options.config.absolute())
    unit = UNITS / UNIT
    plan = _Plan(options.dry_run)
    if (PACKAGED / UNIT).exists():
        raise ServiceError(f"the package vskd-stream brought {PACKAGED / UNIT}; remove it first, or use it")
    if not options.dry_run:
        _need_root_and_systemd()
        if not options.config.is_file():
            raise ServiceError(f"there is no {options.config}; write one, or name it with --config")
        plan.say(f"check {options.config} as the service will see it")
        if code := _code(check_command(text + _drop_ins())):
            plan.say("nothing was changed: correct the configuration, then do this again")
            return code
    plan.do(f"write {unit}", partial(_write, unit, text))
    if options.dry_run:
        plan.say(text)
    plan.run("systemctl", "daemon-reload")
    plan.run("systemctl", "enable", "--quiet", UNIT)
    # Restart: an older version may be running. It returns when the daemon says that it is ready.
    plan.run("systemctl", "restart", UNIT)
    return os.EX_OK


def _uninstall(options: argparse.Namespace) -> None:
    unit = UNITS / UNIT
    if not options.dry_run:
        _need_root_and_systemd()
        if not unit.exists():
            raise ServiceError(f"there is no {unit}; what a package brought, the package manager removes")
    plan = _Plan(options.dry_run)
    plan.run("systemctl", "disable", "--quiet", "--now", UNIT)
    if options.purge:
        plan.run("systemctl", "clean", "--what=state", "--what=cache", "--what=runtime", UNIT)
    plan.do(f"remove {unit}", unit.unlink)
    plan.run("systemctl", "daemon-reload")
    plan.say(f"the configuration in {CONFIG.parent} stays")


def _check(_: argparse.Namespace) -> int:
    _need_root_and_systemd()
    unit = next((folder / UNIT for folder in (UNITS, PACKAGED) if (folder / UNIT).exists()), None)
    if unit is None:
        raise ServiceError("no unit is installed; `vskd service install` checks before it installs one")
    return _code(check_command(unit.read_text() + _drop_ins()))


def _status(_: argparse.Namespace) -> int:
    _need_systemd()
    names = "LoadState,UnitFileState,ActiveState,SubState,StatusText,NRestarts,Result,ExecMainStatus,MainPID"
    shown = subprocess.run(  # noqa: S603
        [_found("systemctl"), "show", f"--property={names}", UNIT], check=True, capture_output=True, text=True
    )
    facts = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    sys.stdout.write(in_words(facts) + "\n")
    return 0 if facts.get("ActiveState") == "active" else 3


def in_words(facts: dict[str, str]) -> str:
    """What ``systemctl show`` tells, as a person would say it."""
    if facts.get("LoadState") == "not-found":
        return "not installed"
    lines = [
        f"{facts.get('ActiveState')} ({facts.get('SubState')}), {facts.get('UnitFileState') or 'static'}"
    ]
    if facts.get("StatusText"):
        lines.append(facts["StatusText"])
    if facts.get("NRestarts", "0") != "0":
        lines.append(f"restarted {facts['NRestarts']} times: see journalctl -u {UNIT}")
    if facts.get("ActiveState") == "failed":
        why = {
            str(os.EX_CONFIG): "its configuration is not good; `vskd service check` says why",
            str(os.EX_DATAERR): "its model bundle or a recording is not usable",
        }.get(facts.get("ExecMainStatus", ""), f"{facts.get('Result')}; see journalctl -u {UNIT}")
        lines.append(f"failed: {why}")
    return "\n".join(lines)


def _need_root_and_systemd() -> None:
    if os.geteuid() != 0:
        raise ServiceError("only root may do this; run it with sudo, or look first with --dry-run")
    _need_systemd()


def _need_systemd() -> None:
    if not _BOOTED.is_dir():
        raise ServiceError("systemd does not run this machine: it has no services to install")


def _drop_ins() -> str:
    files = sorted((UNITS / f"{UNIT}.d").glob("*.conf"))
    return "".join(f"\n{file.read_text()}" for file in files)


def _write(path: Path, text: str) -> None:
    # A crash leaves the old unit or the new one.
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o644)
    beside.replace(path)
