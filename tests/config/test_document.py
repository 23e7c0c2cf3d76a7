"""What YAML makes of values that people write, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import GOOD, problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gateway: 0123\n",
            "YAML reads `0123` as a number in an old notation; write decimal digits, or put it",
        ),
        ("gateway: 12:30\n", "YAML reads `12:30` as a number in an old notation;"),
        ("gateway: 1_0\n", "YAML reads `1_0` as a number in an old notation;"),
        ("gateway: 12\n", "YAML reads `12` as a number; put it in quotes if it is text;"),
        ("gateway: on\n", "YAML reads `on` as true; put it in quotes if it is text;"),
        ("gateway: 2024-01-31\n", "YAML reads `2024-01-31` as a date; put it in quotes if it is text"),
        ("gateway: [a]\n", "a list of 1 entries stands here; allowed: 1 to 64 letters"),
        ("gateway: {a: 1}\n", "a mapping stands here; allowed: 1 to 64 letters"),
        ('gateway: ""\n', "an empty text stands here; allowed: 1 to 64 letters"),
        ("gateway: a/b\n", "`a/b` does not fit; allowed: 1 to 64 letters"),
        ("gateway: |\n  home\n", "a line break or a control character stands in this text;"),
        ('gateway: "a\\ud800"\n', "a line break or a control character stands in this text;"),
        ("gateway:\n", "nothing stands here; give a value (`{}`: no keys) or leave the key out"),
        ("gateway: ~\n", "nothing stands here;"),
    ],
)
def test_a_text_that_yaml_reads_as_something_else_is_named(file: Path, text: str, said: str) -> None:
    assert problem(file, text + GOOD.removeprefix("gateway: home\n")).startswith(f"line 1: gateway: {said}")
