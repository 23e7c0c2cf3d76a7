from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from vskd_stream import logs
from vskd_stream.settings import Log


@pytest.fixture(autouse=True)
def _defaults():
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(log: Log, stream: io.StringIO) -> str:
    logs.configure(log, stream=stream)
    structlog.get_logger().info("walking start", device="watch")
    structlog.get_logger().debug("detail")
    logging.getLogger("library").warning("careful %s", "now")
    return stream.getvalue()


def test_a_pipe_gets_json_lines_of_our_own_and_of_libraries():
    ours, theirs = map(json.loads, said(Log(), io.StringIO()).splitlines())
    assert (ours["event"], ours["device"], ours["level"]) == ("walking start", "watch", "info")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("careful now", "warning")


def test_a_terminal_gets_words():
    text = said(Log(), Terminal())
    assert "walking start" in text
    assert "{" not in text


def test_the_format_can_be_chosen_against_the_terminal():
    assert said(Log(format="json"), Terminal()).startswith("{")
    assert not said(Log(format="console"), io.StringIO()).startswith("{")


def test_the_level_decides_what_is_told():
    assert "detail" in said(Log(level="debug"), io.StringIO())
    assert said(Log(level="error"), io.StringIO()) == ""


def test_a_level_that_is_set_later_holds_for_loggers_that_exist():
    stream = io.StringIO()
    logs.configure(Log(level="warning", format="json"), stream=stream)
    log = structlog.get_logger()
    log.info("before")
    logs.set_level("debug")
    log.debug("after")
    logs.set_level("error")
    log.warning("too late")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["after"]


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_whoever_logs_fares_on_although_nobody_can_be_told():
    assert said(Log(), Gone()) == ""
