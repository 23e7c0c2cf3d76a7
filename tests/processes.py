"""The daemon as a real process, for integration tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml

LogLine = dict[str, Any]
_START_S = 60.0
"""Longer than any start on a busy machine: an event is awaited, this only ends a test that hangs."""


def command(name: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).parent / name)


def write_config(path: Path, **keys: Any) -> Path:
    """Write a configuration; topics, limits and times are the daemon's defaults unless given."""
    path.write_text(yaml.safe_dump({"gateway": "test", "sources": [{"topic": "imu/+/samples"}], **keys}))
    return path


class DaemonProcess:
    """``vskd-streamd`` on a configuration; its log, line by line, is what tests wait for."""

    def __init__(self, config: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._environ = {**os.environ, **(environ or {})}
        self._arrived = asyncio.Event()
        self.log: list[LogLine] = []
        self.raw: list[str] = []

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            command("vskd-streamd"),
            "--config",
            str(self._config),
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader
        assert not any("Traceback" in line for line in self.raw), "".join(self.raw)

    async def logged(self, is_wanted: Callable[[LogLine], object], *, count: int = 1) -> LogLine:
        """The ``count``-th line of the log that is wanted; fails if the process ends before."""
        async with asyncio.timeout(_START_S):
            while True:
                self._arrived.clear()
                found = [line for line in self.log if is_wanted(line)]
                if len(found) >= count:
                    return found[count - 1]
                if self._reader.done():
                    raise AssertionError(f"the daemon ended without saying it:\n{''.join(self.raw)}")
                await self._arrived.wait()

    async def event(self, name: str) -> LogLine:
        """The first line whose event is ``name``."""
        return await self.logged(lambda line: line["event"] == name)

    async def dropped(self, reason: str) -> LogLine:
        """The first line that tells of something dropped for ``reason``."""
        return await self.logged(lambda line: line["event"] == "dropped" and line["reason"] == reason)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; the exit code."""
        async with asyncio.timeout(_START_S):
            code = await self.process.wait()
            await self._reader
        return code

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode()
            self.raw.append(line)
            if line.startswith("{"):
                self.log.append(json.loads(line))
            self._arrived.set()
        self._arrived.set()
