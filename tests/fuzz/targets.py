"""Every way in for a stranger's bytes: what each is run with, and the seeds that a search begins at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import ble, files, http, messages

CORPUS = Path(__file__).parent / "corpus"
"""A folder a target: inputs that together reach all that was ever reached, and whatever once failed."""


@dataclass(frozen=True)
class Target:
    """A way in."""

    run: Callable[[bytes], None]
    """Takes any bytes; raises what is a defect."""
    seeds: Callable[[], Iterator[bytes]]
    max_bytes: int


TARGETS: dict[str, Target] = {
    "ble": Target(ble.run, ble.seeds, 1024),
    "bundle": Target(files.run_bundle, files.bundle_seeds, 4096),
    "commands": Target(messages.run_commands, messages.command_seeds, 1024),
    "config": Target(files.run_config, files.config_seeds, 3072),
    "http": Target(http.run, http.seeds, 10_000),
    "mqtt": Target(messages.run_mqtt, messages.mqtt_seeds, 4096),
    "recording": Target(files.run_recording, files.recording_seeds, 3072),
}
