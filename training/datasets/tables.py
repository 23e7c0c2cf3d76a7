"""Numbers out of a text file's bytes, checked before anything is computed from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.datasets import DatasetError


def numbers(
    where: object, data: bytes, *, columns: int, delimiter: str | None = None, stamped: bool = False
) -> NDArray[np.float64]:
    """(n, columns) finite numbers, n >= 2.

    Args:
        where: Named in errors.
        data: ASCII text, a row a line.
        columns: What each line must have, its stamp left out.
        delimiter: Between columns; any white space by default.
        stamped: Whether a column that is no number, a moment, comes first; it is skipped.

    Raises:
        DatasetError: A line is not what it should be, or there are less than two.
    """
    try:
        lines = [line for line in data.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DatasetError(where, f"not a text file ({error})") from error
    if stamped:
        lines = [line.partition(delimiter or " ")[2] for line in lines]
    if len(lines) < 2:
        raise DatasetError(where, f"{len(lines)} samples are no recording")
    for number, line in enumerate(lines, start=1):
        count = line.count(delimiter) + 1 if delimiter else len(line.split())
        if count != columns:
            raise DatasetError(where, f"line {number} has {count} columns, not {columns}")
    try:
        values = np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        raise DatasetError(where, f"a value is not to be understood ({error})") from error
    if not np.isfinite(values).all():
        raise DatasetError(where, "a value is not a finite number")
    return values


def moments_s(where: object, data: bytes, *, delimiter: str = ",") -> NDArray[np.float64]:
    """(n,) seconds since the epoch, from the stamp (``2018-11-08 11:34:51.474``) that begins each line."""
    try:
        stamps = [line.split(delimiter, 1)[0] for line in data.decode("ascii").splitlines() if line.strip()]
        return np.array(stamps, "datetime64[us]").astype(np.int64) / 1e6
    except (UnicodeDecodeError, ValueError) as error:
        raise DatasetError(where, f"a moment is not to be understood ({error})") from error


def mean_rate_hz(where: object, t_s: NDArray[np.float64]) -> float:
    """Of samples at times (n,), from the first to the last; ``DatasetError`` if no time passes."""
    spent_s = float(t_s[-1] - t_s[0])
    if spent_s <= 0.0:
        raise DatasetError(where, "time stands still or runs backwards")
    return (len(t_s) - 1) / spent_s
