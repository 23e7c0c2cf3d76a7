"""What the models refuse, in words: what is wrong, and what is allowed; pydantic's own words reach nobody."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from vskd_stream.config.quoting import quoted
from vskd_stream.config.schema import mappings_at, schemas_at, variants_of
from vskd_stream.config.wording import digits, in_words

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from vskd_stream.config.document import Document
    from vskd_stream.config.quoting import Loc
    from vskd_stream.config.schema import JsonSchema


def add(document: Document, errors: list[ErrorDetails]) -> None:
    """Note what the models refuse; where the YAML was at fault already, once is enough."""
    refused = [_untagged(error) for error in errors]
    document.forget({error["loc"] for error in refused if error["type"] == "extra_forbidden"})
    for error in refused:
        loc = error["loc"]
        if loc in document.unreadable and error["type"] != "extra_forbidden":
            continue
        # An entry that was refused is not counted, and then its list seems to be empty.
        if error["type"] == "too_short" and error["input"]:
            continue
        if error["type"] != "missing":
            loc = document.nearest(loc)
        document.note(loc, _words(document, error, loc))


def _untagged(error: ErrorDetails) -> ErrorDetails:
    """The error with its place as the file has it: the variant of the broker is no key."""
    loc = error["loc"]
    return {**error, "loc": (loc[0], *loc[2:])} if loc[:2] == ("broker", "remote") else error


def _words(document: Document, error: ErrorDetails, loc: Loc) -> str:
    if error["loc"][-1:] == ("[key]",):
        allowed = " or ".join(in_words(mapping["propertyNames"]) for mapping in mappings_at(loc[:-1]))
        return f"{quoted(loc, str(loc[-1]))} cannot be a key here; allowed: {allowed}"
    if error["type"] == "extra_forbidden":
        return _unknown_key(loc, document.at(loc[:-1]))
    schemas = schemas_at(loc)
    allowed = " or ".join(dict.fromkeys(map(in_words, schemas)))
    if error["type"] == "missing":
        return f"this key is missing; allowed: {allowed}"
    if error["type"] != "value_error":
        return f"{_wrong(document, loc, schemas)}; allowed: {allowed}"
    words = str(error["ctx"]["error"])
    return words if isinstance(document.at(loc), dict) else f"{words}; allowed: {allowed}"


def _wrong(document: Document, loc: Loc, schemas: list[JsonSchema]) -> str:
    value = document.at(loc)
    if isinstance(value, dict):
        return "a mapping stands here"
    if isinstance(value, list):
        return f"a list of {len(value)} entries stands here"
    node = document.scalars[loc]
    shown = quoted(loc, node.value)
    variants = [variant for schema in schemas for variant in variants_of(schema)]
    if any("maximum" in variant for variant in variants):
        whole = any(variant["type"] == "integer" for variant in variants)
        return _wrong_number(value, shown, whole=whole, is_quoted=node.style is not None)
    if isinstance(value, bool) or (type(value) in {int, float} and variants[0].get("type") == "string"):
        read = str(value).lower() if isinstance(value, bool) else "a number"
        return f"YAML reads {shown} as {read}; put it in quotes if it is text"
    return f"{shown} does not fit" if value != "" else "an empty text stands here"


def _unknown_key(loc: Loc, siblings: dict[str, Any]) -> str:
    variants = [
        variant["properties"]
        for schema in schemas_at(loc[:-1])
        for variant in variants_of(schema)
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


def _wrong_number(value: Any, shown: str, *, whole: bool, is_quoted: bool) -> str:
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
    if is_quoted:
        return f"{shown} is text because of its quotes; leave them out"
    return f"YAML reads {shown} as text; write {digits(number)}"
