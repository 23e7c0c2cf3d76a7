"""What of a configuration a message may repeat: its places and values, never a secret."""

from __future__ import annotations

import re

Loc = tuple[str | int, ...]
"""A place in a configuration: keys, and indices of lists."""

_HIDDEN = "this value"
_PRINTED_KEY = re.compile(r"[\w.$-]{1,64}")
_SECRET = re.compile(r"pass|pwd|secret|token|credential|key", re.IGNORECASE)


def shown(loc: Loc) -> str:
    """The place in words, such as `sources[0].topic`, no deeper than a key that may hold a secret."""
    words = ""
    for step in loc:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += f".{step}" if _PRINTED_KEY.fullmatch(step) else ".?"
            if _SECRET.search(step):
                break
    return words.removeprefix(".")


def quoted(loc: Loc, text: str) -> str:
    """The value at a place in quotes, or words that tell nothing of it where it may be a secret."""
    secret = any(isinstance(step, str) and _SECRET.search(step) for step in loc)
    if secret or _SECRET.search(text) or "@" in text or len(text) > 60 or not text.isprintable():
        return _HIDDEN
    return f"`{text}`"
