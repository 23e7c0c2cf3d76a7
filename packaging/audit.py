"""Known vulnerabilities in what the daemon runs on: fails on one, and says so if nobody answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOCKED = Path(__file__).parents[1] / "requirements" / "run.txt"
_PATIENCE_S = 90.0
"""Where packets vanish every single question takes its time; a check of code does not wait for that."""


def main() -> int:
    """Audit the locked requirements; the exit code is 1 if a vulnerability is known."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", str(_LOCKED)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)  # noqa: S603
        code, words = verdict(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        code, words = 0, "dependencies NOT audited: the vulnerability service does not answer"
    sys.stdout.write(words + "\n")
    return code


def verdict(dependencies: list[dict[str, Any]]) -> tuple[int, str]:
    """The exit code, and what there is to say, for what pip-audit found."""
    found = [
        f"{each['name']} {each['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'none'}"
        for each in dependencies
        for one in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    asked = len(dependencies) - len(skipped)
    if found:
        return 1, "\n".join(["known vulnerabilities:", *found])
    if not asked:
        return 0, "dependencies NOT audited: the vulnerability service knows none of them"
    unknown = f"; NOT audited: {', '.join(skipped)}" if skipped else ""
    return 0, f"no known vulnerability in {asked} dependencies{unknown}"


if __name__ == "__main__":
    sys.exit(main())
