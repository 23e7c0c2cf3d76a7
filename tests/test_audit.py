from __future__ import annotations

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / "packaging" / "audit.py")
assert _SPEC is not None
assert _SPEC.loader is not None
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNKNOWN = {"name": "bleak", "skip_reason": "not found"}
VULNERABLE = {"name": "pyyaml", "version": "5.3", "vulns": [{"id": "PYSEC-2020-1", "fix_versions": ["5.4"]}]}


def test_a_known_vulnerability_fails_the_check_and_names_what_fixes_it():
    code, words = audit.verdict([CLEAN, VULNERABLE, UNKNOWN])
    assert code == 1
    assert "pyyaml 5.3: PYSEC-2020-1, fixed in 5.4" in words


def test_what_could_not_be_asked_about_is_named():
    code, words = audit.verdict([CLEAN, UNKNOWN])
    assert (code, words) == (0, "no known vulnerability in 1 dependencies; NOT audited: bleak")


def test_a_service_that_knows_nothing_is_no_clean_bill():
    code, words = audit.verdict([UNKNOWN])
    assert code == 0
    assert "NOT audited" in words
