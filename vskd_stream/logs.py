"""How the daemon logs: for people on a terminal, JSON lines elsewhere; always on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog

from vskd_stream.commands import LogLevelName
from vskd_stream.settings import Log


def set_level(level: LogLevelName) -> None:
    """Tell more or less from now on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(max(number, logging.WARNING))


def configure(log: Log, *, stream: TextIO | None = None) -> None:
    """Set up structlog, and pass what libraries log through it; to standard error unless told otherwise."""
    # Looked up now, not when this file was imported: standard error may have been replaced since.
    stream = cast(TextIO, _Unfailing(sys.stderr if stream is None else stream))
    for_people = log.format == "console" or (log.format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
        if for_people
        else structlog.processors.JSONRenderer()
    )
    level = logging.getLevelNamesMapping()[log.level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


class _Unfailing:
    """Whoever reads the log may go, and its disk may be full: the watches are served on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
