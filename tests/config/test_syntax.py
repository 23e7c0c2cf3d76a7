"""What is no configuration at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.config.files import GOOD, problem
from vskd_stream import config
from vskd_stream.errors import ConfigError


def test_a_file_that_cannot_be_read_is_one_clear_sentence(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "this is a folder; name the configuration file in it"),
        (tmp_path / "a\0b", "no file can have this name"),
        (tmp_path / ("x" * 300), "it cannot be read: File name too long"),
    ]:
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert caught.value.problems == [said]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_another_user_is_told_as_such(file: Path) -> None:
    file.write_text(GOOD)
    file.chmod(0)
    with pytest.raises(ConfigError, match="this user may not read it; check its owner and mode"):
        config.load(file)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is empty; it needs at least `gateway`, `broker` and `sources`"),
        (b"\xef\xbb\xbf \n", "it is empty;"),
        (b"# nothing yet\n", "it is empty;"),
        (b"---\n", "it is empty;"),
        (b"x" * (2**20 + 1), "it is larger than 1 MiB; this is no configuration"),
        (b"gateway: home\nbroker: \xff\n", "line 2: this is not UTF-8; save the file as UTF-8 text"),
        ("gateway: home".encode("utf-16"), "line 1: this is not UTF-8"),
        (b"gateway: a\x00b\n", "line 1: a control character stands here"),
        (b"- gateway: home\n", "line 1: a list stands at the top; allowed: keys, such as `gateway: home`"),
        (b"\nhome\n", "line 2: a single value stands at the top;"),
        (b"broker:\n\thost: b\n", "line 2: a tab stands here; YAML is indented with spaces only"),
        (b"a: b: c\n", "line 1: a `: ` does not fit here: wrong indentation, or text without quotes"),
        (b"a: 1\nb\nc: 1\n", "line 3: a key without `: ` behind it"),
        (b"a: 1\n- b\n", "line 2: the indentation does not fit the lines above"),
        (b"a: 1\nb: [1,\n", "line 3: a value is missing, or a `[` or `{` is not closed"),
        (b"a: 1\nb: [1\nc: 2\n", "line 2: a `[` or `{` is not closed, or a `,` is missing"),
        (b"a: 1\nb: 'x\nc: 1\n", "line 2: a quoted text is not closed"),
        (b"a: 1\n---\nb: 1\n", "line 2: a second document begins here; a configuration has one"),
        (b'a: "\\q"\n', "line 1: an unknown `\\` escape; in single quotes, `\\` is an ordinary character"),
        (b"a: 1\nb: @x\n", "line 2: text that begins with `@`, `%` or a backtick needs quotes"),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', "line 2: an escape or a `%` directive is not valid YAML"),
        (b"%YAML 1." + b"9" * 5000 + b"\n--- a\n", "line 1: an escape or a `%` directive is not valid YAML"),
        (b"a: &x 1\nb: &x 2\n", "line 2: this is not valid YAML"),
        (
            b"a: &x 1\nb: *x\n",
            "line 2: an alias (`*`) is not read; write out what it stands for, or put text",
        ),
        (b"&a [*a]\n", "line 1: an alias (`*`) is not read"),
        (bomb(20).encode(), "line 2: an alias (`*`) is not read"),
        (
            b"a: !!python/object/apply:os.abort []\n",
            "line 1: a tag (`!`) is not read; write the value without",
        ),
        (b"a: !!bool maybe\n", "line 1: a tag (`!`) is not read"),
        (b"[" * 2**20, "line 1: more than 16 levels are nested here"),
        (b"- " * 2**19, "line 1: more than 16 levels are nested here"),
        (b"a: [" + b"1," * 10_000 + b"]\n", "line 1: the file holds more than 5000 entries"),
        (b"a: 1\nb: " + b"1:" * 5000 + b"1\n", "line 2: a text is longer than 4096 characters"),
    ],
)
def test_what_is_no_configuration_is_one_clear_sentence(file: Path, text: bytes, said: str) -> None:
    assert problem(file, text).startswith(said)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert config.load(file).gateway == "home"
