"""What bleak, D-Bus and the system raise, as a ``LinkError``: above this file a link works or it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)

from vskd_stream.errors import LinkError

_UNPAIRED = {
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHORIZATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION_KEY_SIZE,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
}
_PAIR = (
    "the device demands pairing; pair it once, with `bluetoothctl`: scan on, pair ADDRESS, trust ADDRESS "
    "(docs/bluetooth.md)"
)


def is_cancelled() -> bool:
    """Whether this task was cancelled, even if a library has swallowed it: then nothing new is begun."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextlib.contextmanager
def translated(device: str, what: str) -> Iterator[None]:
    """Turn what a Bluetooth stack raises into a ``LinkError`` that says what was being done."""
    try:
        yield
    except LinkError:
        raise
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        # A library's own: it cancels what still waits when a connection or a bus ends.
        raise LinkError(device, f"{what} failed: the connection ended") from None
    except TimeoutError:
        raise LinkError(device, f"{what} took too long") from None
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        reason = f"{what} failed: the system's D-Bus cannot be reached; BlueZ (bluetoothd) must run here"
        raise LinkError(device, reason) from None
    except Exception as error:
        if _wants_pairing(error):
            raise LinkError(device, f"{what} failed: {_PAIR}") from None
        # bleak has its own errors, D-Bus has others, and a vanished bus shows as an assertion or a KeyError.
        raise LinkError(device, f"{what} failed: {_words(error)}"[:300]) from error


def _wants_pairing(error: Exception) -> bool:
    if isinstance(error, BleakGATTProtocolError):
        return error.code in _UNPAIRED
    # BlueZ says it in words, and bleak leaves them as they are.
    return isinstance(error, BleakDBusError) and (
        error.dbus_error.startswith("org.bluez.Error.Authentication")
        or (error.dbus_error == "org.bluez.Error.NotPermitted" and error.dbus_error_details == "Not paired")
    )


def _words(error: Exception) -> str:
    if isinstance(error, BleakBluetoothNotAvailableError):
        # Its text has its reason in it, as Python prints it.
        return str(error.args[0])
    return str(error) if isinstance(error, BleakError) else repr(error)
