"""A file → the YAML mapping in it, within bounds; what is no configuration at all is one clear sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vskd_stream.errors import ConfigError

MAX_FILE_BYTES = 2**20

# Far above what the models can hold; they bound the work that a hostile file can cause.
_MAX_DEPTH = 16
_MAX_NODES = 5_000
_MAX_SCALAR_CHARS = 4096

_EMPTY = "it is empty; it needs at least `gateway`, `broker` and `sources`"

# PyYAML's own words may quote the file, and with it a password: what is not listed here is not repeated.
_SYNTAX = (
    ("'\\t'", "a tab stands here; YAML is indented with spaces only"),
    ("mapping values are not allowed", "a `: ` does not fit here: wrong indentation, or text without quotes"),
    ("could not find expected ':'", "a key without `: ` behind it"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("expected ',' or ", "a `[` or `{` is not closed, or a `,` is missing"),
    ("expected the node content", "a value is missing, or a `[` or `{` is not closed"),
    ("unexpected end of stream", "a quoted text is not closed"),
    ("unexpected document separator", "a quoted text is not closed"),
    ("found another document", "a second document begins here; a configuration has one"),
    ("unknown escape character", "an unknown `\\` escape; in single quotes, `\\` is an ordinary character"),
    ("cannot start any token", "text that begins with `@`, `%` or a backtick needs quotes"),
)


def mapping_in(path: Path) -> yaml.MappingNode:
    """The keys of the file, and below them all that it holds, not yet made into values.

    Raises:
        ConfigError: It cannot be read, is no YAML, is larger or deeper than any configuration, or holds none.
    """
    root = _compose(path, _text(path))
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        raise ConfigError(path, [_EMPTY])
    if isinstance(root, yaml.MappingNode):
        return root
    line = root.start_mark.line + 1
    kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
    words = f"line {line}: {kind} stands at the top; allowed: keys, such as `gateway: home`"
    raise ConfigError(path, [words])


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(path, ["there is no such file"]) from None
    except IsADirectoryError:
        raise ConfigError(path, ["this is a folder; name the configuration file in it"]) from None
    except PermissionError:
        raise ConfigError(path, ["this user may not read it; check its owner and mode"]) from None
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror}"]) from None
    except ValueError:
        raise ConfigError(path, ["no file can have this name"]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(path, ["it is larger than 1 MiB; this is no configuration"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, [f"line {line}: this is not UTF-8; save the file as UTF-8 text"]) from None
    if not text.strip():
        raise ConfigError(path, [_EMPTY])
    return text


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is well formed but that a configuration does not need; ``problem`` is our own sentence."""


class _Loader(yaml.SafeLoader):
    """Composes nodes within bounds, without aliases (which make a small file huge) and tags."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.depth += 1
        self.nodes += 1
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "an alias (`*`) is not read; write out what it stands for, or put text in quotes"
        elif event.tag is not None:
            problem = "a tag (`!`) is not read; write the value without it, or put text in quotes"
        elif self.depth > _MAX_DEPTH:
            problem = f"more than {_MAX_DEPTH} levels are nested here"
        elif self.nodes > _MAX_NODES:
            problem = f"the file holds more than {_MAX_NODES} entries"
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_SCALAR_CHARS:
            problem = f"a text is longer than {_MAX_SCALAR_CHARS} characters"
        if problem:
            raise _RefusedError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except _RefusedError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = f"line {line}: {error.problem}"
    except yaml.MarkedYAMLError as error:
        found = str(error.problem)
        unclosed = "end of stream" in found or "expected ',' or " in found
        mark = (unclosed and error.context_mark) or error.problem_mark
        words = next((words for part, words in _SYNTAX if part in found), "this is not valid YAML")
        problem = f"line {mark.line + 1 if mark else 1}: {words}"
    except yaml.reader.ReaderError as error:
        problem = f"line {text.count(chr(10), 0, error.position) + 1}: a control character stands here"
    except (ValueError, OverflowError):
        # PyYAML lets int() and chr() fail on `%YAML 1.999...` and "\UFFFFFFFF".
        problem = f"line {loader.line + 1}: an escape or a `%` directive is not valid YAML"
    raise ConfigError(path, [problem])
