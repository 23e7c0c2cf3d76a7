"""The blueprints for Home Assistant say what they need; that they work is shown by a real one, opt-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

BLUEPRINTS = sorted((Path(__file__).parents[1] / "configs" / "home-assistant").glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """Reads ``!input name``, as Home Assistant does."""


class _Input(str):
    __slots__ = ()


def _input(_: yaml.SafeLoader, node: yaml.Node) -> _Input:
    return _Input(node.value)


_Loader.add_constructor("!input", _input)


def inputs_used(tree: Any) -> Iterator[str]:
    if isinstance(tree, _Input):
        yield str(tree)
    elif isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from inputs_used(each)


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_uses_every_input_that_it_asks_for_and_no_other(path):
    tree = yaml.load(path.read_text(), _Loader)
    blueprint = tree["blueprint"]
    assert blueprint["domain"] == "automation"
    assert blueprint["name"]
    assert set(inputs_used(tree)) == set(blueprint["input"])
    for asked in blueprint["input"].values():
        assert asked["name"]
        assert len(asked["selector"]) == 1
    assert {"triggers", "conditions", "actions"} <= tree.keys()


def test_there_is_a_light_and_an_alert():
    assert [path.stem for path in BLUEPRINTS] == ["alert-when-no-movement", "light-when-getting-up"]
