"""How every numba kernel here is compiled: IEEE arithmetic, and cached where the process may write.

numba refuses ``cache=True`` outright where neither the source tree nor HOME is writable, which is
the normal case of a hardened service; so the first writable place of a list is taken, and without
any the kernels are compiled at each start (``CACHE_DIRECTORY`` is None then; the daemon says so).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from vskd_stream import __version__

_Function = TypeVar("_Function", bound=Callable[..., Any])

# numba looks at a kernel's own file alone to tell whether its cache is stale: not at the options
# below, and, between two of its writes, not at the code itself. A release never sees another's.
_FOLDER = Path("vskd-stream") / f"numba-{__version__}"


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _home_cache() -> str | None:
    try:
        return str(Path.home() / ".cache")
    except RuntimeError:
        # Neither HOME nor the user's name is known: a container's bare user id.
        return None


def cache_directory() -> Path | None:
    """The first writable of: NUMBA_CACHE_DIR, systemd's CacheDirectory, the user's cache, a temporary one."""
    places = [
        os.environ.get("NUMBA_CACHE_DIR"),
        # systemd joins several directories with colons; the first is the service's own.
        os.environ.get("CACHE_DIRECTORY", "").split(":")[0],
        os.environ.get("XDG_CACHE_HOME") or _home_cache(),
    ]
    for place in places:
        if place and _is_writable(Path(place) / _FOLDER):
            return Path(place) / _FOLDER
    try:
        shared = Path(tempfile.gettempdir())
    except OSError:
        return None
    # A cache is code that will run, and others may plant files in a shared directory: only a folder
    # that is ours alone will do.
    private = shared / f"vskd-stream-{_FOLDER.name}-{os.getuid()}"
    if _is_writable(private) and not private.is_symlink() and private.stat().st_uid == os.getuid():
        return private
    return None


CACHE_DIRECTORY = cache_directory()
if CACHE_DIRECTORY is not None:
    # The compiler's own name for it; read whenever a kernel asks for a cache.
    numba.config.CACHE_DIR = str(CACHE_DIRECTORY)  # type: ignore[attr-defined]  # made at run time

_CACHED = CACHE_DIRECTORY is not None


def jit_inner(function: _Function) -> _Function:
    """Compile together with the kernels that call it, and with those it is cached."""
    return cast("_Function", numba.njit(error_model="numpy")(function))


def jit_inline(function: _Function) -> _Function:
    """As ``jit_inner``, but copied into its callers: for what calling it would cost as much as."""
    return cast("_Function", numba.njit(error_model="numpy", inline="always")(function))


def jit_for(signature: str, *, nogil: bool = True) -> Callable[[_Function], _Function]:
    """Compile or load at once, for one signature; an array of any other type or layout is a TypeError.

    Args:
        signature: In numba's notation, result first.
        nogil: Release the GIL. Not worth it for a microsecond: whoever takes it meanwhile keeps it
            for as long as Python's switch interval.
    """

    def compiled(function: _Function, *, cache: bool) -> _Function:
        decorate = numba.njit(signature, nogil=nogil, error_model="numpy", cache=cache)
        return cast("_Function", decorate(function))

    def compiled_or_loaded(function: _Function) -> _Function:
        try:
            return compiled(function, cache=_CACHED)
        except Exception:
            if CACHE_DIRECTORY is None:
                raise
            # A full disk, or what a power cut has left of the cache, whose unpickling raises anything:
            # neither may keep the service down. The next start begins with an empty cache.
            shutil.rmtree(CACHE_DIRECTORY, ignore_errors=True)
            return compiled(function, cache=False)

    return compiled_or_loaded
