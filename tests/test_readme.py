"""The README and the documentation beside it say what is so: their blocks are run."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import chain
from pathlib import Path

import jsonschema
import pytest

from tests.processes import command
from vskd_stream import config
from vskd_stream.decode import decode
from vskd_stream.payloads import schema

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return list(chain.from_iterable(pattern.findall(page.read_text()) for page in PAGES))


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_configuration_shown_is_accepted(text, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(text)
    config.load(path)


@pytest.mark.parametrize("text", blocks("json"))
def test_every_payload_shown_is_one_that_we_read_or_write(text):
    payload = json.loads(text)
    if isinstance(payload, dict) and str(payload.get("schema", "")).startswith("vskd."):
        jsonschema.validate(payload, schema(payload["schema"].split(".")[1].split("/")[0]))
    else:
        assert decode(text.encode())


@pytest.mark.parametrize("line", [line for text in blocks("sh") for line in text.splitlines()])
def test_every_command_shown_exists(line):
    program, *arguments = line.split(" #")[0].split()
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program != "mosquitto_sub":
        done = subprocess.run([command(program), *arguments], capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_table_of_keys_is_the_configuration_itself():
    assert config.markdown_table().strip() in (ROOT / "docs" / "configuration.md").read_text()


def test_the_commands_shown_are_those_that_there_are():
    readme = (ROOT / "README.md").read_text()
    told = subprocess.run([command("vskd"), "--help"], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"^    (\w+) ", told, re.MULTILINE):
        assert f"`vskd {name}" in readme
