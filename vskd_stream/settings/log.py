"""`log`: what the daemon tells on standard error."""

from __future__ import annotations

from typing import Literal

from vskd_stream.settings.section import Section


class Log(Section):
    """What the daemon tells on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is told."""
    format: Literal["auto", "console", "json"] = "auto"
    """"auto": for people on a terminal, JSON otherwise."""
