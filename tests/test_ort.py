from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_leaves_no_file_and_starts_no_thread_when_imported(tmp_path: Path) -> None:
    # Its telemetry holds still where it believes to be tested; here it shall not.
    told = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "TF_BUILD")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    homes = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"], str(tmp_path))
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    program = "import os, vskd_stream._ort; print(len(os.listdir('/proc/self/task')))"

    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **homes, **one_thread, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout == "1\n"
    assert process.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_in_the_package_imports_onnxruntime() -> None:
    package = Path(__file__).parents[1] / "vskd_stream"
    importers = {
        path.name
        for path in package.rglob("*.py")
        if any(
            line.split()[:2] in (["import", "onnxruntime"], ["from", "onnxruntime"])
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    }

    assert importers == {"_ort.py"}
