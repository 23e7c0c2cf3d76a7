"""Reads a configuration: settings, or every problem at once with its line; never echoes a secret."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import math
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from vskd_stream.errors import ConfigError
from vskd_stream.settings import EmbeddedBroker, Http, MqttSource, RemoteBroker, Settings, Tls, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    from vskd_stream.settings import Replay

MAX_FILE_BYTES = 2**20
MAX_PASSWORD_BYTES = 1024

# Far above what the models can hold; they bound the work that a hostile file can cause.
_MAX_DEPTH = 16
_MAX_NODES = 5_000
_MAX_SCALAR_CHARS = 4096

_EMPTY = "it is empty; it needs at least `gateway`, `broker` and `sources`"
_HIDDEN = "this value"

_Loc = tuple[str | int, ...]
_JsonSchema = dict[str, Any]

_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OLD_NUMBER = re.compile(r"[:_]")
_PRINTED_KEY = re.compile(r"[\w.$-]{1,64}")
_SECRET = re.compile(r"pass|pwd|secret|token|credential|key", re.IGNORECASE)

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


def load(path: Path) -> Settings:
    """The settings in ``path``; relative paths in it come out joined to its folder.

    Raises:
        ConfigError: with every problem as "line N: key: what is wrong; allowed: what is allowed".
    """
    document = _Document(path, _text(path))
    try:
        settings = Settings.model_validate(document.tree, context={"folder": path.absolute().parent})
    except ValidationError as error:
        document.add(error.errors(include_url=False))
    else:
        if not document.problems:
            return settings
    raise document.error()


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


class _Document:
    """The file as plain values (``tree``), the line of every key, and the problems found so far."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines: dict[_Loc, int] = {(): 1}
        self._scalars: dict[_Loc, yaml.Node] = {}
        self._unreadable: set[_Loc] = set()
        self.problems: list[tuple[int, _Loc, str]] = []
        root = _compose(path, text)
        if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
            raise ConfigError(path, [_EMPTY])
        line = root.start_mark.line + 1
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            words = f"line {line}: {kind} stands at the top; allowed: keys, such as `gateway: home`"
            raise ConfigError(path, [words])
        self._lines[()] = line
        self.tree = self._value(root, ())

    def error(self) -> ConfigError:
        """All problems, in the order of the file."""
        lines = [
            f"line {line}: {_shown(loc)}: {words}" if loc else f"line {line}: {words}"
            for line, loc, words in sorted(self.problems, key=lambda problem: problem[0])
        ]
        return ConfigError(self._path, lines)

    def _note(self, loc: _Loc, words: str, line: int | None = None) -> None:
        problem = (line or self._lines[loc], loc, words)
        # Each variant of a union refuses what fits none of them.
        if problem not in self.problems:
            self.problems.append(problem)

    def _value(self, node: yaml.Node, loc: _Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self._lines[*loc, index] = item.start_mark.line + 1
                items.append(self._value(item, (*loc, index)))
            return items
        self._scalars[loc] = node
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: _Loc) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            # Whatever YAML makes of `on:` or `1:`, a key is the word that stands there.
            if not isinstance(key, yaml.ScalarNode) or not _is_text(key.value):
                self._note(loc, "a key must be a word", line)
                continue
            below = (*loc, key.value)
            if below in self._lines:
                first = self._lines[below]
                self._note(below, f"stands here a second time (first on line {first}); allowed: once", line)
                continue
            self._lines[below] = line
            mapping[key.value] = self._value(value, below)
        return mapping

    def _scalar(self, node: yaml.Node, loc: _Loc) -> str | float | bool | None:
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
            self._misread(loc, f"YAML reads {_quoted(loc, text)} as {words}")
        elif kind == "null" and loc != ("broker", "embedded"):
            self._misread(loc, "nothing stands here; give a value (`{}`: no keys) or leave the key out")
        elif not _is_text(text):
            self._misread(loc, "a line break or a control character stands in this text; allowed: one line")
        return None if kind == "null" else text

    def _misread(self, loc: _Loc, words: str) -> None:
        self._unreadable.add(loc)
        self._note(loc, words)

    def add(self, errors: list[ErrorDetails]) -> None:
        """Add what the models refuse, in words; where the YAML was at fault already, once is enough."""
        unknown = {error["loc"] for error in map(_untagged, errors) if error["type"] == "extra_forbidden"}
        self.problems = [
            problem for problem in self.problems if not any(problem[1][: len(loc)] == loc for loc in unknown)
        ]
        for error in map(_untagged, errors):
            loc = error["loc"]
            if loc in self._unreadable and error["type"] != "extra_forbidden":
                continue
            # An entry that was refused is not counted, and then its list seems to be empty.
            if error["type"] == "too_short" and error["input"]:
                continue
            while loc not in self._lines and error["type"] != "missing":
                loc = loc[:-1]
            self._note(loc, self._words(error, loc), self._line(loc))

    def _line(self, loc: _Loc) -> int:
        while loc not in self._lines:
            loc = loc[:-1]
        return self._lines[loc]

    def _at(self, loc: _Loc) -> Any:
        value = self.tree
        for step in loc:
            value = value[step]
        return value

    def _words(self, error: ErrorDetails, loc: _Loc) -> str:
        if error["loc"][-1:] == ("[key]",):
            allowed = " or ".join(_allowed(whole["propertyNames"]) for whole in _mappings(loc[:-1]))
            return f"{_quoted(loc, str(loc[-1]))} cannot be a key here; allowed: {allowed}"
        if error["type"] == "extra_forbidden":
            return _unknown_key(loc, self._at(loc[:-1]))
        schemas = _schemas(loc)
        allowed = " or ".join(dict.fromkeys(map(_allowed, schemas)))
        if error["type"] == "missing":
            return f"this key is missing; allowed: {allowed}"
        if error["type"] != "value_error":
            return f"{self._wrong(loc, schemas)}; allowed: {allowed}"
        words = str(error["ctx"]["error"])
        return words if isinstance(self._at(loc), dict) else f"{words}; allowed: {allowed}"

    def _wrong(self, loc: _Loc, schemas: list[_JsonSchema]) -> str:
        value = self._at(loc)
        if isinstance(value, dict):
            return "a mapping stands here"
        if isinstance(value, list):
            return f"a list of {len(value)} entries stands here"
        node = self._scalars[loc]
        shown = _quoted(loc, node.value)
        variants = [variant for schema in schemas for variant in _variants(schema)]
        if any("maximum" in variant for variant in variants):
            whole = any(variant["type"] == "integer" for variant in variants)
            return _wrong_number(value, shown, whole=whole, quoted=getattr(node, "style", None) is not None)
        if isinstance(value, bool) or (type(value) in {int, float} and variants[0].get("type") == "string"):
            read = str(value).lower() if isinstance(value, bool) else "a number"
            return f"YAML reads {shown} as {read}; put it in quotes if it is text"
        return f"{shown} does not fit" if value != "" else "an empty text stands here"


