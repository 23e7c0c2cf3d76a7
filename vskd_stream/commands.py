"""What others may ask of the gateway: an allow-list of typed commands, read from hostile bytes.

A command is a small JSON object on ``vskd/<gateway>/cmd/<name>``; an empty payload is an empty object.
None of them names a path, an address or a secret, and what is asked for is undone by the next command
or by a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from vskd_stream.samples import IDENTIFIER

MAX_BYTES = 4096
"""Larger than any command with room to spare, too small to be a burden to parse."""
MAX_CORRELATION_BYTES = 256
"""Whoever needs more to know an answer again may look it up."""

LogLevelName = Literal["debug", "info", "warning", "error"]

_BURST = 10
_PER_S = 2.0
_DETAIL = 200

_Id = Annotated[str, msgspec.Meta(max_length=64)]
_Device = Annotated[str, msgspec.Meta(pattern=f"^{IDENTIFIER.pattern}$")]


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: _Id | None = None


class ListDevices(_Command, frozen=True):
    """Which devices were heard since the start, and how well."""


class Pause(_Command, frozen=True):
    """Drop a device's samples until it is resumed or the gateway restarts."""

    device: _Device


class Resume(_Command, frozen=True):
    """Take a device's samples again."""

    device: _Device


class SetLogLevel(_Command, frozen=True):
    """Tell more or less in the log, until the gateway restarts."""

    level: LogLevelName


class TellStates(_Command, frozen=True):
    """Publish again what is retained: of every device its state, status and health."""


class Reload(_Command, frozen=True):
    """Read the configuration again, from the file that the gateway was started with."""


Command = ListDevices | Pause | Reload | Resume | SetLogLevel | TellStates

COMMANDS: Mapping[str, type[Command]] = {
    "devices": ListDevices,
    "log_level": SetLogLevel,
    "pause": Pause,
    "reload": Reload,
    "resume": Resume,
    "states": TellStates,
}
"""All there is, by name."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message asks for, or why that cannot be told."""

    name: str
    """As asked, cut to what may stand in an answer."""
    request_id: str | None
    command: Command | None
    error: str | None
    """A sentence for a person; None if there is a command."""


class _Envelope(msgspec.Struct):
    id: _Id | None = None


def parse(name: str, payload: bytes) -> Parsed:
    """Read a command; whatever is wrong with it is told in words."""
    shown = name[:64]
    if len(payload) > MAX_BYTES:
        return Parsed(shown, None, None, f"{len(payload)} bytes; a command has at most {MAX_BYTES}")
    request_id = _request_id(payload)
    kind = COMMANDS.get(name)
    if kind is None:
        error = f"there is no command {shown!r}; there are {', '.join(COMMANDS)}"
        return Parsed(shown, request_id, None, error)
    try:
        command = msgspec.json.decode(payload or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Parsed(shown, request_id, None, f"not what {name} takes: {_detail(error)}")
    return Parsed(shown, command.id, command, None)


def _request_id(payload: bytes) -> str | None:
    """The id of a command that is otherwise wrong, so that whoever asked learns of it."""
    try:
        return msgspec.json.decode(payload, type=_Envelope).id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _detail(error: Exception) -> str:
    # Unknown keys are quoted in it, and those are a stranger's.
    detail = str(error) or "nested too deeply"
    return detail if len(detail) <= _DETAIL else f"{detail[:_DETAIL]}..."


class Allowance:
    """How many commands are taken: ten at once, two a second on the long run."""

    def __init__(self, *, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._left = float(_BURST)
        self._at_s = monotonic_s()
        self._is_told = False

    def take(self) -> Literal["yes", "refuse", "ignore"]:
        """``refuse`` the first that is too many, and ``ignore`` the others: answers would be a flood too."""
        now_s = self._monotonic_s()
        self._left = min(float(_BURST), self._left + _PER_S * max(0.0, now_s - self._at_s))
        self._at_s = now_s
        if self._left >= 1.0:
            self._left -= 1.0
            self._is_told = False
            return "yes"
        if self._is_told:
            return "ignore"
        self._is_told = True
        return "refuse"
