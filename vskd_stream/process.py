"""The process: built from a configuration, served on an event loop until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from vskd_stream import memory
from vskd_stream._jit import CACHE_DIRECTORY
from vskd_stream.broker._keeper import Bounds, Keeper
from vskd_stream.broker.journal import Journal
from vskd_stream.daemon import Daemon
from vskd_stream.equipment import equip, outbox_path
from vskd_stream.errors import VskdError
from vskd_stream.settings import Settings

_SWITCH_S = 0.001
"""A thread that waits for the interpreter gets it after so long. The model's asks for it a few times a batch:
by Python's own 5 ms a busy event loop would keep it from windows that there is a core for."""

_log = structlog.get_logger()


def build(settings: Settings, *, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Daemon:
    """Load and check everything that a configuration names, and warm what must be warm before it serves.

    ``path`` is its file, which a reload reads again.

    Raises:
        VskdError: Something that the configuration names is not usable.
    """
    if CACHE_DIRECTORY is None:
        _log.warning("no writable cache directory: kernels are compiled at every start; set NUMBA_CACHE_DIR")
    equipment = equip(settings, environ=environ)
    return Daemon(equipment, journal=_journal_of(settings, environ), path=path)


def _journal_of(settings: Settings, environ: Mapping[str, str]) -> Journal | None:
    wanted, limit = settings.outbox, settings.limits.max_queued_events
    path = outbox_path(settings, environ)
    if path is None:
        return None
    bounds = Bounds(wanted.max_bytes, wanted.max_age_s, max_in_memory=limit)
    return Journal(Keeper(path, bounds), max_pending=limit)


def serve(daemon: Daemon) -> None:
    """Run until SIGTERM or SIGINT, reload on SIGHUP; a second signal to end waits for nothing.

    Raises:
        VskdError: The embedded broker cannot be started, or has died; another daemon has the outbox.
    """
    began_on_terminal = sys.stderr.isatty()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang_up() -> None:
            # A terminal that is closed says the same as who wants a reload.
            if began_on_terminal and not os.isatty(sys.stderr.fileno()):
                # What we say last would find nobody, and fail.
                with Path(os.devnull).open("wb") as nowhere:
                    os.dup2(nowhere.fileno(), sys.stderr.fileno())
                stop.set()
            else:
                daemon.reload()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_leave, stop)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        await daemon.run(stop)

    # Both are the whole process's: whoever only has a configuration checked keeps its own ways.
    memory.settle()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())
    except* VskdError as group:
        # The TaskGroup's: whatever failed first brought the others down.
        raise group.exceptions[0] from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed (the extra ``fast``), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)
    stop.set()
