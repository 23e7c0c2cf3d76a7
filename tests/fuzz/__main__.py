"""``python -m tests.fuzz TARGET --minutes N`` searches, guided by coverage, for bytes that break a promise.

Needs atheris (``pip install atheris``). What it finds interesting stays in ``runs/fuzz/TARGET``; with
``--keep`` the least of it that reaches as much becomes the target's corpus, which the suite replays.
A crash is written there, too, as ``crash-...``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

_KEPT_BYTES = 64 * 1024
"""Of a target's corpus: what is kept is for everyone's checkout."""


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
    from tests.fuzz.targets import CORPUS

    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--work", str(work.parent)]
    merged = work.parent / f"{name}-merged"
    merged.mkdir(exist_ok=True)
    environ = {**os.environ, "VSKD_FUZZ_MERGE": f"{merged}:{work}"}
    subprocess.run(command, check=True, env=environ)
    room = _KEPT_BYTES
    for path in sorted(merged.iterdir(), key=lambda each: each.stat().st_size):
        room -= path.stat().st_size
        if room >= 0:
            (corpus / path.name[:12]).write_bytes(path.read_bytes())
    print(f"{corpus}: {len(list(corpus.iterdir()))} inputs")
    return 0


def _fuzz(name: str, *arguments: str) -> None:
    import atheris

    # Compiled functions have no bytecode left to count in.
    compiled = [f"vskd_stream.{name}" for name in ("_checks", "_gaf", "_jit", "_resample", "_sanity")]
    with atheris.instrument_imports(include=["vskd_stream", "yaml", "h11"], exclude=compiled):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    if merge := os.environ.get("VSKD_FUZZ_MERGE"):
        arguments = ("-merge=1", *merge.split(":"))
    else:
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
