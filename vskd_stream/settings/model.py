"""`model`: which bundle classifies; what it decides by stands in its own manifest."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import NameOrPath, explained


class Model(Section):
    """Which model bundle classifies."""

    bundle: NameOrPath = "wrist"
    """Name of a shipped bundle (`wrist`, `wrist-small`), or a path relative to the configuration file."""
    sha256: (
        Annotated[
            str,
            Field(pattern=r"^[0-9a-f]{64}$"),
            explained("64 hexadecimal digits, `a` to `f` in lower case"),
        ]
        | None
    ) = None
    """If given, the file must have this SHA-256."""


def _bundle_alone(value: Any) -> Any:
    return {"bundle": value} if isinstance(value, str) else value


BundleOrModel = Annotated[Model, BeforeValidator(_bundle_alone, json_schema_input_type=NameOrPath | Model)]
