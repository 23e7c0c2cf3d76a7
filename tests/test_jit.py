from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from vskd_stream import __version__, _jit

FOLDER = Path("vskd-stream") / f"numba-{__version__}"
PLACES = ["NUMBA_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME", "TMPDIR", "TEMP", "TMP"]

compiled = pytest.mark.skipif(
    "NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled, so nothing is cached"
)


@pytest.fixture
def blocked(tmp_path):
    """A place where nobody can make a folder, not even root: under a file."""
    file = tmp_path / "file"
    file.touch()
    return file / "folder"


@pytest.fixture
def nowhere(monkeypatch, blocked):
    for place in PLACES:
        monkeypatch.delenv(place, raising=False)
    monkeypatch.setenv("HOME", str(blocked))
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))


def test_the_place_that_the_user_names_comes_first(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "service"))
    assert _jit.cache_directory() == tmp_path / "named" / FOLDER
    assert (tmp_path / "named" / FOLDER).is_dir()
    assert not (tmp_path / "service").exists()


def test_the_first_of_systemds_directories_comes_before_home(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("CACHE_DIRECTORY", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert _jit.cache_directory() == tmp_path / "one" / FOLDER


def test_a_place_that_cannot_be_written_is_passed_over(nowhere, monkeypatch, blocked, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setenv("CACHE_DIRECTORY", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _jit.cache_directory() == tmp_path / "xdg" / FOLDER


def test_without_another_place_it_is_the_home_directorys_cache(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _jit.cache_directory() == tmp_path / ".cache" / FOLDER


def test_a_user_without_a_home_has_a_private_folder_among_the_temporary_ones(nowhere, monkeypatch, tmp_path):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = _jit.cache_directory()
    assert directory == tmp_path / f"vskd-stream-numba-{__version__}-{os.getuid()}"
    assert directory is not None
    assert directory.stat().st_mode & 0o777 == 0o700


def test_what_others_planted_among_the_temporary_files_is_not_used(nowhere, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    planted = tmp_path / f"vskd-stream-numba-{__version__}-{os.getuid()}"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    planted.symlink_to(theirs)
    assert _jit.cache_directory() is None
    planted.unlink()
    planted.mkdir(mode=0o777)
    if os.getuid() == 0:
        os.chown(planted, 12345, 12345)
        assert _jit.cache_directory() is None


def test_nowhere_to_write_is_said(nowhere, monkeypatch):
    assert _jit.cache_directory() is None

    def none_usable():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none_usable)
    assert _jit.cache_directory() is None


def python(code, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in PLACES}
    root = str(Path(_jit.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**kept, "PYTHONPATH": root, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


ENCODE = """
import sys, tempfile
import numpy as np
tempfile.tempdir = sys.argv[1]
from vskd_stream.image import ImageSpec, encode
print(encode(np.arange(12, dtype=np.float32).reshape(3, 4), spec=ImageSpec(size=2))[2, 0, 1])
"""


@compiled
def test_a_service_without_a_home_encodes_and_caches_among_the_temporary_files(blocked, tmp_path):
    assert told(python(ENCODE, tmp_path, HOME=blocked)) == "-1.0"
    assert list(tmp_path.glob(f"vskd-stream-numba-*-{os.getuid()}/*/_gaf.encode_window*.nbc"))


KERNEL = """
from vskd_stream._jit import jit_for, jit_inner

@jit_inner
def _inner(number):
    return number + {addend}

@jit_for("int64(int64)")
def kernel(number):
    return _inner(number)
"""
RUN = """
import sys, tempfile
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
tempfile.tempdir = sys.argv[2]
from kernel import kernel
print(kernel(1), "loaded" if kernel.stats.cache_hits else "compiled")
"""


class Kernel:
    """Starts processes that say what a small kernel adds to 1, and whether they found it in the cache."""

    def __init__(self, folder, blocked):
        self.cache = folder / "cache"
        self._blocked = blocked
        self._file = folder / "source" / "kernel.py"
        self._file.parent.mkdir()

    def write(self, addend):
        self._file.write_text(KERNEL.format(addend=addend), encoding="utf-8")
        # Neither size nor time tells of a change, as between two archives unpacked.
        os.utime(self._file, (1_000_000_000, 1_000_000_000))

    def start(self, **environment):
        environment = environment or {"NUMBA_CACHE_DIR": self.cache}
        return python(RUN, self._file.parent, self._blocked, **environment)


@pytest.fixture
def kernel(tmp_path, blocked):
    kernel = Kernel(tmp_path, blocked)
    kernel.write(1)
    return kernel


@compiled
def test_a_kernel_is_compiled_once_and_again_when_its_source_changes(kernel):
    assert told(kernel.start()) == "2 compiled"
    assert told(kernel.start()) == "2 loaded"
    kernel.write(5)
    assert told(kernel.start()) == "6 compiled"


@compiled
def test_a_service_that_may_write_nowhere_compiles_without_a_cache(kernel, blocked):
    assert told(kernel.start(HOME=blocked)) == "2 compiled"


@compiled
def test_processes_that_start_at_once_share_a_cache_without_harm(kernel):
    together = [kernel.start() for _ in range(2)]
    assert {told(process) for process in together} <= {"2 compiled", "2 loaded"}
    assert told(kernel.start()) == "2 loaded"


@compiled
@pytest.mark.parametrize(("pattern", "kept"), [("*.nbi", 0), ("*.nbc", 0.5)])
def test_a_cache_that_a_power_cut_damaged_is_thrown_away(kernel, pattern, kept):
    assert told(kernel.start()) == "2 compiled"
    files = list(kernel.cache.rglob(pattern))
    for file in files:
        os.truncate(file, int(file.stat().st_size * kept))
    assert told(kernel.start()) == "2 compiled"
    assert files
    assert not list(kernel.cache.rglob(pattern))


@compiled
def test_an_array_of_another_type_is_no_reason_to_compile_again():
    @_jit.jit_for("float64(float64[::1])")
    def first(values):
        return values[0]

    assert first(np.array([2.5])) == 2.5
    with pytest.raises(TypeError, match="No matching definition"):
        first(np.array([2.5], np.float32))
    with pytest.raises(TypeError, match="No matching definition"):
        first(np.arange(4.0)[::2])