def _untagged(error: ErrorDetails) -> ErrorDetails:
    """The error with its place as the file has it: the variant of the broker is no key."""
    loc = error["loc"]
    return {**error, "loc": (loc[0], *loc[2:])} if loc[:2] == ("broker", "remote") else error


def _shown(loc: _Loc) -> str:
    words = ""
    for step in loc:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += f".{step}" if _PRINTED_KEY.fullmatch(step) else ".?"
            if _SECRET.search(step):
                break
    return words.removeprefix(".")


def _quoted(loc: _Loc, text: str) -> str:
    secret = any(isinstance(step, str) and _SECRET.search(step) for step in loc)
    if secret or _SECRET.search(text) or "@" in text or len(text) > 60 or not text.isprintable():
        return _HIDDEN
    return f"`{text}`"


def _is_text(value: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in value)


def _unknown_key(loc: _Loc, siblings: dict[str, Any]) -> str:
    variants = [
        variant["properties"]
        for schema in _schemas(loc[:-1])
        for variant in _variants(schema)
        if "properties" in variant
    ]
    # Of an embedded and a remote broker, only that one is spoken of whose keys the file uses.
    known = [len(siblings.keys() & variant.keys()) for variant in variants]
    allowed = [
        key for variant, count in zip(variants, known, strict=True) if count == max(known) for key in variant
    ]
    near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
    guess = f"did you mean `{near[0]}`? " if near else ""
    return f"unknown key; {guess}allowed: {', '.join(f'`{key}`' for key in allowed)}"


def _wrong_number(value: Any, shown: str, *, whole: bool, quoted: bool) -> str:
    if isinstance(value, bool):
        return f"YAML reads {shown} as {str(value).lower()}, not as a number"
    if not isinstance(value, str):
        return f"{shown} is " + (
            "not a whole number" if whole and isinstance(value, float) else "out of range"
        )
    try:
        number = float(value)
    except ValueError:
        return f"{shown} is not a number"
    if quoted:
        return f"{shown} is text because of its quotes; leave them out"
    return f"YAML reads {shown} as text; write {_digits(number)}"


