"""Where passwords and tokens come from, and which are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vskd_stream import config
from vskd_stream.errors import ConfigError
from vskd_stream.settings import Http, RemoteBroker


def with_password(path: Path, content: bytes, *, mode: int = 0o640) -> RemoteBroker:
    path.write_bytes(content)
    path.chmod(mode)
    return RemoteBroker(host="b", username="u", password_file=path)


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n", b"hunter2\na note\n"])
def test_the_password_is_the_first_line_of_its_file(tmp_path: Path, content: bytes) -> None:
    assert config.read_password(with_password(tmp_path / "word", content), environ={}) == "hunter2"


def test_spaces_and_other_letters_belong_to_the_password(tmp_path: Path) -> None:
    broker = with_password(tmp_path / "word", " größer \n".encode())
    assert config.read_password(broker, environ={}) == " größer "


@pytest.mark.parametrize("mode", [0o644, 0o641, 0o602, 0o604])
def test_a_password_file_that_is_open_to_everyone_is_refused(tmp_path: Path, mode: int) -> None:
    broker = with_password(tmp_path / "word", b"hunter2\n", mode=mode)
    with pytest.raises(ConfigError) as caught:
        config.read_password(broker, environ={})
    assert caught.value.problems == [
        (
            f"broker.password_file: every user may use this file (mode {mode:04o});"
            f" run `chmod o= {tmp_path}/word`"
        )
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the first line is empty; it must be the password"),
        (b"\nhunter2\n", "the first line is empty; it must be the password"),
        (b"hunter2" * 200, "the file is larger than 1024 bytes; only the password belongs in it"),
        (b"hunter2\xff\n", "the password is not UTF-8 text"),
    ],
)
def test_a_file_without_a_usable_password_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read_password(with_password(tmp_path / "word", content), environ={})
    assert caught.value.problems == [f"broker.password_file: {said}"]


def test_a_password_of_exactly_one_kibibyte_is_taken(tmp_path: Path) -> None:
    assert config.read_password(with_password(tmp_path / "word", b"x" * 1024), environ={}) == "x" * 1024


def test_a_password_file_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", stat.S_IRUSR | stat.S_IWUSR)
    for name, said in [
        ("absent", "the file cannot be read: No such file or directory"),
        ("", "the file cannot be read: Is a directory"),
        ("pipe", "this is not a regular file"),
    ]:
        broker = RemoteBroker(host="b", username="u", password_file=tmp_path / name)
        with pytest.raises(ConfigError) as caught:
            config.read_password(broker, environ={})
        assert caught.value.problems == [f"broker.password_file: {said}"]


def test_a_systemd_credential_is_found_where_systemd_says(tmp_path: Path) -> None:
    broker = RemoteBroker(host="b", username="u", password_credential="mqtt")
    (tmp_path / "mqtt").write_text("hunter2\n")
    assert config.read_password(broker, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "hunter2"
    with pytest.raises(ConfigError, match="the unit needs LoadCredential=mqtt:FILE"):
        config.read_password(broker, environ={})
    with pytest.raises(ConfigError, match=r"broker\.password_credential: the file cannot be read"):
        config.read_password(broker, environ={"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")})


def test_the_token_may_be_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "http-token").write_text("s3cret\n")
    http = Http(port=9464, token_credential="http-token")
    assert config.read_token(http, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "s3cret"
    with pytest.raises(ConfigError, match=r"http\.token_credential: systemd gave no credentials"):
        config.read_token(http, environ={})
    assert config.read_token(Http(port=9464), environ={}) is None


def test_without_a_name_there_is_no_password() -> None:
    assert config.read_password(RemoteBroker(host="b"), environ={"CREDENTIALS_DIRECTORY": "/x"}) is None
