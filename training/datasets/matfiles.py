"""One array out of a MATLAB file's bytes, checked before anything is computed from it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import scipy.io
from numpy.typing import NDArray

from training.datasets import DatasetError


def array(where: object, data: bytes, name: str, *, ndim: int) -> NDArray[np.float64]:
    """Variable ``name`` of a MATLAB 5 file as finite float64 with ``ndim`` axes.

    Raises:
        DatasetError: The bytes are no such file, or the variable is missing, of another shape, empty or
            not finite.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files make scipy doubt aloud before it fails
            found = scipy.io.loadmat(io.BytesIO(data), variable_names=[name])
    except Exception as error:  # scipy raises whatever a damaged byte leads it to
        raise DatasetError(where, f"not a readable MATLAB 5 file ({error})") from error
    value = found.get(name)
    if value is None:
        raise DatasetError(where, f"has no variable {name}")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise DatasetError(where, f"{name} holds no numbers")
    if value.ndim != ndim or 0 in value.shape:
        raise DatasetError(where, f"{name} has shape {value.shape}, which is empty or has not {ndim} axes")
    numbers = np.asarray(value, np.float64)
    if not np.isfinite(numbers).all():
        raise DatasetError(where, f"a value of {name} is not a finite number")
    return numbers
