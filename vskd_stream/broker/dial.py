"""From an endpoint to a connected socket, and why there is none in words for a person."""

from __future__ import annotations

import socket
import ssl

from vskd_stream.broker.endpoint import Endpoint

_STEP_S = 5.0
"""What each address of a host, and then the TLS handshake, may take."""
_WAITING_BYTES = 2**19
"""What may wait in the kernel until it is read. The usual 64 KiB are less than a thousand watches send while
the socket is left alone (``link``), and what finds no room waits at the broker for another turn."""
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
"""OpenSSL's X509_V_ERR codes for a chain that ends at nobody whom we trust."""


def dial(endpoint: Endpoint) -> socket.socket:
    """A connected socket, TLS and the check of the host name done; blocks.

    Raises:
        OSError: there is no connection; ``explain`` puts it in words.
    """
    connection = socket.create_connection((endpoint.host, endpoint.port), timeout=_STEP_S)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING_BYTES)
        if endpoint.tls is None:
            return connection
        return endpoint.tls.wrap_socket(connection, server_hostname=endpoint.host)
    except BaseException:
        connection.close()
        raise


def explain(error: Exception) -> str:
    """Why a connection failed."""
    match error:
        case ssl.SSLError():
            return _explain_tls(error)
        case socket.gaierror():
            return f"no such host: {error.strerror}"
        case TimeoutError():
            return "no answer"
        case ConnectionRefusedError():
            return "connection refused; is it running, and is this its port?"
        case OSError():
            return (error.strerror or str(error) or type(error).__name__).lower()
        case _:
            return repr(error)


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = " (is its authority in tls.ca_file?)" if error.verify_code in _UNKNOWN_AUTHORITY else ""
        return f"its certificate does not hold: {error.verify_message}{hint}"
    return f"TLS failed: {(error.reason or error.strerror or 'unknown').replace('_', ' ').lower()}"
