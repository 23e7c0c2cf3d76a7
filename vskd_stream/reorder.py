"""Batches as they arrive → batches in the order of stream time, each once.

A batch that follows on the last one leaves at once; one that leaves a hole waits for what is
missing, but never longer than ``horizon_s`` of stream time. Only stream time and sequence numbers
decide, never the moment of arrival, so the same batches give the same order everywhere.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import Counter

import numpy as np
from msgspec.structs import replace

from vskd_stream.ledger import Flow
from vskd_stream.samples import Samples

_REMEMBERED = 256
"""Batches whose repetition is recognised as such; older ones are merely late."""
_HELD = 64
"""Batches that may wait at once, whatever their times say."""
_RESTART_BACK_S = 60.0
"""A step back by more than this is a clock that was set or a device that restarted."""
_RESTART_RUN = 3
"""So many late batches in a row are a restart as well: stragglers come singly."""


class Reorderer:
    """One stream's order. ``counts`` names what was dropped: batches, but for ``overlap`` (samples).

    ``flow`` is told how many samples each of these costs.
    """

    def __init__(self, *, horizon_s: float, flow: Flow | None = None) -> None:
        self._horizon_s = horizon_s
        self._flow = flow or Flow()
        self.counts: Counter[str] = Counter()
        # Two rings of numbers: of a thousand devices, objects in a dict would take 40 MB.
        self._seen_s = array("d")
        self._seen_sequences = array("q")
        self._seen = 0
        self._latest_s = -math.inf
        self._held: list[Samples] = []
        self._last_s: float | None = None
        self._next_sequence: int | None = None
        self._late_run = 0

    def push(self, samples: Samples) -> list[Samples]:
        """Take a batch; return the batches that may leave now.

        The times of consecutive returned batches increase, except where the device's clock was
        set back or the device restarted.
        """
        first_s, last_s = float(samples.t_s[0]), float(samples.t_s[-1])
        if self._is_repeated(first_s, samples.sequence):
            self.counts["duplicate"] += 1
            self._flow.drop("duplicate", len(samples))
            return []
        if self._last_s is not None and last_s <= self._last_s:
            self._late_run += 1
            if self._late_run < _RESTART_RUN and self._last_s - last_s <= _RESTART_BACK_S:
                self.counts["late"] += 1
                self._flow.drop("late", len(samples))
                return []
            released = self.flush()
            self._last_s = self._next_sequence = None
            self.counts["restart"] += 1
            return [*released, *self._release(samples)]
        self._late_run = 0
        if self._follows(samples):
            released = self._release(samples)
            return released + self._release_following() if self._held else released
        insort(self._held, samples, key=_start_s)
        released = []
        while self._held and (self._span_s() > self._horizon_s or len(self._held) > _HELD):
            released += self._release(self._held.pop(0))
            released += self._release_following()
        return released

    def flush(self) -> list[Samples]:
        """Return what still waits, in order: nothing more is expected."""
        released = []
        while self._held:
            released += self._release(self._held.pop(0))
        return released

    def _is_repeated(self, start_s: float, sequence: int | None) -> bool:
        """Whether such a batch came lately; if not it is remembered."""
        number = -1 if sequence is None else sequence
        # What begins later than all that came is new: nearly every batch.
        if start_s <= self._latest_s and (start_s, number) in zip(
            self._seen_s, self._seen_sequences, strict=True
        ):
            return True
        slot = self._seen % _REMEMBERED
        if slot == self._seen:
            self._seen_s.append(start_s)
            self._seen_sequences.append(number)
        else:
            self._seen_s[slot], self._seen_sequences[slot] = start_s, number
        self._seen += 1
        # After a clock was set back, the latest is forgotten once a round.
        self._latest_s = max(self._seen_s) if slot == 0 else max(self._latest_s, start_s)
        return False

    def _follows(self, samples: Samples) -> bool:
        if self._last_s is None or (samples.sequence is not None and samples.sequence == self._next_sequence):
            return True
        # No batch can be missing where no sample is; without sequence numbers jitter is allowed for.
        periods = 2.5 if samples.sequence is None else 1.5
        return _start_s(samples) - self._last_s <= periods / samples.sampling_rate_hz

    def _span_s(self) -> float:
        assert self._last_s is not None
        return max(float(held.t_s[-1]) for held in self._held) - self._last_s

    def _release_following(self) -> list[Samples]:
        released = []
        while self._held and self._follows(self._held[0]):
            released += self._release(self._held.pop(0))
        return released

    def _release(self, samples: Samples) -> list[Samples]:
        if samples.sequence is not None:
            if self._next_sequence is not None and samples.sequence > self._next_sequence:
                self.counts["missing"] += samples.sequence - self._next_sequence
            self._next_sequence = samples.sequence + 1
        if self._last_s is not None and _start_s(samples) <= self._last_s:
            first = int(np.searchsorted(samples.t_s, self._last_s, side="right"))
            self.counts["overlap"] += first
            self._flow.drop("overlap", first)
            if first == len(samples):
                return []
            samples = _from(samples, first)
        self._last_s = float(samples.t_s[-1])
        return [samples]


def _start_s(samples: Samples) -> float:
    return float(samples.t_s[0])


def _from(samples: Samples, first: int) -> Samples:
    gyro_dps = None if samples.gyro_dps is None else samples.gyro_dps[first:]
    return replace(samples, t_s=samples.t_s[first:], acc_g=samples.acc_g[first:], gyro_dps=gyro_dps)
