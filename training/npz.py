"""Arrays out of a .npz archive that may be damaged: no file is left open, and nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

UNREADABLE = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, AttributeError)
"""What numpy raises where the file is no archive, is damaged or lacks an array, now or when one is read."""


@contextmanager
def opened(path: Path) -> Iterator[NpzFile]:
    """The archive, whose arrays are read when they are asked for; fails with one of ``UNREADABLE``."""
    # Opened here, for numpy leaves its own file open when it is no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        yield archive
