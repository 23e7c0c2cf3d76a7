"""What hosts, names and paths may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.configured import SOURCES
from vskd_stream.settings import Model, RemoteBroker, Replay, Settings, Tls, is_path


@pytest.mark.parametrize(
    "host", ["broker.lan", "localhost", "192.168.1.2", "::1", "fe80::1%eth0", "mq_1", "bücher.de"]
)
def test_hosts_are_names_or_addresses(host: str) -> None:
    assert RemoteBroker(host=host).host == host


@pytest.mark.parametrize(
    "host",
    ["", "mqtt://b", "b:1883", "user:word@b", "b/mqtt", "a b", "b\n", "[::1]", 'fe80::1%a"b', "x" * 254],
)
def test_a_host_is_not_an_address_with_more_around_it(host: str) -> None:
    with pytest.raises(ValidationError):
        RemoteBroker(host=host)


@pytest.mark.parametrize(
    ("text", "path"),
    [("wrist", False), ("my.onnx", True), ("./wrist", True), ("a/b", True), ("wrist-2", False)],
)
def test_a_slash_or_a_suffix_makes_a_path(*, text: str, path: bool) -> None:
    assert is_path(text) is path


@pytest.mark.parametrize("text", ["", "..", "my model", "a\0.onnx", "x" * 4097])
def test_what_is_neither_a_name_nor_a_path_is_refused(text: str) -> None:
    for model in (lambda: Model(bundle=text), lambda: Replay(recording=text)):
        with pytest.raises(ValidationError):
            model()


def test_relative_paths_follow_the_folder_of_the_reader_and_stay_as_they_are_without_one() -> None:
    tree = {"host": "b", "username": "u", "password_file": "word", "tls": {"ca_file": "/etc/ca.crt"}}
    here = RemoteBroker.model_validate(tree)
    there = RemoteBroker.model_validate(tree, context={"folder": Path("/etc/vskd")})
    assert (here.password_file, there.password_file) == (Path("word"), Path("/etc/vskd/word"))
    assert there.tls == Tls(ca_file=Path("/etc/ca.crt"))


def test_the_folder_of_the_outbox_follows_the_reader() -> None:
    tree = {"gateway": "home", "broker": "embedded", "sources": SOURCES, "outbox": {"directory": "state"}}
    there = Settings.model_validate(tree, context={"folder": Path("/etc/vskd")})
    assert there.outbox.directory == Path("/etc/vskd/state")
