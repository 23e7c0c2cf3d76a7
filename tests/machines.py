"""A machine of its own for tests that need a real systemd: booted in a container, gone with the test.

Needs root, ``systemd-container`` and a root file system with systemd in it, which stays as it is: what a test
writes goes to an overlay in memory. No network but the container's own loopback.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_PATIENCE_S = 120.0
_POLL_S = 0.1

# The container needs a cgroup tree that it may write to, which a machine without systemd has not mounted.
_BOOT = """
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/$NAME /run/systemd/nspawn
echo $$ > /sys/fs/cgroup/$NAME/cgroup.procs
exec systemd-nspawn --quiet --directory="$ROOT" --machine=$NAME --register=no --keep-unit --console=pipe \
    --resolv-conf=off --private-network --volatile=overlay --bind-ro="$SHARED":/shared --boot
"""


class Machine:
    """A booted container; a context manager."""

    def __init__(self, root: Path, *, shared: Path) -> None:
        """``shared``: a folder of the host, seen inside as /shared."""
        # A name of its own: what ended a moment ago may still hold the cgroups of its name.
        self._name = f"vskd-test-{os.getpid()}-{next(_numbers)}"
        self._environ = {**os.environ, "NAME": self._name, "ROOT": str(root), "SHARED": str(shared)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the machine)
        self._systemd = 0
        self._journal_from_s = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", _BOOT],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self._environ,
            start_new_session=True,
        )
        try:
            until(lambda: self._find() or self._process.poll() is not None)
            assert self._systemd, f"the container does not boot: {self.console()}"
            until(lambda: self.run("systemctl", "is-system-running").stdout.strip() in _BOOTED)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(
        self, *command: str, check: bool = False, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its standard error is in its output."""
        done = subprocess.run(
            [*self._inside("-p"), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            input=stdin,
            env=_ENVIRON,
            timeout=_PATIENCE_S * 5,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done

    @contextlib.contextmanager
    def beside(self, *command: str, stdout: int | IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """Have a command run inside meanwhile; what has not ended by itself is ended with the block."""
        # Not in its namespace of processes: entering that one forks, and what to end would be another.
        process = subprocess.Popen(
            [*self._inside(), *command], stdin=subprocess.PIPE, stdout=stdout, env=_ENVIRON
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def write(self, path: str, content: str | bytes, *, mode: str = "644") -> None:
        """Write a file inside."""
        encoded = base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
        decode = f'umask 077; base64 --decode > "$0" && chmod {mode} "$0"'
        self.run("sh", "-c", decode, path, stdin=encoded, check=True)

    def facts(self, unit: str) -> dict[str, str]:
        """What ``systemctl show`` tells of a unit."""
        told = self.run("systemctl", "show", unit, check=True).stdout
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def journal(self, unit: str) -> str:
        """What the unit has logged since the boot, or ``forget``."""
        since = f"--since=@{self._journal_from_s:.6f}"
        return self.run("journalctl", "--unit", unit, since, "--no-pager", "--output", "cat").stdout

    def forget(self) -> None:
        """Have ``journal`` tell only what comes from now on: a machine serves many tests."""
        self._journal_from_s = time.time()

    def console(self) -> str:
        """What the container's console showed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _inside(self, *more: str) -> list[str]:
        return ["nsenter", "-t", str(self._systemd), "-m", "-u", "-i", "-n", "-C", "-r", "-w", *more, "--"]

    @property
    def _cgroup(self) -> Path:
        # Where version 2 stands beside version 1, it has a folder of its own.
        both = Path("/sys/fs/cgroup/unified")
        return (both if both.is_dir() else Path("/sys/fs/cgroup")) / self._name

    def _find(self) -> bool:
        """Whether the container's first process is there: it is process 1 in a namespace of its own."""
        for listed in self._cgroup.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                for pid in listed.read_text().split():
                    status = Path("/proc", pid, "status").read_text()
                    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                    if len(numbers) > 2 and numbers[-1] == "1":
                        self._systemd = int(pid)
                        return True
        return False

    def _end(self) -> None:
        # Its first process takes all others with it.
        if self._systemd:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._systemd, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        until(self._is_gone)

    def _is_gone(self) -> bool:
        """Whether its cgroups could be removed: none has a process any more."""
        for folder in sorted((self._cgroup, *self._cgroup.rglob("*/")), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not self._cgroup.exists()


_ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LANG": "C.UTF-8",
}
_BOOTED = {"running", "degraded"}
_numbers = itertools.count()


def until(is_so: Callable[[], object], *, seconds: float = _PATIENCE_S) -> None:
    """Return when ``is_so``; fail if it is not after ``seconds``."""
    end_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end_s, "it never came to be"
        time.sleep(_POLL_S)
