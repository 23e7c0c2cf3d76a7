"""What goes on until the daemon is to stop, and then ends first: sources, and who looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import structlog

from vskd_stream.errors import RecordingError
from vskd_stream.publication import Publication
from vskd_stream.recording import Recording
from vskd_stream.samples import Samples
from vskd_stream.settings import Replay, Settings
from vskd_stream.sources.replay import replay
from vskd_stream.tally import Tally

if TYPE_CHECKING:
    from vskd_stream.sources.ble.manager import Manager

_log = structlog.get_logger()


class Feeds:
    """Tasks that begin by the configuration, and end with it or with the daemon."""

    _tasks: asyncio.TaskGroup

    def __init__(
        self,
        *,
        take: Callable[[Samples, float], None],
        publish: Callable[[Publication], None],
        connected: asyncio.Event,
        tally: Tally,
    ) -> None:
        """``take(samples, arrival_s)`` takes what comes over Bluetooth; recordings are published."""
        self.bluetooth: Manager | None = None
        """None until a configuration names a device."""
        self._take = take
        self._publish = publish
        self._connected = connected
        self._tally = tally
        self._running: set[asyncio.Task[None]] = set()
        self._replaying: list[tuple[Replay, asyncio.Task[None]]] = []

    def follow(self, settings: Settings, replays: Iterable[tuple[Replay, Recording]]) -> None:
        """Stream and play what this configuration names; what went on before and is in it goes on."""
        self._stream_bluetooth(settings)
        self._replay_all(replays)

    def begin_in(self, tasks: asyncio.TaskGroup) -> None:
        """Begin tasks from now on, in this group."""
        self._tasks = tasks

    def begin(self, source: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Something that goes on until the daemon is to stop, or until it ends by itself."""
        task = self._tasks.create_task(source, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def end(self) -> None:
        """End all of them; those that have a device to tell take their time."""
        for source in list(self._running):
            source.cancel()

    def _stream_bluetooth(self, settings: Settings) -> None:
        if self.bluetooth is not None:
            self.bluetooth.exchange(settings.bluetooth)
        elif settings.bluetooth:
            # Who has no Bluetooth device does without D-Bus and a second of imports.
            from vskd_stream.sources.ble.manager import Manager

            self.bluetooth = Manager(settings.bluetooth, deliver=self._take, tally=self._tally)
            self.begin(self.bluetooth.run(), "bluetooth")

    def _replay_all(self, wanted: Iterable[tuple[Replay, Recording]]) -> None:
        """Play these recordings; those that play already go on."""
        playing, self._replaying = self._replaying, []
        for settings, messages in wanted:
            running = next((one for one in playing if one[0] == settings), None)
            if running is not None:
                playing.remove(running)
            else:
                replaying = self._replay(settings, messages)
                running = (settings, self.begin(replaying, f"replay {settings.recording}"))
            self._replaying.append(running)
        for _, task in playing:
            task.cancel()

    async def _replay(self, settings: Replay, messages: Recording) -> None:
        _log.info("replaying", recording=settings.recording, topic=settings.topic or "as recorded")
        try:
            await replay(
                messages,
                publish=self._publish,
                connected=self._connected,
                start_s=settings.start_s,
                speed=settings.speed,
                repeat=settings.repeat,
                topic=settings.topic,
            )
        except RecordingError as error:
            # The watches are served on, whatever becomes of a recording.
            _log.error("replay ended", reason=str(error))
        else:
            _log.info("replayed", recording=settings.recording)
