"""How late packets are → how many never came: weighs by how much a count may be behind its arrivals.

Without a number in it a lost packet shows in nothing but its followers: they are late by one packet
more. How late a packet is that lost nothing is the link's affair: at a connection event comes all that
was taken since the one before, so the last of a burst is late by anything up to a packet's time. That
distribution is learned, and each burst weighs whether it came from there or from a packet further.
"""

from __future__ import annotations

from collections import deque
from typing import Final

STALL_S: Final = 0.5
"""After such a pause whatever is missing was lost: no device holds back more."""
_PERSIST_S: Final = 0.2
"""A burst that is later than can be weighed may be a link that stalls; what stays so late has lost."""
_BEHIND: Final = (-1, 0, 1, 2, 3)
"""What is weighed, in packets; -1: a loss was seen that was none."""
_NOW: Final = _BEHIND.index(0)
_CERTAIN: Final = tuple(float(packets == 0) for packets in _BEHIND)
_BINS: Final = 10
"""In a packet's time."""
_MEMORY: Final = 300
"""Bursts after which what was learned has faded: drift of 100 ppm moves them by a tenth of a packet."""
_UNSEEN: Final = 15.0
"""Bursts' worth of belief that a burst can be late by anything within a packet of the usual."""
_FLOOR: Final = 1e-3
_UNDONE: Final = 1e-3
_LOSS: Final = (0.005, 0.3)
"""Part of the packets that is taken to be lost, at least and at most; in between it is learned."""
_FIRST_LOSS: Final = 0.02
_DOUBTED: Final = 8
"""Bursts that are learned from only when nothing has turned out to be otherwise."""
_RESCALE: Final = 1e3


class Lateness:
    """One connection's bursts; constant work and memory."""

    def __init__(self, packet_s: float) -> None:
        """``packet_s``: the time from one packet to the next."""
        self._packet_s = packet_s
        self._odds: tuple[float, ...] = _CERTAIN
        self._loss = _FIRST_LOSS
        self._undoable = 0
        self._last_s: float | None = None
        self._far_since_s: float | None = None
        self._far_least = 0
        self._doubted: deque[float] = deque()
        self._since_loss = 0
        # Weights of places, in bins; the newest weighs most, which is forgetting without touching all.
        self._weights: dict[int, float] = {}
        self._weight = 1.0
        self._sum = 0.0
        self._moment = 0.0

    def behind(self, late_s: float, *, arrival_s: float) -> int:
        """By how many packets the count is behind (negative: ahead, by losses that were none).

        Args:
            late_s: How late the last packet of a burst was, as it is counted now.
            arrival_s: When that came; never earlier than the one before.
        """
        place = late_s / self._packet_s
        is_stall = self._last_s is not None and arrival_s - self._last_s > STALL_S
        self._last_s = arrival_s
        found = 0
        if self._sum:
            far = self._far(place - self._moment / self._sum, arrival_s, is_stall=is_stall)
            found = self._likeliest(place) if far is None else far
        elif self._doubted:
            # Nothing is learned yet: the first burst stands for the usual one.
            found = self._far(place - self._doubted[0], arrival_s, is_stall=is_stall) or 0
        self._remember(place, found)
        return found

    def _far(self, off: float, arrival_s: float, *, is_stall: bool) -> int | None:
        """What lies too far from the usual to be weighed; None if it does not."""
        packets = round(off)
        if is_stall and packets > 0:
            return self._jump(packets)
        if packets < _BEHIND[0] and self._undoable:
            return self._jump(max(packets, -self._undoable))
        if packets < _BEHIND[-1]:
            self._far_since_s = None
            return None
        if self._far_since_s is None:
            self._far_since_s, self._far_least = arrival_s, packets
        self._far_least = min(self._far_least, packets)
        return self._jump(self._far_least) if arrival_s - self._far_since_s >= _PERSIST_S else 0

    def _jump(self, packets: int) -> int:
        self._odds, self._far_since_s = _CERTAIN, None
        return packets

    def _likeliest(self, place: float) -> int:
        """One step of a forward filter: losses since the last burst, then how likely this one is."""
        odds = []
        for i, packets in enumerate(_BEHIND):
            prior, lost = 0.0, 1.0 - self._loss
            for before in reversed(self._odds[: i + 1]):
                prior += before * lost
                lost *= self._loss
            if i + 1 < len(_BEHIND) and (packets >= 0 or self._undoable):
                prior += self._odds[i + 1] * _UNDONE
            odds.append(prior * self._density(place - packets))
        total = sum(odds)
        self._odds = tuple(each / total for each in odds)
        best = max(range(len(odds)), key=odds.__getitem__)
        found = _BEHIND[best] if self._odds[best] > 0.5 else 0
        if found:
            moved = (i + found for i in range(len(_BEHIND)))
            self._odds = tuple(self._odds[i] if 0 <= i < len(_BEHIND) else 0.0 for i in moved)
        least, most = _LOSS
        self._loss = min(max(self._loss + (max(found, 0) - self._loss) / _MEMORY, least), most)
        return found

    def _density(self, place: float) -> float:
        at = round(place * _BINS)
        get = self._weights.get
        seen = (get(at - 1, 0.0) + 2 * get(at, 0.0) + get(at + 1, 0.0)) / (4 * self._weight)
        if abs(place - self._moment / self._sum) <= 1.0:
            seen += _UNSEEN / (2 * _BINS)
        return seen / (self._sum / self._weight + _UNSEEN) + _FLOOR / _BINS

    def _remember(self, place: float, found: int) -> None:
        self._undoable = max(self._undoable + found, 0)
        if found > 0:
            self._since_loss = 0
        elif found < 0:
            # What came since the loss that was none lies where it was seen at first.
            for i in range(max(len(self._doubted) - self._since_loss, 0), len(self._doubted)):
                self._doubted[i] -= found
        self._since_loss += 1
        self._doubted.append(place - found)
        if len(self._doubted) > _DOUBTED:
            self._learn(self._doubted.popleft())

    def _learn(self, place: float) -> None:
        at = round(place * _BINS)
        self._weights[at] = self._weights.get(at, 0.0) + self._weight
        self._sum += self._weight
        self._moment += self._weight * place
        self._weight *= 1.0 + 1.0 / _MEMORY
        if self._weight > _RESCALE:
            scaled = {at: weight / self._weight for at, weight in self._weights.items()}
            self._weights = {at: weight for at, weight in scaled.items() if weight > 1.0 / _RESCALE}
            self._sum, self._moment, self._weight = self._sum / self._weight, self._moment / self._weight, 1.0
