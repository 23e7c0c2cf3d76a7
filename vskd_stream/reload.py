"""The configuration, read again while the daemon serves: taken over whole, or refused and nothing changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel

from vskd_stream import config
from vskd_stream.equipment import Equipment, equip
from vskd_stream.errors import ReloadError, VskdError
from vskd_stream.settings import EmbeddedBroker, Settings

LIVE: Final = frozenset(
    {
        "sources",
        "bluetooth",
        "model",
        "replay",
        "devices",
        "no_data_after_s",
        "publish",
        "log",
        "limits.max_devices",
        "limits.max_payload_bytes",
        "limits.max_queued_windows",
        "home_assistant.moving",
        "home_assistant.forget_after_days",
    }
)
"""Keys that may change while the daemon runs; of all others it is said that they need a restart."""

_MAX_WAITING = 32
_MAX_SHOWN = 300

Answer = Callable[[str | None], None]
"""Called on the event loop: None if the configuration is in force, else in words why the old one is."""

_log = structlog.get_logger()


def fixed(before: Settings, after: Settings) -> list[str]:
    """Keys that differ and cannot change while the daemon runs."""
    live = set(LIVE)
    if isinstance(after.broker, EmbeddedBroker):
        # The embedded broker was started with it.
        live.discard("limits.max_payload_bytes")
    return [key for key in _differing(before, after) if key not in live]


def _differing(before: BaseModel, after: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        key = f"{prefix}{name}"
        is_section = any(live.startswith(f"{key}.") for live in LIVE)
        if is_section and isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _differing(old, new, f"{key}.")
        else:
            yield key


class Reloader:
    """Reads one file again, whenever it is asked to; one run at a time."""

    def __init__(
        self,
        path: Path,
        *,
        current: Callable[[], Equipment],
        exchange: Callable[[Equipment], Awaitable[None]],
        on_begin: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``exchange`` takes over what has been found good; it does not fail."""
        self.refusal = ""
        """Why the last run changed nothing; empty if it did, or if there was none."""
        self._path = path
        self._current = current
        self._exchange = exchange
        self._on_begin = on_begin
        self._on_end = on_end
        self._environ = environ
        self._asked: list[Answer] = []
        self._wake = asyncio.Event()

    def ask(self, answer: Answer = lambda _: None) -> None:
        """Have the file read, by a run that begins after this call."""
        if len(self._asked) >= _MAX_WAITING:
            answer("too many reloads wait already")
            return
        self._asked.append(answer)
        self._wake.set()

    async def run(self) -> None:
        """Reload when asked, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            asked, self._asked = self._asked, []
            self._on_begin()
            error = await self._reload()
            self.refusal = "" if error is None else f"reload refused: {error[:_MAX_SHOWN]}"
            self._on_end()
            for answer in asked:
                answer(error)

    async def _reload(self) -> str | None:
        before = self._current()
        try:
            after = await asyncio.to_thread(self._prepare, before)
        except VskdError as error:
            _log.error("reload refused, the old configuration stays", reason=str(error))
            return str(error)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a new configuration, the old one serves)
            _log.exception("reload failed, the old configuration stays")
            return f"a fault in vskd-stream: {error!r}"
        await self._exchange(after)
        _log.info(
            "reloaded",
            config=str(self._path),
            bundle=after.bundle.manifest.name,
            changed=sorted(_differing(before.settings, after.settings)),
            new_model=before.bundle.sha256 != after.bundle.sha256,
        )
        return None

    def _prepare(self, before: Equipment) -> Equipment:
        settings = config.load(self._path)
        if keys := fixed(before.settings, settings):
            shown = ", ".join(f"`{key}`" for key in keys)
            raise ReloadError(
                f"{self._path}: {shown} cannot change while the daemon runs; restart it for that"
            )
        return equip(settings, environ=self._environ, before=before)
