"""How long the Bluetooth room waits for what; tests are less patient."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Durations in seconds. A device that is there again is streamed again within 10 s."""

    scan_s: float = 4.0
    """One turn of scanning, if nothing that is sought shows up."""
    grace_s: float = 0.3
    """Others may show up so long after the first, before the scan ends for it."""
    pause_s: float = 3.0
    """Between turns that found nothing, at most: scanning costs the streams of others air time."""
    connect_s: float = 15.0
    """Connecting and discovering services; all others on the adapter wait."""
    operation_s: float = 5.0
    """One read, write or subscription, or one start or stop of a scan."""
    start_s: float = 20.0
    """All that a session does to start its stream."""
    stop_s: float = 3.0
    """All that it does to stop it."""
    retry_s: float = 3.0
    """Before the next attempt at a device, at most."""
    stable_s: float = 5.0
    """A stream that lasted so long ends the distrust."""
    rest_s: float = 60.0
    """A device that only ever fails is left alone for so long."""
    cycle_s: float = 600.0
    """An adapter that does not work is switched off and on no more often."""
    silence: float = 1.0
    """Times ``Traits.silence_s``: what a profile calls silence is for its devices, not for tests."""
