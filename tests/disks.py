"""Disks that fail for real."""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest


@contextlib.contextmanager
def writing_fails() -> Iterator[None]:
    """No file can be written by this process; log lines must go elsewhere meanwhile (``capture_logs``)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class SmallDisk:
    """A file system of a megabyte; skips the test where none may be mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        """Undo ``fill``."""
        self._ballast.unlink()

    def read_only(self, *, yes: bool = True) -> None:
        """As a kernel does that finds errors on it: whoever has a file open for writing is not asked."""
        how = "remount,ro" if yes else "remount,rw"
        subprocess.run(["mount", "-o", how, str(self.path)], check=True, capture_output=True)

    def __enter__(self) -> Self:
        self.path.mkdir()
        with contextlib.suppress(OSError):
            command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self.path)]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return self
        pytest.skip("no file system may be mounted here")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True, capture_output=True)
