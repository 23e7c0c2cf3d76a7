"""The machine: what is installed, how fast it is, its clock, files, service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from vskd_stream.tools.diagnosis.finding import Finding, Verdict

_EARLIEST_YEAR = 2026
"""When this was written: a clock that shows less has lost its battery and found no server."""
_FEW_DEVICES = 4


def packages(versions: Mapping[str, str | None]) -> Finding:
    """Versions of what the daemon imports; None where it is not installed."""
    if missing := [name for name, version in versions.items() if version is None]:
        remedy = "install vskd-stream again, into an environment of its own"
        return Finding("packages", "fail", f"not installed: {', '.join(missing)}", remedy)
    return Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def kernel_cache(directory: Path | None, *, temporary: Path) -> Finding:
    """Where compiled kernels are kept."""
    check, remedy = (
        "kernel cache",
        "set NUMBA_CACHE_DIR, or CacheDirectory= in the unit, to a folder that lasts",
    )
    if directory is None:
        found = "no place to keep compiled kernels; every start compiles them anew"
        return Finding(check, "warn", found, remedy)
    if directory.is_relative_to(temporary):
        return Finding(check, "warn", f"{directory} does not outlive a reboot", remedy)
    return Finding(check, "ok", str(directory))


def cpu(machine: str, features: frozenset[str]) -> Finding:
    """Whether the processor has the instructions that make a model quick."""
    fast, better = {
        "x86_64": ("avx2", {"avx512_vnni", "avx_vnni"}),
        "aarch64": ("asimd", {"asimddp"}),
    }.get(machine, ("", set()))
    if not fast:
        return Finding(
            "cpu", "warn", f"{machine}; tried on x86_64 and aarch64 only", "see what a window costs"
        )
    if fast not in features:
        return Finding("cpu", "warn", f"{machine} without {fast}: models are slow", "see what a window costs")
    has = ", ".join([fast, *sorted(better & features)])
    return Finding("cpu", "ok", f"{machine} with {has}")


def window_cost(cost_s: float, *, hop_s: float) -> Finding:
    """What classifying a window takes here, for a model that wants one every ``hop_s``."""
    devices = int(hop_s / cost_s)
    found = f"a window takes {cost_s * 1e3:.1f} ms, each device has one every {hop_s:g} s"
    if devices < 1:
        remedy = "use a smaller model, or a faster machine"
        return Finding("window cost", "fail", f"{found}: too slow for a single device", remedy)
    verdict: Verdict = "ok" if devices >= _FEW_DEVICES else "warn"
    remedy = "" if verdict == "ok" else "use a smaller model for more devices"
    return Finding("window cost", verdict, f"{found}: enough for about {devices} devices", remedy)


def clock(utc_s: float, *, synchronised: bool | None) -> Finding:
    """Whether times in events will be right; ``synchronised`` is None where nobody could be asked."""
    now = datetime.fromtimestamp(utc_s, UTC)
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    remedy = "set the clock: `timedatectl set-ntp true`, or install chrony"
    if now.year < _EARLIEST_YEAR:
        return Finding("clock", "fail", f"it shows {shown}, which is past", remedy)
    if synchronised is None:
        return Finding("clock", "ok", f"{shown}; timedatectl does not tell whether it is synchronised")
    if not synchronised:
        return Finding("clock", "warn", f"{shown}, not synchronised: times in events may be wrong", remedy)
    return Finding("clock", "ok", f"{shown}, synchronised")


def key_file(path: Path, *, mode: int | None, problem: str = "") -> Finding:
    """Whether a private key is private; ``mode`` is None if the file cannot be looked at, for ``problem``."""
    check = "key file"
    if mode is None:
        return Finding(check, "fail", f"{path}: {problem}", "check its name, owner and mode")
    if mode & 0o007:
        return Finding(check, "fail", f"{path}: every user may use it (mode {mode:04o})", f"chmod o= {path}")
    if mode & 0o020:
        return Finding(
            check, "warn", f"{path}: its group may write it (mode {mode:04o})", f"chmod g-w {path}"
        )
    return Finding(check, "ok", f"{path}: mode {mode:04o}")


def unit(properties: Mapping[str, str] | None) -> Finding:
    """What systemd says of the service; None where there is no systemd to ask."""
    check = "systemd unit"
    if properties is None:
        return Finding(check, "ok", "no systemd runs here")
    state = properties.get("ActiveState", "unknown")
    if properties.get("LoadState") == "not-found":
        return Finding(check, "ok", "not installed as a service")
    restarts = properties.get("NRestarts", "0")
    found = f"{state} ({properties.get('SubState', 'unknown')}), restarted {restarts} times"
    if state == "failed" or properties.get("SubState") == "auto-restart":
        return Finding(
            check, "fail", f"{found}: {properties.get('Result', '')}", "journalctl -u vskd-streamd"
        )
    if restarts not in ("0", ""):
        return Finding(check, "warn", found, "journalctl -u vskd-streamd")
    return Finding(check, "ok", found)
