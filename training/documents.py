"""YAML files that describe experiments, teachers and studies: read in one way, every problem named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from vskd_stream.errors import ConfigError

_Model = TypeVar("_Model", bound="Frozen")


class Frozen(BaseModel):
    """A part of an experiment: nothing in it changes, and nothing unknown is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read(path: Path) -> object:
    """The document in a YAML file; ``ConfigError`` if it is none."""
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(path, [f"cannot be read: {error}"]) from error


@contextmanager
def problems_named(path: Path) -> Iterator[None]:
    """Whatever does not validate meanwhile is a ``ConfigError`` about ``path``, a line for each problem."""
    try:
        yield
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise ConfigError(path, problems) from error


def validated(model: type[_Model], document: object, path: Path) -> _Model:
    """The document as a ``model``; ``ConfigError`` names every problem."""
    with problems_named(path):
        return model.model_validate(document)


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A document with some of its leaves changed; what is changed to null is left out."""
    changed = dict(document)
    for key, value in changes.items():
        old = changed.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            changed[key] = merged(old, value)
        else:
            changed[key] = value
    return {key: value for key, value in changed.items() if value is not None}
