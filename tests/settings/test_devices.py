"""What may be wished of a device, and what of it the model must know."""

from __future__ import annotations

from typing import Any

import pytest

from tests.configured import configured, refusal
from vskd_stream.errors import LabelError
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences


def test_each_device_may_have_wishes_of_its_own() -> None:
    watch = {
        "wrist": "left",
        "hold_s": {"driving": 120},
        "minimum_s": {"walking": 5.0},
        "silence": ["drinking"],
        "never": ["rowing"],
    }
    wishes = configured(devices={"watch": watch, "other": {"silence": True}})
    assert wishes.preferences("watch") == Preferences(
        minimum_s={"walking": 5.0},
        hold_s={"driving": 120.0},
        silenced=frozenset({"drinking"}),
        never=frozenset({"rowing"}),
        silent=False,
        wrist="left",
    )
    assert wishes.preferences("other") == Preferences(silent=True)
    assert wishes.silent == ("other",)
    assert wishes.preferences("unheard_of") == NO_PREFERENCES


@pytest.mark.parametrize(
    "watch",
    [
        {"wrist": "both"},
        {"hold_s": {"driving": -1.0}},
        {"hold_s": {"driving": 3601.0}},
        {"hold_s": {"driving": "60"}},
        {"hold_s": {"Driving": 60.0}},
        {"minimum_s": 5.0},
        {"silence": "drinking"},
        {"silence": []},
        {"silence": 1},
        {"never": "rowing"},
        {"never": True},
        {"holds": {}},
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(watch: dict[str, Any]) -> None:
    assert refusal(devices={"watch": watch})


def test_a_wish_for_a_device_that_cannot_be_is_refused() -> None:
    assert refusal(devices={"my watch": {}})


@pytest.mark.parametrize(
    ("watch", "key"),
    [
        ({"hold_s": {"driving": 60.0}}, "hold_s"),
        ({"minimum_s": {"driving": 60.0, "walking": 1.0}}, "minimum_s"),
        ({"silence": ["driving"]}, "silence"),
        ({"never": ["driving"]}, "never"),
    ],
)
def test_a_wish_for_a_label_that_the_model_does_not_know_is_refused(watch: dict[str, Any], key: str) -> None:
    wishes = configured(devices={"watch": watch})
    wishes.check_labels(["walking", "driving"])
    words = rf"devices\.watch\.{key}: the model knows no driving; it knows walking"
    with pytest.raises(LabelError, match=words):
        wishes.check_labels(["walking"])


def test_something_must_be_left_that_the_wearer_does() -> None:
    wishes = configured(devices={"watch": {"never": ["walking", "driving"]}})
    wishes.check_labels(["walking", "driving", "rowing"])
    with pytest.raises(LabelError, match=r"devices\.watch\.never: that is all that the model knows"):
        wishes.check_labels(["walking", "driving"])
