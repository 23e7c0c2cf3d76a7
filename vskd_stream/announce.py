"""What a device's cuts mean → messages and log lines; the last state of each device, for who asks later."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from vskd_stream import topics
from vskd_stream.clock import ClockReading
from vskd_stream.events import ActivityEvent
from vskd_stream.manifest import GAP, NO_DATA, SILENCED, UNITS_SUSPECT, Manifest
from vskd_stream.payloads import Origin, Timing
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.publication import Publication
from vskd_stream.scores import Scores
from vskd_stream.window import Window

_NEVER_UPDATED = frozenset({NO_DATA, GAP, SILENCED, UNITS_SUSPECT})
"""States in which no windows come."""

_log = structlog.get_logger()


class Announcer:
    """Decides on each cut, and publishes what there is to tell."""

    def __init__(
        self,
        *,
        origin: Origin,
        manifest: Manifest,
        publish: Callable[[Publication], None],
        utc_s: Callable[[], float],
        scores: bool = False,
        event_expiry_s: int | None = None,
        silent: Collection[str] = (),
    ) -> None:
        """After ``event_expiry_s`` no broker is to deliver an event any more (MQTT 5).

        Of ``silent`` devices nothing is told, and every broker is told that instead of what it may
        have kept of them.
        """
        self._origin = origin
        self._manifest = manifest
        self._publish = publish
        self._utc_s = utc_s
        self._scores = scores
        self._event_expiry_s = event_expiry_s
        self._silent = tuple(silent)
        self._states: dict[str, Publication] = {}
        self._idle: set[str] = set()

    def announce(self, pipeline: Pipeline, cut: Cut, probabilities: NDArray[np.float32] | None) -> None:
        """Take a device's next cut, with the model's probabilities if it is a window."""
        timing, piece = self._timing(cut.clock), cut.piece
        if isinstance(piece, Window):
            newest_s = (piece.end_sample - 1) / self._manifest.sampling_rate_hz
            # A device whose own clock is ahead cannot be told from one that is early.
            pipeline.ledger.latency.observe(max(0.0, timing.published_utc_s - timing.utc_s(newest_s)))
            if self._scores and probabilities is not None and not pipeline.preferences.withholds:
                scores = Scores(pipeline.device, piece.end_sample, probabilities)
                publication = topics.scores(
                    scores, manifest=self._manifest, origin=self._origin, timing=timing
                )
                self._publish(publication)
        if events := pipeline.decide(cut, probabilities):
            self._tell(events, timing)

    def stop(self, pipeline: Pipeline, *, reason: Literal["stopped", "paused"] = "stopped") -> None:
        """End what a device's wearer does, because we end or are to pause."""
        self._tell(pipeline.stop(reason), self._timing(pipeline.clock))

    def tell(self, pipeline: Pipeline, events: list[ActivityEvent]) -> None:
        """Tell what became of a device's activities for another reason than its next cut."""
        self._tell(events, self._timing(pipeline.clock))

    def follow(
        self,
        *,
        origin: Origin,
        manifest: Manifest,
        scores: bool,
        event_expiry_s: int | None,
        silent: Collection[str],
    ) -> None:
        """Announce by another configuration or model from now on; who is newly silent is told so at once."""
        before, self._silent = self._silent, tuple(silent)
        self._origin, self._manifest = origin, manifest
        self._scores, self._event_expiry_s = scores, event_expiry_s
        for device in self._silent:
            if device not in before:
                self._states.pop(device, None)
                self._idle.discard(device)
                for publication in self._silencing(device, self._utc_s()):
                    self._publish(publication)

    def birth(self) -> list[Publication]:
        """What a broker must know first that may have forgotten us: that we run, and who is silenced."""
        now_s = self._utc_s()
        return [
            topics.status("online", origin=self._origin, published_utc_s=now_s),
            *(each for device in self._silent for each in self._silencing(device, now_s)),
        ]

    def state(self, device: str) -> Publication | None:
        """The last state of a device; None while there is none."""
        return self._states.get(device)

    def idle(self) -> frozenset[str]:
        """Devices of which no activity goes on, so that no update will tell their states again."""
        return frozenset(self._idle)

    def farewell(self) -> Publication:
        """That we have ended in order."""
        return topics.status("stopped", origin=self._origin, published_utc_s=self._utc_s())

    def _tell(self, events: list[ActivityEvent], timing: Timing) -> None:
        for event in events:
            expiry_s = self._event_expiry_s
            self._publish(topics.event(event, origin=self._origin, timing=timing, expiry_s=expiry_s))
            _log_event(event)
        if events:
            last = events[-1]
            state = topics.state(last, origin=self._origin, timing=timing)
            self._states[last.device] = state
            if last.type == "end" or last.label in _NEVER_UPDATED:
                self._idle.add(last.device)
            else:
                self._idle.discard(last.device)
            self._publish(state)

    def _silencing(self, device: str, now_s: float) -> list[Publication]:
        return [
            topics.silenced(device, origin=self._origin, published_utc_s=now_s),
            *topics.unsaid(device, origin=self._origin),
        ]

    def _timing(self, clock: ClockReading) -> Timing:
        return Timing(clock.kind, clock.offset_s, self._utc_s(), at_s=clock.at_s, skew=clock.skew)


def _log_event(event: ActivityEvent) -> None:
    facts: dict[str, object] = {}
    if event.confidence is not None:
        facts["confidence"] = round(event.confidence, 2)
    if event.end_s is not None:
        facts["seconds"] = round(event.end_s - event.start_s, 1)
    # Updates repeat what is known: who wants them subscribes.
    tell = _log.debug if event.type == "update" else _log.info
    tell(f"{event.label} {event.type}", device=event.device, **facts)
