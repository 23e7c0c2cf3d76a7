"""`broker`: the one that the daemon starts, or another, and how it is reached."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, StrictInt, Tag, model_validator

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import FilePath, Host, Identifier, Port, explained


def _version_text(value: Any) -> Any:
    # Whoever writes `protocol: 5` means the same as with quotes, and no other reading exists.
    return str(value) if type(value) is int else value


class EmbeddedBroker(Section):
    """A broker that the daemon starts and ends by itself; it keeps nothing over a restart."""

    listen: Host = "127.0.0.1"
    """Address to listen on. The embedded broker knows no passwords: beyond loopback, anyone may connect."""
    port: Port = 1883
    """TCP port for MQTT 3.1.1."""
    mqtt5_port: Port | None = None
    """TCP port for MQTT 5 clients, if any are to be served."""

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.mqtt5_port == self.port:
            raise ValueError("port and mqtt5_port must differ")
        return self


class Tls(Section):
    """TLS to the broker: at least version 1.2, the host name always checked."""

    ca_file: FilePath | None = None
    """PEM file of the authority that signed the broker's certificate; absent: the system's authorities."""
    cert_file: FilePath | None = None
    """PEM file of our own certificate, for a broker that asks for one."""
    key_file: FilePath | None = None
    """PEM file of its key."""
    key_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds its key."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.key_file is not None and self.key_credential is not None:
            raise ValueError("give key_file or key_credential, not both")
        if (self.cert_file is None) != (self.key_file is None and self.key_credential is None):
            raise ValueError("cert_file goes together with key_file or key_credential")
        return self


class RemoteBroker(Section):
    """A broker that someone else runs."""

    host: Host
    """Host name or address."""
    port: Port | None = None
    """TCP port; absent: 8883 with TLS, 1883 without."""
    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(_version_text, json_schema_input_type=Literal["5", "3.1.1", 5]),
    ] = "5"
    """MQTT version; 5 may stand without quotes."""
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """User name, if the broker asks for one."""
    password_file: FilePath | None = None
    """File whose first line is the password; only its owner and group may be able to read it."""
    password_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds the password."""
    tls: Tls | None = None
    """TLS; `tls: {}` with the system's authorities."""
    keepalive_s: Annotated[StrictInt, Field(ge=5, le=3600)] = 30
    """Seconds between signs of life."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and self.username is None:
            raise ValueError("a password needs a username")
        return self

    @property
    def endpoint_port(self) -> int:
        """The port, its default resolved."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The names of the systemd credentials that it takes."""
        named = (self.password_credential, self.tls and self.tls.key_credential)
        return tuple(name for name in named if name)


class _EmbeddedShorthand(Section):
    """`embedded:` with its own keys below it."""

    embedded: EmbeddedBroker | None
    """A broker that the daemon starts by itself; then no other key of `broker` may stand beside it."""


def _which_broker(value: Any) -> str | None:
    if value == "embedded" or isinstance(value, EmbeddedBroker):
        return "embedded"
    if isinstance(value, dict):
        misplaced = "host" not in value and not value.keys().isdisjoint({"listen", "mqtt5_port"})
        return "embedded" if "embedded" in value or misplaced else "remote"
    return "remote" if isinstance(value, RemoteBroker) else None


def _without_shorthand(value: Any) -> Any:
    if value == "embedded":
        return {}
    if not isinstance(value, dict):
        return value
    if "embedded" not in value:
        raise ValueError("the keys of an embedded broker stand one level deeper, under `embedded:`")
    if len(value) > 1:
        raise ValueError("`embedded` stands alone: the broker is either embedded or another one")
    return {} if value["embedded"] is None else value["embedded"]


Broker = Annotated[
    Annotated[
        EmbeddedBroker,
        BeforeValidator(_without_shorthand, json_schema_input_type=Literal["embedded"] | _EmbeddedShorthand),
        Tag("embedded"),
    ]
    | Annotated[RemoteBroker, Tag("remote")],
    Discriminator(_which_broker),
    explained("`embedded`, `embedded:` with its own keys below it, or a mapping with `host`"),
]
