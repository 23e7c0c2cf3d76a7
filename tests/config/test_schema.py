"""The schema for editors accepts and refuses what the reader does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from tests.config.files import TEN_ERRORS
from vskd_stream import config


def test_the_schema_is_one_and_accepts_the_shorthands() -> None:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for tree in (
        {"broker": "embedded", "model": "wrist"},
        {"broker": {"embedded": None}, "model": {"bundle": "my.onnx"}},
        {"broker": {"embedded": {"port": 1884}}},
        {"broker": {"host": "b", "protocol": 5, "tls": {}}},
        {"broker": {"host": "b", "protocol": "3.1.1"}},
    ):
        validator.validate({"gateway": "home", "sources": [{"topic": "a"}], **tree})


@pytest.mark.parametrize(
    "tree",
    [
        {"broker": "embeded"},
        {"broker": {}},
        {"broker": {"host": "b", "embedded": {}}},
        {"broker": {"host": "b", "tls": None}},
        {"broker": {"host": "b", "port": "1883"}},
        {"model": None},
        {"model": {"name": "wrist"}},
        {"gateway": "a/b"},
        {"sources": []},
        {"sources": [{"topic": "a", "format": "csv"}]},
        {"publish": {"scores": "yes"}},
        {"replay": [{"recording": "demo", "speed": 0}]},
    ],
)
def test_the_schema_refuses_mistakes(tree: dict[str, Any]) -> None:
    whole = {"gateway": "home", "broker": "embedded", "sources": [{"topic": "a"}], **tree}
    assert not jsonschema.Draft202012Validator(config.json_schema()).is_valid(whole)


def test_every_key_of_the_schema_is_described() -> None:
    schema = config.json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for key, value in part["properties"].items():
            described = (
                value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]]["description"]
            )
            assert described, key


def test_the_schema_that_is_handed_out_is_a_copy() -> None:
    config.json_schema()["properties"].clear()
    assert config.json_schema()["properties"]


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema())
    assert len(list(validator.iter_errors(yaml.safe_load(TEN_ERRORS)))) >= 5
