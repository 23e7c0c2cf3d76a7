"""The table of keys for users."""

from __future__ import annotations

from vskd_stream import config
from vskd_stream.settings import Settings


def test_the_table_has_a_row_for_every_key() -> None:
    lines = config.markdown_table().splitlines()
    assert lines[:2] == ["| Key | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    assert {line.count(" | ") for line in lines} == {3}
    rows = {line.split("`")[1]: line for line in lines[2:]}
    assert rows["broker.keepalive_s"] == (
        "| `broker.keepalive_s` | a whole number from 5 to 3600 | `30` | Seconds between signs of life. |"
    )
    assert rows["replay[].speed"] == (
        "| `replay[].speed` | a number above 0, at most 1000 | `1.0` | Times real time. |"
    )
    assert " | required | " in rows["gateway"]
    assert set(Settings.model_fields) <= set(rows)
    assert {"broker.embedded.listen", "broker.tls.ca_file", "sources[].topic", "model.sha256"} <= set(rows)
