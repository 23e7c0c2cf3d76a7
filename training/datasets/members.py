"""The files of a data set, wherever they lie: in a folder, or unread in a tar or zip archive of it."""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.datasets import DatasetError

MAX_FILE_BYTES = 16 * 2**20


class Member(NamedTuple):
    """One file whose name matched."""

    match: re.Match[str]
    """Its path's match, forward slashes."""
    name: str
    data: bytes


def members(
    place: Path, pattern: re.Pattern[str], *, hint: str, max_bytes: int = MAX_FILE_BYTES
) -> Iterator[Member]:
    """Every file of ``place`` whose whole path matches ``pattern``, read one at a time; a folder's sorted.

    Args:
        place: A folder, or a .tar (.xz, .gz, .bz2) or .zip archive, which is not unpacked.
        pattern: Must fit the whole path, so it usually begins with ``(?:.*/)?``.
        hint: What to download and where to put it; ends the error of a missing or damaged place.
        max_bytes: A longer file is refused unread.

    Raises:
        DatasetError: ``place`` is missing or damaged, or a file is longer than ``max_bytes``.
    """
    if not place.exists():
        raise DatasetError(place, f"not found; {hint}")
    if place.is_dir():
        return _in_folder(place, pattern, max_bytes)
    return (_in_zip if place.suffix == ".zip" else _in_tar)(place, pattern, hint, max_bytes)


def first_of(folder: Path, names: tuple[str, ...], *, hint: str) -> Path:
    """The first of ``names`` that exists in ``folder``; ``DatasetError`` with ``hint`` if none does."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise DatasetError(folder, f"none of {', '.join(names)} is in it; {hint}")


def _in_folder(place: Path, pattern: re.Pattern[str], max_bytes: int) -> Iterator[Member]:
    for path in sorted(place.rglob("*")):
        match = pattern.fullmatch(path.as_posix())
        if match and path.is_file():
            try:
                size = path.stat().st_size
                _bounded(place, path.name, size, max_bytes)
                yield Member(match, path.name, path.read_bytes())
            except OSError as error:
                raise DatasetError(path, f"cannot be read ({error.strerror})") from error


def _in_tar(place: Path, pattern: re.Pattern[str], hint: str, max_bytes: int) -> Iterator[Member]:
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                match = pattern.fullmatch(member.name)
                if not match or not member.isfile():
                    continue
                _bounded(place, member.name, member.size, max_bytes)
                content = archive.extractfile(member)
                assert content is not None  # only what is no file has none
                yield Member(match, member.name, content.read())
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(place, f"damaged, or no tar archive; {hint}") from error


def _in_zip(place: Path, pattern: re.Pattern[str], hint: str, max_bytes: int) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(place) as archive:
            for info in archive.infolist():
                match = pattern.fullmatch(info.filename)
                if not match or info.is_dir():
                    continue
                _bounded(place, info.filename, info.file_size, max_bytes)
                yield Member(match, info.filename, archive.read(info))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(place, f"damaged, or no zip archive; {hint}") from error


def _bounded(place: Path, name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DatasetError(place, f"{name} has {size} bytes: another data set")
