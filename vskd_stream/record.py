"""``vskd record``: raw payloads and when they came, from a broker into a file, until told to stop.

Nothing is changed and nothing chosen: what the daemon would have received is what a replay receives.
Only messages that the daemon would not take either are left out, and counted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from vskd_stream import __version__, config, logs
from vskd_stream.backoff import Backoff
from vskd_stream.broker.connection import MAX_PACKET_BYTES
from vskd_stream.broker.endpoint import Endpoint, endpoint_of
from vskd_stream.broker.link import Link
from vskd_stream.errors import BrokerError, ConfigError, DecodeError, RecordingError
from vskd_stream.recording import Header, Message, Recorder
from vskd_stream.settings import RemoteBroker
from vskd_stream.sources.mqtt import MqttReader

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_RECONNECT_CAP_S = 2.5
_NAMED_DEVICES = 10

_log = structlog.get_logger()


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
    """From the first connection to the end."""
    failure: RecordingError | None = None
    """Why recording ended before it was told to; what came until then is in the file."""


class _Taker:
    """Takes messages as they come from the network, whatever they are."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        reader: MqttReader,
        harvest: Harvest,
        stop: asyncio.Event,
        max_bytes: int,
        max_devices: int,
        utc_s: Callable[[], float],
    ) -> None:
        self._recorder = recorder
        self._reader = reader
        self._harvest = harvest
        self._stop = stop
        self._left_bytes = max_bytes
        self._max_devices = max_devices
        self._utc_s = utc_s

    def __call__(self, message: MQTTMessage) -> None:
        """Record a message; nothing is raised, for paho would take that as a fault of the connection."""
        if self._stop.is_set():
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._harvest.left_out["bad_topic"] += 1
            return
        if message.retain:
            # Older than the recording: the daemon would not take it for a sample of now either.
            self._harvest.left_out["retained"] += 1
            return
        payload = bytes(message.payload)
        try:
            self._recorder.append(Message(self._utc_s(), topic, payload))
        except RecordingError as error:
            if not isinstance(error.__cause__, OSError):
                self._harvest.left_out["unrecordable"] += 1
                return
            self._end(error)
        else:
            self._count(topic, payload)

    def _count(self, topic: str, payload: bytes) -> None:
        harvest = self._harvest
        harvest.messages += 1
        harvest.bytes += len(payload)
        try:
            for samples in self._reader.read(topic, payload):
                if len(harvest.devices) < self._max_devices:
                    harvest.devices.add(samples.device)
        except DecodeError as error:
            harvest.undecoded[error.reason] += 1
        self._left_bytes -= len(payload) + len(topic)
        if self._left_bytes <= 0:
            reason = "it is as large as it may become; allow more with --max-mib"
            self._end(RecordingError(self._recorder.path, reason))

    def _end(self, failure: RecordingError) -> None:
        self._harvest.failure = failure
        self._stop.set()


