"""The secrets that a configuration names: read from their files or systemd's credentials, never echoed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from vskd_stream.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vskd_stream.settings import Http, RemoteBroker, Tls

MAX_PASSWORD_BYTES = 1024


def read_password(broker: RemoteBroker, *, environ: Mapping[str, str]) -> str | None:
    """The password for ``broker``, the first line of a file or systemd credential; None if it names none.

    Raises:
        ConfigError: that cannot be read, is empty or too long, or ``password_file`` is open to every user.
    """
    return _secret(broker.password_file, broker.password_credential, "broker.password", environ)


def key_file(tls: Tls, *, environ: Mapping[str, str]) -> Path | None:
    """The file with the key of our own certificate; None if ``tls`` names none. It is not read here.

    Raises:
        ConfigError: it is a systemd credential, and there are none.
    """
    if tls.key_credential is None:
        return tls.key_file
    return _credential(tls.key_credential, "broker.tls.key_credential", environ)


def read_token(http: Http, *, environ: Mapping[str, str]) -> str | None:
    """The token that whoever asks over HTTP must send, as ``read_password``; None if none is needed.

    Raises:
        ConfigError: That cannot be read, is empty or too long, or ``token_file`` is open to every user.
    """
    return _secret(http.token_file, http.token_credential, "http.token", environ)


def _secret(file: Path | None, credential: str | None, key: str, environ: Mapping[str, str]) -> str | None:
    if file is not None:
        return _first_line(file, f"{key}_file", private=True)
    if credential is None:
        return None
    key = f"{key}_credential"
    # systemd guards the folder itself, whatever the modes of the files in it.
    return _first_line(_credential(credential, key, environ), key, private=False)


def _credential(name: str, key: str, environ: Mapping[str, str]) -> Path:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        problem = f"{key}: systemd gave no credentials; the unit needs LoadCredential={name}:FILE"
        raise ConfigError(Path("$CREDENTIALS_DIRECTORY"), [problem])
    return Path(folder) / name


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that nobody writes to would hang the daemon.
    return os.open(path, flags | os.O_NONBLOCK)


def _first_line(path: Path, key: str, *, private: bool) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_PASSWORD_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(path, [f"{key}: the file cannot be read: {error.strerror}"]) from None
    line = raw.partition(b"\n")[0].removesuffix(b"\r")
    problem = ""
    if not stat.S_ISREG(mode):
        problem = "this is not a regular file"
    elif private and mode & stat.S_IRWXO:
        problem = f"every user may use this file (mode {stat.S_IMODE(mode):04o}); run `chmod o= {path}`"
    elif len(raw) > MAX_PASSWORD_BYTES:
        problem = f"the file is larger than {MAX_PASSWORD_BYTES} bytes; only the password belongs in it"
    elif not line:
        problem = "the first line is empty; it must be the password"
    else:
        try:
            return line.decode()
        except UnicodeDecodeError:
            problem = "the password is not UTF-8 text"
    raise ConfigError(path, [f"{key}: {problem}"])
