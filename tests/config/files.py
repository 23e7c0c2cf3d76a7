"""Configurations as files, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vskd_stream import config
from vskd_stream.errors import ConfigError
from vskd_stream.settings import Settings

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = "gateway: home\nbroker: embedded\nsources:\n  - topic: imu/+/samples\n"
REMOTE_KEYS = (
    "`host`, `port`, `protocol`, `username`, `password_file`, `password_credential`, `tls`, `keepalive_s`"
)
TEN_ERRORS = """\
gateway: no
broker:
  hots: broker.lan
  port: 99999
  password: hunter2
sources:
  - topic: imu/#/samples
    format: csv
  - format: auto
limits:
  max_devices: 0x10
log:
  level: warn
"""


def problems(file: Path, text: str | bytes) -> list[str]:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert caught.value.path == file
    return caught.value.problems


def problem(file: Path, text: str | bytes) -> str:
    (only,) = problems(file, text)
    return only


def loaded(file: Path, text: str) -> Settings:
    file.write_text(text)
    return config.load(file)
