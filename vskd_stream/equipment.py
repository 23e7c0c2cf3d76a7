"""Everything that a configuration names, loaded and checked as a whole; nothing serves yet.

Takes seconds and reads files: at a start there is no event loop yet, at a reload it has a thread.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from vskd_stream import __version__, bundle, config, presence, recording, runtime
from vskd_stream.broker.endpoint import Endpoint, endpoint_of
from vskd_stream.bundle import Bundle
from vskd_stream.classify import Classifier
from vskd_stream.discovery import Discovery
from vskd_stream.errors import ConfigError
from vskd_stream.payloads import Origin
from vskd_stream.recording import Recording
from vskd_stream.settings import RemoteBroker, Replay, Settings

_OUTBOX_NAME = "outbox.sqlite3"
_PROBE_BYTES = 64 * 1024
"""What a disk must take that is to hold an outbox: SQLite's first pages, with room to spare."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Equipment:
    """A configuration, and what it names."""

    settings: Settings
    bundle: Bundle
    classifier: Classifier
    """Warm; whoever has the same bundle may share it, one caller at a time."""
    endpoint: Endpoint
    origin: Origin
    discovery: Discovery | None
    replays: tuple[tuple[Replay, Recording], ...] = ()
    http_token: str | None = field(default=None, repr=False)


def equip(
    settings: Settings, *, environ: Mapping[str, str] = os.environ, before: Equipment | None = None
) -> Equipment:
    """Load, check and warm it all; if ``before``, which a daemon has, has the same model, that is shared.

    Raises:
        VskdError: Something that the configuration names is not usable.
    """
    loaded = bundle.load(bundle.resolve(settings.model.bundle), sha256=settings.model.sha256)
    settings.check_labels(loaded.manifest.labels)
    origin = Origin(settings.gateway, loaded.manifest.name, loaded.sha256, __version__)
    discovery = presence.discovery_of(settings, bundle=loaded, origin=origin)
    replays = tuple((each, recording.read(recording.resolve(each.recording))) for each in settings.replay)
    remote = settings.broker if isinstance(settings.broker, RemoteBroker) else None
    password = config.read_password(remote, environ=environ) if remote else None
    endpoint = endpoint_of(settings, password, environ=environ)
    if settings.bluetooth:
        # Who has no Bluetooth device does without D-Bus and a second of imports.
        from vskd_stream.sources.ble import manager

        manager.check(settings.bluetooth)
    for warning in config.warnings(settings):
        _log.warning(warning)
    if before is not None and before.bundle.sha256 == loaded.sha256:
        classifier = before.classifier
    else:
        classifier = runtime.classifier(loaded)
        classifier.warm()
    # The session has a copy of the graph of its own.
    loaded = replace(loaded, graph=b"")
    token = config.read_token(settings.http, environ=environ) if settings.http else None
    return Equipment(settings, loaded, classifier, endpoint, origin, discovery, replays, token)


def outbox_path(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file in which events wait; None: they wait in memory."""
    # systemd names several folders with colons between them; the first is the unit's own.
    state_directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    directory = settings.outbox.directory or (Path(state_directory) if state_directory else None)
    return None if directory is None else directory / _OUTBOX_NAME


def check_outbox(path: Path) -> None:
    """Try whether events can wait there; a daemon that has the file open is not disturbed.

    Raises:
        ConfigError: They cannot; the daemon would go on in memory, which nobody wants who names a folder.
    """
    folder = path.parent
    try:
        if path.exists() and not (stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK | os.W_OK)):
            raise ConfigError(folder, [f"outbox.directory: {path.name} is no file that this user may write"])
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        words = f"outbox.directory: events cannot wait in this folder: {error.strerror}"
        raise ConfigError(folder, [words]) from None
