"""YAML nodes → plain values, the line of each, and what is wrong with them, in the order of the file."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import yaml

from vskd_stream.config.quoting import Loc, quoted, shown
from vskd_stream.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OLD_NUMBER = re.compile(r"[:_]")


class Document:
    """The file as plain values (``tree``), the line of every key, and the problems found so far."""

    def __init__(self, path: Path, root: yaml.MappingNode) -> None:
        self.unreadable: set[Loc] = set()
        """Where YAML itself does not say what was meant."""
        self.scalars: dict[Loc, yaml.ScalarNode] = {}
        """Single values as they stand in the file."""
        self.problems: list[tuple[int, Loc, str]] = []
        """The line, the place, and what is wrong there."""
        self._path = path
        self._lines: dict[Loc, int] = {(): root.start_mark.line + 1}
        self.tree = self._mapping(root, ())

    def error(self) -> ConfigError:
        """All problems, in the order of the file."""
        lines = [
            f"line {line}: {shown(loc)}: {words}" if loc else f"line {line}: {words}"
            for line, loc, words in sorted(self.problems, key=lambda problem: problem[0])
        ]
        return ConfigError(self._path, lines)

    def note(self, loc: Loc, words: str, line: int | None = None) -> None:
        """Add a problem, on the line of its place or of the nearest around it unless ``line`` says which."""
        problem = (line or self._lines[self.nearest(loc)], loc, words)
        # Each variant of a union refuses what fits none of them.
        if problem not in self.problems:
            self.problems.append(problem)

    def forget(self, places: set[Loc]) -> None:
        """Take back the problems at these places and below them."""
        self.problems = [
            problem for problem in self.problems if not any(problem[1][: len(loc)] == loc for loc in places)
        ]

    def nearest(self, loc: Loc) -> Loc:
        """The place itself if the file has it, or else the nearest around it."""
        while loc not in self._lines:
            loc = loc[:-1]
        return loc

    def at(self, loc: Loc) -> Any:
        """The value at a place that the file has."""
        value: Any = self.tree
        for step in loc:
            value = value[step]
        return value

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self._lines[*loc, index] = item.start_mark.line + 1
                items.append(self._value(item, (*loc, index)))
            return items
        assert isinstance(node, yaml.ScalarNode)
        self.scalars[loc] = node
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            # Whatever YAML makes of `on:` or `1:`, a key is the word that stands there.
            if not isinstance(key, yaml.ScalarNode) or not _is_text(key.value):
                self.note(loc, "a key must be a word", line)
                continue
            below = (*loc, key.value)
            if below in self._lines:
                first = self._lines[below]
                self.note(below, f"stands here a second time (first on line {first}); allowed: once", line)
                continue
            self._lines[below] = line
            mapping[key.value] = self._value(value, below)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> str | float | bool | None:
        text: str = node.value
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "bool":
            return text.lower() in {"yes", "true", "on"}
        if kind == "int" and _DECIMAL.fullmatch(text):
            return int(text)
        if kind == "float" and not _OLD_NUMBER.search(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        words = ""
        if kind in {"int", "float"}:
            words = "a number in an old notation; write decimal digits, or put it in quotes if it is text"
        elif kind == "timestamp":
            words = "a date; put it in quotes if it is text"
        if words:
            self._misread(loc, f"YAML reads {quoted(loc, text)} as {words}")
        elif kind == "null" and loc != ("broker", "embedded"):
            self._misread(loc, "nothing stands here; give a value (`{}`: no keys) or leave the key out")
        elif not _is_text(text):
            self._misread(loc, "a line break or a control character stands in this text; allowed: one line")
        return None if kind == "null" else text

    def _misread(self, loc: Loc, words: str) -> None:
        self.unreadable.add(loc)
        self.note(loc, words)


def _is_text(value: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in value)
