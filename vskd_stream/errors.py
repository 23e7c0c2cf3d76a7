"""The package's exceptions: the message is built inside the class, the facts are attributes."""

from __future__ import annotations

from pathlib import Path

_MAX_REASON = 1000


class VskdError(Exception):
    """Anything this package refuses; its text is one sentence for a person."""


class DecodeError(VskdError):
    """A payload that is not what its format promises.

    ``reason`` is one of a small fixed set of tokens (it names a counter), ``detail`` is for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ImageSpecError(VskdError):
    """An image that cannot be made: a bad ``ImageSpec``, or a window or output it does not fit."""


def _shown(reason: str) -> str:
    """The reason without what a terminal would obey: a stranger's file may have had it quoted."""
    cut = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


class BundleError(VskdError):
    """A file that is no usable model bundle."""

    def __init__(self, path: Path, reason: str) -> None:
        reason = _shown(reason)
        super().__init__(f"model bundle {path}: {reason}")
        self.path = path
        self.reason = reason


class RecordingError(VskdError):
    """A file that is no recording, or is damaged from some byte on."""

    def __init__(self, path: Path, reason: str) -> None:
        reason = _shown(reason)
        super().__init__(f"recording {path}: {reason}")
        self.path = path
        self.reason = reason


class ConfigError(VskdError):
    """A configuration that is refused; ``problems`` holds every one, a line each."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{path}: {count}", *(f"  {problem}" for problem in problems)]))
        self.path = path
        self.problems = problems


class LabelError(VskdError):
    """A configuration that speaks of activities as the model it names does not know them."""

    def __init__(self, device: str, key: str, reason: str) -> None:
        super().__init__(f"devices.{device}.{key}: {reason}")
        self.device = device
        self.key = key
        self.reason = reason


class BrokerError(VskdError):
    """A broker that cannot be started, or that refuses us for good."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"MQTT broker {endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class HttpError(VskdError):
    """An address that the HTTP server cannot have."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"http, {address}: {reason}; choose another address, or end who has it")
        self.address = address
        self.reason = reason


class OutboxError(VskdError):
    """An outbox that another daemon has open."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"outbox {path}: {reason}")
        self.path = path
        self.reason = reason


class ReloadError(VskdError):
    """A configuration that cannot be taken over while the daemon runs."""


class OptionError(VskdError):
    """Options of a Bluetooth device that its profile does not take."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(f"Bluetooth device {device}: {reason}")
        self.device = device
        self.reason = reason


class LinkError(VskdError):
    """A Bluetooth device or adapter that cannot be reached, or answers otherwise than it should."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(f"Bluetooth, {device}: {reason}")
        self.device = device
        self.reason = reason


class ServiceError(VskdError):
    """A systemd service that cannot be installed, checked or removed here."""
