"""What is allowed but probably not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import GOOD, loaded
from vskd_stream import config


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("embedded", None),
        ("{embedded: {listen: localhost}}", None),
        ("{embedded: {listen: '::1'}}", None),
        ("{embedded: {listen: 0.0.0.0}}", "broker.embedded.listen: whoever reaches 0.0.0.0 may read all"),
        ("{embedded: {listen: gateway.lan}}", "broker.embedded.listen: whoever reaches gateway.lan may"),
        ("{host: localhost}", None),
        ("{host: 127.0.0.1, username: u, password_file: p}", None),
        (
            "{host: b, username: u, password_file: p}",
            "broker: the password goes to b unencrypted; add `tls: {}`",
        ),
        ("{host: b, username: u, password_credential: p}", "broker: the password goes to b unencrypted;"),
        ("{host: b}", "broker: b is used without TLS and password; others may read and forge all"),
        ("{host: b, tls: {}}", None),
    ],
)
def test_an_open_broker_is_warned_of(file: Path, broker: str, said: str | None) -> None:
    told = config.warnings(loaded(file, GOOD.replace("embedded", broker)))
    assert [line.startswith(said or "?") for line in told] == ([True] if said else [])


def test_sources_that_read_too_much_or_nothing_are_warned_of(file: Path) -> None:
    text = "gateway: home\nbroker: embedded\nsources:\n"
    topics = ["imu/#", "imu/+/samples", "other/+", "other/#", "#", "x"]
    found = loaded(file, text + "".join(f'  - topic: "{topic}"\n' for topic in topics))
    assert config.warnings(found) == [
        "sources[1]: never used, sources[0] reads all its topics first",
        "sources[4].topic: `#` reads every topic of the broker, our own events too",
        "sources[5]: never used, sources[4] reads all its topics first",
    ]


def test_a_replay_that_nobody_reads_or_that_strangers_read_is_warned_of(file: Path) -> None:
    replay = "replay: [{recording: demo, topic: other}, {recording: demo}]\n"
    assert config.warnings(loaded(file, GOOD + replay)) == ["replay[0].topic: no source reads `other`"]
    remote = GOOD.replace("embedded", "{host: b, tls: {}}")
    assert config.warnings(loaded(file, remote + "replay: [{recording: demo}]\n")) == [
        "replay[0]: b receives recorded samples as if somebody wore the watch now"
    ]
