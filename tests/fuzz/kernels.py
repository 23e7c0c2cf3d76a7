"""Modules of numba kernels: compiled they have no bytecode to count in, and counting cannot be compiled."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

UNCOMPILED: Final = frozenset({"vskd_stream.decode._msgpack"})
"""Those that read a stranger's bytes. A search runs them as Python: it is guided through them as through all
else, and what compiled code would read behind the end of a payload is an IndexError."""


def compiled() -> list[str]:
    """The others; found without an import, which comes later, and by way of what counts."""
    spec = find_spec("vskd_stream")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    kernels = [path for path in package.rglob("*.py") if "\n@jit_" in path.read_text()]
    names = {".".join(path.relative_to(package.parent).with_suffix("").parts) for path in kernels}
    return sorted(names - UNCOMPILED)
