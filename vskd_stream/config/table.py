"""Every key of the configuration as a Markdown table, for docs/configuration.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vskd_stream.config.schema import JsonSchema, variants_of, whole_schema
from vskd_stream.config.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator


def markdown_table() -> str:
    """Every key of the configuration as a Markdown table: what it allows, its default, its meaning."""
    rows = ["| Key | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    rows += [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
        for row in _rows(whole_schema(), "")
    ]
    return "\n".join(rows) + "\n"


def _rows(whole: JsonSchema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    # What is a list of plain values has no keys of its own.
    for name, schema in whole.get("properties", {}).items():
        variants = list(variants_of(schema))
        default = schema.get("default")
        # `embedded` alone in its mapping is required there, but nobody has to have that mapping.
        if name in whole.get("required", ()) and len(whole["properties"]) > 1:
            shown = "required"
        else:
            shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
        described = schema.get("description") or variants[0]["description"]
        yield f"`{prefix}{name}`", in_words(schema), shown, described
        for variant in variants:
            if "properties" in variant:
                yield from _rows(variant, f"{prefix}{name}.")
            elif "patternProperties" in variant:
                for below in variant["patternProperties"].values():
                    for item in variants_of(below):
                        yield from _rows(item, f"{prefix}{name}.*.")
            elif "items" in variant:
                for item in variants_of(variant["items"]):
                    yield from _rows(item, f"{prefix}{name}[].")
