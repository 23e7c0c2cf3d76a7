"""Reads a configuration: settings, or every problem at once with its line; never echoes a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from vskd_stream.config import refusals, syntax
from vskd_stream.config.document import Document
from vskd_stream.config.lint import warnings
from vskd_stream.config.schema import json_schema
from vskd_stream.config.secrets import key_file, read_password, read_token
from vskd_stream.config.table import markdown_table
from vskd_stream.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "json_schema",
    "key_file",
    "load",
    "markdown_table",
    "read_password",
    "read_token",
    "warnings",
]


def load(path: Path) -> Settings:
    """The settings in ``path``; relative paths in it come out joined to its folder.

    Raises:
        ConfigError: with every problem as "line N: key: what is wrong; allowed: what is allowed".
    """
    document = Document(path, syntax.mapping_in(path))
    try:
        settings = Settings.model_validate(document.tree, context={"folder": path.absolute().parent})
    except ValidationError as error:
        refusals.add(document, error.errors(include_url=False))
    else:
        if not document.problems:
            return settings
    raise document.error()
