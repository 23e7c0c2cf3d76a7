"""``python -m tests.fuzz TARGET --minutes N`` searches, guided by coverage, for bytes that break a promise.

Needs atheris (``pip install '.[fuzz]'``). What it finds interesting stays in ``runs/fuzz/TARGET``; with
``--keep`` what of it reaches most with least becomes the target's corpus, which the suite replays.
A crash is written there, too, as ``crash-...``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tests.fuzz.kernels import compiled

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

_KEPT_BYTES, _KEPT_FILES = 16 * 1024, 40
"""Of a target's corpus: what is kept is in everyone's checkout."""


def main() -> int:
    """Search, or thin out what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--keep", action="store_true", help="thin out what was found into the corpus")
    options = parser.parse_args()
    work = options.work / options.target
    work.mkdir(parents=True, exist_ok=True)
    if options.keep:
        return _keep(options.target, work)
    _fuzz(
        options.target,
        f"-max_total_time={round(options.minutes * 60)}",
        f"-seed={options.seed}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={work}/",
        str(work),
    )
    return 0


def _keep(name: str, work: Path) -> int:
    """Of what was found, the smallest first, keep whatever goes from a line of ours to one as none before."""
    target = _target(name)
    from tests.fuzz.targets import CORPUS

    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    steps: set[tuple[str, int, int]] = set()
    for seed in target.seeds():
        _trace(target.run, seed, steps)
    room, files = _KEPT_BYTES, _KEPT_FILES
    found = sorted((path for path in work.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    for path in found:
        data, known = path.read_bytes(), len(steps)
        _trace(target.run, data, steps)
        if path.name.startswith("crash"):
            (corpus / path.name[:14]).write_bytes(data)
        elif len(steps) > known and len(data) <= room and files:
            room, files = room - len(data), files - 1
            (corpus / path.name[:12]).write_bytes(data)
    print(f"{corpus}: {len(list(corpus.iterdir()))} inputs of {len(found)}, {len(steps)} steps")
    return 0


def _trace(run: Callable[[bytes], None], data: bytes, steps: set[tuple[str, int, int]]) -> None:
    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if "/vskd_stream/" not in file:
            return None
        last = 0

        def line(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        run(data)
    finally:
        sys.settrace(None)


def _target(name: str) -> Target:
    """Import it, and all else: most kernels compiled, those that read a stranger's bytes as Python."""
    import numba

    for kernels in compiled():
        importlib.import_module(kernels)
    numba.config.DISABLE_JIT = True  # type: ignore[attr-defined]  # made at run time
    from tests.fuzz.targets import TARGETS

    return TARGETS[name]


def _fuzz(name: str, *arguments: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["vskd_stream", "yaml", "h11"], exclude=compiled()):
        target = _target(name)
    for number, seed in enumerate(target.seeds()):
        with (
            contextlib.suppress(FileExistsError),
            Path(arguments[-1], f"seed-{number}").open("xb") as file,
        ):
            file.write(seed)
    length = f"-max_len={target.max_bytes}"
    atheris.Setup([sys.argv[0], length, *arguments], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
