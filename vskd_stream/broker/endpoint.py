"""Where the broker is and how it is spoken to: settings and a password in, one frozen value out."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vskd_stream import config
from vskd_stream.errors import BrokerError
from vskd_stream.settings import EmbeddedBroker, Settings, Tls

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (the listener has bound it)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker, as one client sees it; its text is its address, and never tells the password."""

    host: str
    port: int
    client_id: str
    """Stable over restarts: a broker that still holds our dead connection ends it, and sends its last
    will, before it lets the new one in - never afterwards, when it would belie the new one."""
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    keepalive_s: int = 30
    """Seconds between signs of life; a broker is taken for gone after twice as long without any."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def endpoint_of(
    settings: Settings, password: str | None = None, *, environ: Mapping[str, str] = os.environ
) -> Endpoint:
    """The endpoint that a configuration describes; reads the certificate files it names, nothing else.

    Raises:
        BrokerError: a certificate, key or authority file cannot be used; the text says which and why.
        ConfigError: the key is a systemd credential, and there are none.
    """
    broker = settings.broker
    client_id = f"vskd-{settings.gateway}"
    if isinstance(broker, EmbeddedBroker):
        return Endpoint(
            host=reachable(broker.listen), port=broker.port, client_id=client_id, protocol="3.1.1"
        )
    tls = None
    if broker.tls is not None:
        key_file = config.key_file(broker.tls, environ=environ)
        tls = _tls_context(broker.tls, key_file, address=f"{broker.host}:{broker.endpoint_port}")
    return Endpoint(
        host=broker.host,
        port=broker.endpoint_port,
        client_id=client_id,
        protocol=broker.protocol,
        username=broker.username,
        password=password,
        tls=tls,
        keepalive_s=broker.keepalive_s,
    )


def reachable(listen: str) -> str:
    """The address under which this machine reaches a listener: loopback for one that listens everywhere."""
    return _ANY_ADDRESS.get(listen, listen)


def _tls_context(tls: Tls, key_file: Path | None, *, address: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ValueError) as error:
        raise BrokerError(address, f"tls.ca_file {tls.ca_file}: {_words(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file is not None:
        try:
            # An empty password: an encrypted key is refused, where none would ask for it on the terminal.
            context.load_cert_chain(tls.cert_file, key_file, password="")
        except (OSError, ValueError) as error:
            files = f"tls.cert_file {tls.cert_file} with tls.{_key_name(tls)} {key_file}"
            raise BrokerError(address, f"{files}: {_words(error)}") from None
    return context


def _key_name(tls: Tls) -> str:
    return "key_file" if tls.key_credential is None else "key_credential"


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "not usable").replace("_", " ").lower()
        return f"{reason} (is it PEM, unencrypted, and do they belong together?)"
    return getattr(error, "strerror", None) or str(error)
