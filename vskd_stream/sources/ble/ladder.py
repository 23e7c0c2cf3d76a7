"""What to do about a device that fails, from rung to rung; pure, so that the order is told here alone.

Resubscribing on the same link comes first and is the connection's own affair. Then it connects anew,
with growing pauses; when that fails repeatedly the system is told to forget the device; and one that
only ever fails is left alone for a while, because each attempt holds up the adapter for all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from vskd_stream.backoff import Backoff

REMOVE_EVERY = 3
"""So many failures in a row: what the system remembers of the device may be what is wrong."""
REST_AFTER = 9
"""So many failures in a row open the circuit breaker; from then on each attempt is a trial."""


@dataclass(frozen=True, slots=True)
class Rung:
    """What is due before the next attempt."""

    wait_s: float
    """First leave the device alone for so long."""
    remove: bool
    """Then let the system forget it."""
    resting: bool
    """Whether the circuit breaker is open."""


class Ladder:
    """Counts the failures of one device in a row."""

    def __init__(self, *, backoff: Backoff, rest_s: float) -> None:
        self._backoff = backoff
        self._rest_s = rest_s
        self._failures = 0

    def failed(self) -> Rung:
        """No connection, or one without samples."""
        self._failures += 1
        resting = self._failures >= REST_AFTER
        # On top of the rest, the jitter: a rest is never cut short.
        wait_s = self._backoff.next_s() + (self._rest_s if resting else 0.0)
        return Rung(wait_s, remove=self._failures % REMOVE_EVERY == 0, resting=resting)

    def lost(self, *, was_stable: bool) -> Rung:
        """A connection with samples has ended; unless it was stable, the pauses go on growing."""
        self._failures = 0
        if was_stable:
            self._backoff.reset()
        return Rung(self._backoff.next_s(), remove=False, resting=False)
