"""A schema in words that follow `allowed:`, the same in messages and in the table."""

from __future__ import annotations

import math

from vskd_stream.config.schema import JsonSchema, variants_of


def in_words(schema: JsonSchema) -> str:
    """What may stand there, in words."""
    if "patternErrorMessage" in schema:
        return str(schema["patternErrorMessage"])
    return ", or ".join(dict.fromkeys(map(_variant_in_words, variants_of(schema))))


def _variant_in_words(schema: JsonSchema) -> str:
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


def _range(schema: JsonSchema) -> str:
    if "exclusiveMinimum" in schema:
        return f" above {digits(schema['exclusiveMinimum'])}, at most {digits(schema['maximum'])}"
    return f" from {digits(schema['minimum'])} to {digits(schema['maximum'])}"


def digits(number: float) -> str:
    """A number as people write it, without `.0`."""
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)
