"""`http`: where the gateway tells how it is, and whom."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from vskd_stream.settings.section import Section
from vskd_stream.settings.values import FilePath, Host, Identifier, Port, is_loopback

_MAX_SOCKET_BYTES = 107
"""What Linux has room for in an address."""


class Http(Section):
    """Where the gateway tells how it is: `/healthz`, `/readyz`, `/metrics`."""

    listen: Host = "127.0.0.1"
    """Address to listen on; beyond loopback only with a token, for the answers name every device."""
    port: Port | None = None
    """TCP port, such as 9464; either this or `socket`."""
    socket: FilePath | None = None
    """Unix socket to listen on, made anew at every start; its group may use it."""
    token_file: FilePath | None = None
    """File whose first line is a token; whoever asks must send it, as `Authorization: Bearer ...`."""
    token_credential: Identifier | None = None
    """Name of a systemd credential (LoadCredential=) that holds the token."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.port is None) == (self.socket is None):
            raise ValueError("give port or socket, one of them")
        if self.socket is not None and len(str(self.socket).encode()) > _MAX_SOCKET_BYTES:
            raise ValueError(f"socket: at most {_MAX_SOCKET_BYTES} bytes, its folder's path included")
        if self.socket is not None and "listen" in self.model_fields_set:
            raise ValueError("listen goes with port; a socket has its path")
        if self.token_file is not None and self.token_credential is not None:
            raise ValueError("give token_file or token_credential, not both")
        has_token = self.token_file is not None or self.token_credential is not None
        if self.socket is None and not has_token and not is_loopback(self.listen):
            raise ValueError(
                f"whoever reaches {self.listen} could read all of it; give token_file or token_credential,"
                " or loopback"
            )
        return self
