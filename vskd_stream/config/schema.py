"""The JSON Schema of a configuration file: whole for editors, place by place for messages."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from vskd_stream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vskd_stream.config.quoting import Loc

JsonSchema = dict[str, Any]


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a configuration file, shorthands included, for editors."""
    return copy.deepcopy(whole_schema())


@functools.cache
def whole_schema() -> JsonSchema:
    """The schema of the whole file; not to be changed."""
    schema: JsonSchema = _for_files(Settings.model_json_schema())
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


def schemas_at(loc: Loc) -> list[JsonSchema]:
    """The schemas, one or several alternatives, of what may stand at a place."""
    found = [whole_schema()]
    for step in loc:
        wholes = [variant for schema in found for variant in variants_of(schema)]
        if isinstance(step, int):
            found = [whole["items"] for whole in wholes if "items" in whole]
        else:
            found = [whole["properties"][step] for whole in wholes if step in whole.get("properties", ())]
            found += [below for whole in wholes for below in whole.get("patternProperties", {}).values()]
    return found


def mappings_at(loc: Loc) -> list[JsonSchema]:
    """The schemas of a place where keys are names that people choose."""
    variants = (variant for schema in schemas_at(loc) for variant in variants_of(schema))
    return [variant for variant in variants if "propertyNames" in variant]


def variants_of(schema: JsonSchema) -> Iterator[JsonSchema]:
    """``schema`` with its reference followed, or each of its alternatives."""
    if "$ref" in schema:
        yield from variants_of(whole_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    elif choices := schema.get("anyOf", schema.get("oneOf")):
        for choice in choices:
            if choice != {"type": "null"}:
                yield from variants_of(choice)
    else:
        yield schema
