"""Whom the HTTP endpoint may be open to."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.configured import configured


@pytest.mark.parametrize(
    "keys",
    [
        {"port": 9464},
        {"port": 9464, "listen": "::1"},
        {"port": 9464, "listen": "localhost"},
        {"port": 9464, "listen": "0.0.0.0", "token_file": "token"},
        {"socket": "/run/vskd/http.sock"},
        {"port": 9464, "listen": "0.0.0.0", "token_credential": "http-token"},
        {"socket": "http.sock", "token_file": "token"},
    ],
)
def test_http_stays_on_this_machine_or_asks_for_a_token(keys) -> None:
    assert configured(http=keys).http is not None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "give port or socket"),
        ({"port": 1, "socket": "a.sock"}, "give port or socket"),
        ({"port": 9464, "listen": "0.0.0.0"}, "give token_file"),
        ({"port": 9464, "listen": "192.168.1.2"}, "give token_file"),
        ({"port": 9464, "listen": "localhost.evil.example"}, "give token_file"),
        ({"port": 1, "token_file": "t", "token_credential": "t"}, "token_credential, not both"),
        ({"socket": "/" + "a" * 107}, "at most 107 bytes"),
        ({"socket": "a.sock", "listen": "127.0.0.1"}, "listen goes with port"),
    ],
)
def test_http_for_everybody_without_a_token_is_refused(keys, words) -> None:
    with pytest.raises(ValidationError, match=words):
        configured(http=keys)
