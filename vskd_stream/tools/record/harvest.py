"""What comes goes into the file as it came, and is counted; nothing is raised towards who brings it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vskd_stream.errors import DecodeError, RecordingError
from vskd_stream.recording import Message, Recorder
from vskd_stream.samples import Samples


@dataclass(slots=True)
class Harvest:
    """What a recording has got so far."""

    messages: int = 0
    """Messages recorded."""
    bytes: int = 0
    """Bytes of their payloads."""
    devices: set[str] = field(default_factory=set)
    """Devices whose payloads could be read, as many as the daemon would serve."""
    undecoded: Counter[str] = field(default_factory=Counter)
    """Recorded all the same, though the daemon would refuse it: by reason."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Not recorded: ``retained``, ``bad_topic``, ``unrecordable``."""
    connections: int = 0
    """Times that the broker has let us in."""
    seconds: float = 0.0
    """From the beginning to the end."""
    failure: RecordingError | None = None
    """Why recording ended before it was told to; what came until then is in the file."""


class Taker:
    """Takes messages of all sources, one after the other."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        harvest: Harvest,
        stop: asyncio.Event,
        max_bytes: int,
        max_devices: int,
    ) -> None:
        """``stop`` ends recording; it is set by us when the file takes no more."""
        self.harvest = harvest
        self.stop = stop
        self._recorder = recorder
        self._left_bytes = max_bytes
        self._max_devices = max_devices

    def take(self, message: Message) -> bool:
        """Record a message; whether it is in the file."""
        if self.stop.is_set():
            return False
        try:
            self._recorder.append(message)
        except RecordingError as error:
            if isinstance(error.__cause__, OSError):
                self._end(error)
            else:
                self.harvest.left_out["unrecordable"] += 1
            return False
        self.harvest.messages += 1
        self.harvest.bytes += len(message.payload)
        self._left_bytes -= len(message.payload) + len(message.topic)
        if self._left_bytes <= 0:
            reason = "it is as large as it may become; allow more with --max-mib"
            self._end(RecordingError(self._recorder.path, reason))
        return True

    def count(self, read: Callable[[], Iterable[Samples]]) -> None:
        """Remember whose samples a recorded message has, or why it has none."""
        try:
            for samples in read():
                if len(self.harvest.devices) < self._max_devices:
                    self.harvest.devices.add(samples.device)
        except DecodeError as error:
            self.harvest.undecoded[error.reason] += 1

    def _end(self, failure: RecordingError) -> None:
        self.harvest.failure = failure
        self.stop.set()