def _digits(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a configuration file, shorthands included, for editors."""
    return copy.deepcopy(_schema())


@functools.cache
def _schema() -> _JsonSchema:
    schema: _JsonSchema = _for_files(Settings.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vskd-streamd configuration",
        **schema,
    }


def _for_files(node: Any) -> Any:
    """``node`` without the titles that pydantic makes up, and without the nulls that ``load`` refuses."""
    if isinstance(node, list):
        return [_for_files(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {
        key: _for_files(value) for key, value in node.items() if key != "title" or isinstance(value, dict)
    }
    if node.get("default", ...) is None:
        (variant,) = (variant for variant in node.pop("anyOf") if variant != {"type": "null"})
        del node["default"]
        node |= variant
    return node


def _schemas(loc: _Loc) -> list[_JsonSchema]:
    """The schemas, one or several alternatives, of what may stand at a place."""
    found = [_schema()]
    for step in loc:
        wholes = [variant for schema in found for variant in _variants(schema)]
        if isinstance(step, int):
            found = [whole["items"] for whole in wholes if "items" in whole]
        else:
            found = [whole["properties"][step] for whole in wholes if step in whole.get("properties", ())]
            found += [below for whole in wholes for below in whole.get("patternProperties", {}).values()]
    return found


def _mappings(loc: _Loc) -> list[_JsonSchema]:
    """The schemas of a place where keys are names that people choose."""
    variants = (variant for schema in _schemas(loc) for variant in _variants(schema))
    return [variant for variant in variants if "propertyNames" in variant]


def _variants(schema: _JsonSchema) -> Iterator[_JsonSchema]:
    """``schema`` with its reference followed, or each of its alternatives."""
    if "$ref" in schema:
        yield from _variants(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    elif choices := schema.get("anyOf", schema.get("oneOf")):
        for choice in choices:
            if choice != {"type": "null"}:
                yield from _variants(choice)
    else:
        yield schema


def _allowed(schema: _JsonSchema) -> str:
    """What may stand there, in words."""
    if "patternErrorMessage" in schema:
        return str(schema["patternErrorMessage"])
    return ", or ".join(dict.fromkeys(map(_allowed_variant, _variants(schema))))


def _allowed_variant(schema: _JsonSchema) -> str:
    if "patternErrorMessage" in schema:
        return str(schema["patternErrorMessage"])
    if "enum" in schema:
        return ", ".join(dict.fromkeys(f"`{value}`" for value in schema["enum"]))
    if "maximum" in schema:
        return ("a whole number" if schema["type"] == "integer" else "a number") + _range(schema)
    if schema["type"] == "string":
        return f"text of {schema['minLength']} to {schema['maxLength']} characters"
    if schema["type"] == "array":
        return f"a list of {schema.get('minItems', 0)} to {schema['maxItems']} entries"
    return "`true` or `false`" if schema["type"] == "boolean" else "a mapping (keys below it)"


def _range(schema: _JsonSchema) -> str:
    if "exclusiveMinimum" in schema:
        return f" above {_digits(schema['exclusiveMinimum'])}, at most {_digits(schema['maximum'])}"
    return f" from {_digits(schema['minimum'])} to {_digits(schema['maximum'])}"


def markdown_table() -> str:
    """Every key of the configuration as a Markdown table: what it allows, its default, its meaning."""
    rows = ["| Key | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    rows += [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
        for row in _rows(_schema(), "")
    ]
    return "\n".join(rows) + "\n"


def _rows(whole: _JsonSchema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    # What is a list of plain values has no keys of its own.
    for name, schema in whole.get("properties", {}).items():
        variants = list(_variants(schema))
        default = schema.get("default")
        # `embedded` alone in its mapping is required there, but nobody has to have that mapping.
        if name in whole.get("required", ()) and len(whole["properties"]) > 1:
            shown = "required"
        else:
            shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
        described = schema.get("description") or variants[0]["description"]
        yield f"`{prefix}{name}`", _allowed(schema), shown, described
        for variant in variants:
            if "properties" in variant:
                yield from _rows(variant, f"{prefix}{name}.")
            elif "patternProperties" in variant:
                for below in variant["patternProperties"].values():
                    for item in _variants(below):
                        yield from _rows(item, f"{prefix}{name}.*.")
            elif "items" in variant:
                for item in _variants(variant["items"]):
                    yield from _rows(item, f"{prefix}{name}[].")


def read_password(broker: RemoteBroker, *, environ: Mapping[str, str]) -> str | None:
    """The password for ``broker``, the first line of a file or systemd credential; None if it names none.

    Raises:
        ConfigError: that cannot be read, is empty or too long, or ``password_file`` is open to every user.
    """
    return _secret(broker.password_file, broker.password_credential, "broker.password", environ)


def key_file(tls: Tls, *, environ: Mapping[str, str]) -> Path | None:
    """The file with the key of our own certificate; None if ``tls`` names none. It is not read here.

    Raises:
        ConfigError: it is a systemd credential, and there are none.
    """
    if tls.key_credential is None:
        return tls.key_file
    return _credential(tls.key_credential, "broker.tls.key_credential", environ)


def _secret(file: Path | None, credential: str | None, key: str, environ: Mapping[str, str]) -> str | None:
    if file is not None:
        return _first_line(file, f"{key}_file", private=True)
    if credential is None:
        return None
    key = f"{key}_credential"
    # systemd guards the folder itself, whatever the modes of the files in it.
    return _first_line(_credential(credential, key, environ), key, private=False)


def _credential(name: str, key: str, environ: Mapping[str, str]) -> Path:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        problem = f"{key}: systemd gave no credentials; the unit needs LoadCredential={name}:FILE"
        raise ConfigError(Path("$CREDENTIALS_DIRECTORY"), [problem])
    return Path(folder) / name


def read_token(http: Http, *, environ: Mapping[str, str]) -> str | None:
    """The token that whoever asks over HTTP must send, as ``read_password``; None if none is needed.

    Raises:
        ConfigError: That cannot be read, is empty or too long, or ``token_file`` is open to every user.
    """
    return _secret(http.token_file, http.token_credential, "http.token", environ)


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to would hang the daemon.
    return os.open(path, flags | os.O_NONBLOCK)


def _first_line(path: Path, key: str, *, private: bool) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_PASSWORD_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(path, [f"{key}: the file cannot be read: {error.strerror}"]) from None
    line = raw.partition(b"\n")[0].removesuffix(b"\r")
    problem = ""
    if not stat.S_ISREG(mode):
        problem = "this is not a regular file"
    elif private and mode & stat.S_IRWXO:
        problem = f"every user may use this file (mode {stat.S_IMODE(mode):04o}); run `chmod o= {path}`"
    elif len(raw) > MAX_PASSWORD_BYTES:
        problem = f"the file is larger than {MAX_PASSWORD_BYTES} bytes; only the password belongs in it"
    elif not line:
        problem = "the first line is empty; it must be the password"
    else:
        try:
            return line.decode()
        except UnicodeDecodeError:
            problem = "the password is not UTF-8 text"
    raise ConfigError(path, [f"{key}: {problem}"])


def warnings(settings: Settings) -> list[str]:
    """What is allowed but probably not meant, a sentence each."""
    found = list(_broker_warnings(settings.broker))
    for index, source in enumerate(settings.sources):
        if source.topic == "#":
            found.append(f"sources[{index}].topic: `#` reads every topic of the broker, our own events too")
        for earlier, other in enumerate(settings.sources[:index]):
            if _covers(other, source):
                found.append(f"sources[{index}]: never used, sources[{earlier}] reads all its topics first")
                break
    for index, replay in enumerate(settings.replay):
        found += _replay_warnings(f"replay[{index}]", replay, settings)
    return found


def _broker_warnings(broker: EmbeddedBroker | RemoteBroker) -> Iterator[str]:
    if isinstance(broker, EmbeddedBroker):
        if not is_loopback(broker.listen):
            yield (
                f"broker.embedded.listen: whoever reaches {broker.listen} may read all and send samples;"
                " the embedded broker knows no passwords"
            )
    elif broker.tls is None and not is_loopback(broker.host):
        if broker.password_file or broker.password_credential:
            yield f"broker: the password goes to {broker.host} unencrypted; add `tls: {{}}` if it has TLS"
        else:
            yield f"broker: {broker.host} is used without TLS and password; others may read and forge all"


def _replay_warnings(key: str, replay: Replay, settings: Settings) -> Iterator[str]:
    if replay.topic is not None and not any(source.matches(replay.topic) for source in settings.sources):
        yield f"{key}.topic: no source reads `{replay.topic}`"
    if isinstance(settings.broker, RemoteBroker):
        yield f"{key}: {settings.broker.host} receives recorded samples as if somebody wore the watch now"


def _covers(earlier: MqttSource, later: MqttSource) -> bool:
    # As a level of a topic, a wildcard of the later filter is matched by wildcards alone.
    return earlier.matches(later.topic) and (earlier.topic.endswith("#") or not later.topic.endswith("#"))
