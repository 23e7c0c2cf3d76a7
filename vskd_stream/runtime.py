"""How this machine runs a model best: measured by ``vskd bench``, remembered, and never guessed.

What was measured holds for one model on one machine with one release of onnxruntime; with anything else
it is as if nothing were known, and one thread is used.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vskd_stream import _ort
from vskd_stream._jit import CACHE_DIRECTORY

_MAX_BYTES = 4096


class Choice(BaseModel):
    """What was found best, and for what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    onnxruntime: str
    bundle_sha256: str
    threads: Annotated[int, Field(ge=1, le=64)]


def machine() -> str:
    """Processor, architecture and number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return f"{next(names, platform.processor())}, {platform.machine()}, {os.cpu_count()} cores"


def threads(bundle_sha256: str, *, directory: Path | None = CACHE_DIRECTORY) -> int:
    """Threads for this model: as remembered, if that was measured with just this; else 1."""
    if directory is None:
        return 1
    try:
        with _path(directory, bundle_sha256).open("rb") as file:
            choice = Choice.model_validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return 1
    return choice.threads if choice == _of(bundle_sha256, threads=choice.threads) else 1


def remember(bundle_sha256: str, *, threads: int, directory: Path | None = CACHE_DIRECTORY) -> Path | None:
    """Write down what was measured; where, or None if no folder can be written to."""
    if directory is None:
        return None
    path = _path(directory, bundle_sha256)
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(_of(bundle_sha256, threads=threads).model_dump_json())
        partial.replace(path)
    except OSError:
        return None
    return path


def _path(directory: Path, bundle_sha256: str) -> Path:
    return directory / f"runtime-{bundle_sha256[:16]}.json"


def _of(bundle_sha256: str, *, threads: int) -> Choice:
    return Choice(machine=machine(), onnxruntime=_ort.VERSION, bundle_sha256=bundle_sha256, threads=threads)
