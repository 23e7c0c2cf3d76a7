"""What a check came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to."""

    check: str
    verdict: Verdict
    found: str
    """What was seen, in words."""
    remedy: str = ""
    """What to do; empty where there is nothing to do."""

    def __str__(self) -> str:
        return f"{self.verdict:<4}  {self.check}: {self.found}" + (
            f" -> {self.remedy}" if self.remedy else ""
        )
