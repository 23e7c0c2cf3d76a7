"""How this machine runs a model best: measured by ``vskd bench``, remembered, and never guessed.

What was measured holds for one model on one machine with one release of onnxruntime; with anything else
it is as if nothing were known, and the model runs in the one way that gives the same bits everywhere.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vskd_stream import _ort
from vskd_stream._jit import CACHE_DIRECTORY
from vskd_stream._ort import Arithmetic
from vskd_stream.bundle import Bundle
from vskd_stream.classify import Classifier

_MAX_BYTES = 4096


class Way(BaseModel):
    """How a model is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    arithmetic: Arithmetic = "integer"


UNMEASURED = Way()


class _Memory(BaseModel):
    """What was found best, and for what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    onnxruntime: str
    bundle_sha256: str
    way: Way


def machine() -> str:
    """Processor, architecture and number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return f"{next(names, platform.processor())}, {platform.machine()}, {os.cpu_count()} cores"


def recall(bundle_sha256: str, *, directory: Path | None = CACHE_DIRECTORY) -> Way | None:
    """The way to run this model, if that was measured with just this; else None."""
    if directory is None:
        return None
    try:
        with _path(directory, bundle_sha256).open("rb") as file:
            memory = _Memory.model_validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return None
    return memory.way if memory == _of(bundle_sha256, memory.way) else None


def remember(bundle_sha256: str, way: Way, *, directory: Path | None = CACHE_DIRECTORY) -> Path | None:
    """Write down what was measured; where, or None if no folder can be written to."""
    if directory is None:
        return None
    path = _path(directory, bundle_sha256)
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(_of(bundle_sha256, way).model_dump_json())
        partial.replace(path)
    except OSError:
        return None
    return path


def classifier(bundle: Bundle, *, directory: Path | None = CACHE_DIRECTORY) -> Classifier:
    """The bundle, run as was measured; whoever plays a recording again runs it as the daemon does.

    Raises:
        BundleError: The graph breaks its manifest.
    """
    way = recall(bundle.sha256, directory=directory) or UNMEASURED
    return Classifier(bundle, threads=way.threads, arithmetic=way.arithmetic)


def _path(directory: Path, bundle_sha256: str) -> Path:
    return directory / f"runtime-{bundle_sha256[:16]}.json"


def _of(bundle_sha256: str, way: Way) -> _Memory:
    return _Memory(machine=machine(), onnxruntime=_ort.VERSION, bundle_sha256=bundle_sha256, way=way)
