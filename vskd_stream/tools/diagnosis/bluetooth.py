"""Bluetooth: whether devices can be reached, and whether the connection interval holds them up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vskd_stream.bursts import MIN_BURSTS, Rhythm
from vskd_stream.tools.diagnosis.finding import Finding, Verdict

_OLDEST_BLUEZ = (5, 55)
"""What bleak asks for."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A Bluetooth adapter as BlueZ has it."""

    name: str
    address: str
    is_powered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BluetoothFacts:
    """What the system's Bluetooth answered."""

    is_installed: bool = True
    """Whether our own packages for Bluetooth are."""
    bus_error: str = ""
    """Why the system bus cannot be reached."""
    is_denied: bool = False
    """Whether the bus keeps bluetoothd from this user."""
    is_running: bool = False
    """Whether bluetoothd is there."""
    version: str | None = None
    """Of bluetoothctl, which comes with bluetoothd."""
    adapters: tuple[Adapter, ...] = ()
    blocked: str = ""
    """``soft`` or ``hard`` if rfkill holds Bluetooth switched off."""


def judge(
    facts: BluetoothFacts, *, is_needed: bool, wanted: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """Judge whether devices can be reached; where nobody needs it, nothing is worse than a warning."""
    worst: Verdict = "fail" if is_needed else "warn"
    check = "bluetooth"
    if not facts.is_installed:
        yield Finding(check, worst, "bleak is not installed", "pip install bleak bleak-retry-connector")
        return
    if facts.version is not None and _numbers(facts.version) < _OLDEST_BLUEZ:
        yield Finding("bluez", worst, f"BlueZ {facts.version}", "needs 5.55 or later: upgrade the system")
    elif facts.version is not None:
        yield Finding("bluez", "ok", f"BlueZ {facts.version}")
    if facts.bus_error:
        remedy = "start dbus; in a container, mount /run/dbus/system_bus_socket"
        yield Finding(check, worst, f"the system's D-Bus does not answer ({facts.bus_error})", remedy)
        return
    if facts.is_denied:
        remedy = "`usermod -aG bluetooth USER` and log in again; in a unit, SupplementaryGroups=bluetooth"
        yield Finding(check, worst, "D-Bus does not let this user talk to bluetoothd", remedy)
        return
    if not facts.is_running:
        remedy = "apt install bluez; systemctl enable --now bluetooth"
        yield Finding(check, worst, "bluetoothd does not run", remedy)
        return
    yield from _adapters(facts, worst=worst, wanted=wanted)


def _adapters(facts: BluetoothFacts, *, worst: Verdict, wanted: frozenset[str]) -> Iterator[Finding]:
    if facts.blocked:
        how = (
            "`rfkill unblock bluetooth`" if facts.blocked == "soft" else "its switch, or the firmware's setup"
        )
        yield Finding("rfkill", worst, f"Bluetooth is blocked ({facts.blocked})", how)
    if not facts.adapters:
        remedy = "plug one in, or look for missing firmware: `dmesg | grep -i bluetooth`"
        yield Finding("adapter", worst, "bluetoothd has no adapter", remedy)
    for adapter in facts.adapters:
        if adapter.is_powered:
            yield Finding("adapter", "ok", f"{adapter.name} ({adapter.address}) is switched on")
        else:
            verdict = worst if not wanted or adapter.name in wanted else "warn"
            found = f"{adapter.name} ({adapter.address}) is switched off"
            yield Finding("adapter", verdict, found, "`bluetoothctl power on`; AutoEnable=true keeps it so")
    for name in sorted(wanted - {adapter.name for adapter in facts.adapters}):
        if facts.adapters:
            yield Finding(
                "adapter", worst, f"there is no {name}, which the configuration names", "see `hciconfig`"
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def interval(name: str, rhythm: Rhythm) -> Finding:
    """Judge from one stream's arrivals whether its connection interval holds it up."""
    check = f"interval {name}"
    p50_ms, p95_ms = rhythm.gap_p50_s * 1e3, rhythm.gap_p95_s * 1e3
    paced = f"{rhythm.arrivals} messages, {p50_ms:.0f} ms apart (p95 {p95_ms:.0f})"
    if rhythm.bursts < MIN_BURSTS:
        remedy = f"record at least {MIN_BURSTS} arrivals"
        return Finding(check, "warn", f"{rhythm.arrivals} messages: too few to tell", remedy)
    if rhythm.interval_s is None:
        return Finding(check, "ok", f"{paced}; no connection interval shows in them")
    likely = f"{rhythm.interval_s * 1e3:g} ms"
    if rhythm.is_bottleneck:
        found = (
            f"{paced}; likely {likely}, {rhythm.per_burst:.1f} messages wait for each event: the bottleneck"
        )
        remedy = (
            "a shorter interval: MaxConnectionInterval under [LE] in /etc/bluetooth/main.conf (1.25 ms units)"
        )
        return Finding(check, "warn", found, remedy)
    if rhythm.is_upper_bound:
        return Finding(check, "ok", f"{paced}; at most {likely}, one message each: not the bottleneck")
    used = f"{rhythm.events_used:.0%} of the gaps are one interval"
    return Finding(check, "ok", f"{paced}; likely {likely}, {used}: not the bottleneck")