async def record(
    recorder: Recorder,
    *,
    endpoint: Endpoint,
    filters: Sequence[str],
    reader: MqttReader,
    stop: asyncio.Event,
    seconds: float | None = None,
    max_bytes: int = 2**30,
    max_devices: int = 64,
    backoff: Backoff | None = None,
    utc_s: Callable[[], float] = time.time,
    connected: asyncio.Event | None = None,
) -> Harvest:
    """Record what comes on ``filters`` until ``stop`` is set, also beyond losses of the broker.

    Args:
        recorder: Takes the messages; stays open.
        endpoint: The broker, under an id that nobody else has.
        filters: Topic filters to subscribe to.
        reader: Tells whose payloads these are.
        stop: Set to end; set by us when the time is over or the file takes no more.
        seconds: End so long after the first connection; None: never.
        max_bytes: End after so many bytes of topics and payloads.
        max_devices: Devices whose names are remembered.
        backoff: Pauses between attempts to reconnect.
        utc_s: The host's clock, in UTC seconds.
        connected: Set when the broker has first let us in.

    Raises:
        BrokerError: The first connection failed, or every filter was refused.
    """
    harvest = Harvest()
    take = _Taker(
        recorder,
        reader=reader,
        harvest=harvest,
        stop=stop,
        max_bytes=max_bytes,
        max_devices=max_devices,
        utc_s=utc_s,
    )
    backoff = backoff or Backoff(cap_s=_RECONNECT_CAP_S)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    def entered(refused: dict[str, str]) -> None:
        nonlocal began_s
        for topic_filter, reason in refused.items():
            _log.warning("subscription refused", topic=topic_filter, reason=reason)
        if harvest.connections == 0 and len(refused) == len(set(filters)):
            raise BrokerError(str(endpoint), "it lets us hear none of " + ", ".join(filters))
        harvest.connections += 1
        backoff.reset()
        if harvest.connections == 1:
            began_s = loop.time()
            if seconds is not None:
                loop.call_later(seconds, stop.set)
            if connected is not None:
                connected.set()
        _log.info("recording", broker=str(endpoint), file=str(recorder.path))

    async def keep() -> None:
        while True:
            try:
                reason = await _listen(endpoint, filters, take=take, entered=entered)
            except BrokerError as error:
                if harvest.connections == 0:
                    raise
                reason = error.reason
            _log.warning("connection lost", broker=str(endpoint), reason=reason)
            await asyncio.sleep(backoff.next_s())

    keeping = asyncio.create_task(keep(), name="record")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({keeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
    finally:
        stopped.cancel()
        keeping.cancel()
        await asyncio.wait({keeping, stopped})
    harvest.seconds = loop.time() - began_s
    return harvest


async def _listen(
    endpoint: Endpoint,
    filters: Sequence[str],
    *,
    take: Callable[[MQTTMessage], None],
    entered: Callable[[dict[str, str]], None],
) -> str:
    """One connection; why it ended."""
    link = Link(
        endpoint,
        will=None,
        on_message=take,
        on_acknowledged=lambda _, __: None,
        max_packet_bytes=MAX_PACKET_BYTES,
    )
    try:
        entered(await link.open(filters))
        return await link.live()
    finally:
        await link.goodbye()


def run(
    config_path: Path,
    out: Path,
    *,
    seconds: float | None,
    topics: Sequence[str] = (),
    max_mib: float = 1024.0,
) -> None:
    """The command: record until Ctrl-C, SIGTERM or the end of the time, and print what it got.

    Raises:
        VskdError: The configuration, the broker or the file is not usable, or nothing came.
    """
    settings = config.load(config_path)
    logs.configure(settings.log)
    filters = tuple(topics) or tuple(dict.fromkeys(source.topic for source in settings.sources))
    if not filters:
        problem = "no `sources`, and Bluetooth is not recorded; name a topic filter with --topic"
        raise ConfigError(config_path, [problem])
    remote = settings.broker if isinstance(settings.broker, RemoteBroker) else None
    password = config.read_password(remote, environ=os.environ) if remote else None
    endpoint = endpoint_of(settings, password)
    # With the daemon's own id the broker would end the daemon's connection; two recorders are two clients.
    endpoint = replace(endpoint, client_id=f"{endpoint.client_id}-record-{os.getpid()}")
    header = Header(created=datetime.now(UTC), tool=f"vskd record {__version__}", gateway=settings.gateway)
    reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)

    async def main() -> Harvest:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await record(
            recorder,
            endpoint=endpoint,
            filters=filters,
            reader=reader,
            stop=stop,
            seconds=seconds,
            max_bytes=int(max_mib * 2**20),
            max_devices=settings.limits.max_devices,
        )

    recorder = Recorder(out, header)
    try:
        with recorder:
            harvest = asyncio.run(main())
    except BrokerError:
        # Nothing came; an empty file would be in the way of the next attempt.
        out.unlink()
        raise
    if harvest.messages == 0:
        out.unlink()
    sys.stdout.write(describe(harvest, out))
    if harvest.failure is not None:
        raise harvest.failure
    if harvest.messages == 0:
        reason = f"nothing came in {harvest.seconds:.0f} s on {', '.join(filters)}; no file is left"
        raise RecordingError(out, reason)


def describe(harvest: Harvest, out: Path) -> str:
    """What was got, a line or a few for people."""
    named = sorted(harvest.devices)
    names = ", ".join(named[:_NAMED_DEVICES])
    if len(named) > _NAMED_DEVICES:
        names += f" and {len(named) - _NAMED_DEVICES} more"
    devices = f"{len(named)} device{'' if len(named) == 1 else 's'}" + (f" ({names})" if named else "")
    messages = f"{harvest.messages} message{'' if harvest.messages == 1 else 's'}"
    lines = [f"{out}: {messages}, {harvest.bytes} bytes in {harvest.seconds:.1f} s, {devices}"]
    if harvest.undecoded:
        lines.append(f"recorded, but the daemon would refuse them: {_counts(harvest.undecoded)}")
    if harvest.left_out:
        lines.append(f"not recorded: {_counts(harvest.left_out)}")
    if harvest.connections > 1:
        lines.append(f"the broker was lost {harvest.connections - 1} time(s); what it sent then is missing")
    return "".join(f"{line}\n" for line in lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
