"""Commands that come in → what is done, and the answer; too many, and none of our own, are not taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from vskd_stream import logs, topics
from vskd_stream.announce import Announcer
from vskd_stream.commands import (
    MAX_CORRELATION_BYTES,
    Allowance,
    Command,
    ListDevices,
    Parsed,
    Pause,
    Reload,
    Resume,
    SetLogLevel,
    TellStates,
    parse,
)
from vskd_stream.devices import Devices
from vskd_stream.errors import VskdError
from vskd_stream.payloads import Origin
from vskd_stream.publication import Publication, Request
from vskd_stream.tally import Tally
from vskd_stream.vitals import Vitals

_MAX_ERROR = 2000
"""Characters of what is wrong with a configuration; the log has all of it."""

_log = structlog.get_logger()


class Control:
    """Does what the allow-list of ``commands`` names, and nothing else."""

    def __init__(
        self,
        *,
        origin: Origin,
        discovery_prefix: str,
        devices: Devices,
        vitals: Vitals,
        announcer: Announcer,
        tell_all: Callable[[], None],
        reload: Callable[[Callable[[str | None], None]], None] | None,
        publish: Callable[[Publication], None],
        tally: Tally,
        utc_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``publish`` sends now or not at all: nobody waits for an answer that is late.

        ``reload(answer)`` begins a reload, and calls back with what was wrong; None: there is no file.
        """
        self._origin = origin
        self._prefix = discovery_prefix
        self._devices = devices
        self._vitals = vitals
        self._announcer = announcer
        self._tell_all = tell_all
        self._reload = reload
        self._publish = publish
        self._tally = tally
        self._utc_s = utc_s
        self._allowance = Allowance(monotonic_s=monotonic_s)

    def follow(self, *, origin: Origin) -> None:
        """Answer in the name of another model from now on."""
        self._origin = origin

    def take(self, request: Request) -> None:
        """Do what a message asks for, and answer it."""
        if topics.is_own(request.topic, devices=self._devices.names):
            return
        allowed = self._allowance.take()
        if allowed != "yes":
            self._tally.drop("commands", "command_limit", request.topic[:100])
        if allowed == "ignore":
            return
        parsed = parse(topics.command_of(request.topic), request.payload)
        error = "too many commands; wait a second" if allowed == "refuse" else parsed.error
        error = error or self._unanswerable(request)
        if error is None and isinstance(parsed.command, Reload) and self._reload is not None:
            # It takes seconds, and is answered when it is known what came of it.
            self._reload(partial(self._reloaded, request, parsed))
            return
        result: dict[str, Any] | None = None
        if error is None and parsed.command is not None:
            try:
                result = self._do(parsed.command)
            except VskdError as refusal:
                error = str(refusal)
        if error is not None and allowed == "yes":
            self._tally.drop("commands", "bad_command", error)
        self._answer(request, parsed, error=error, result=result)

    def _reloaded(self, request: Request, parsed: Parsed, error: str | None) -> None:
        if error is not None:
            error = error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]}..."
        self._answer(request, parsed, error=error, result=None if error else {})

    def _answer(
        self, request: Request, parsed: Parsed, *, error: str | None, result: dict[str, Any] | None
    ) -> None:
        if error is None:
            _log.info("command", command=parsed.name, id=parsed.request_id)
        can_answer = self._unanswerable(request) is None
        self._publish(
            topics.response(
                parsed.name,
                request_id=parsed.request_id,
                error=error,
                result=result,
                origin=self._origin,
                published_utc_s=self._utc_s(),
                topic=request.response_topic if can_answer else None,
                correlation=request.correlation if can_answer else None,
            )
        )

    def _unanswerable(self, request: Request) -> str | None:
        wanted = request.response_topic
        if wanted is not None and not topics.may_answer_on(
            wanted, gateway=self._origin.gateway, prefix=self._prefix
        ):
            return f"no answer can go to {wanted[:100]!r}"
        if request.correlation is not None and len(request.correlation) > MAX_CORRELATION_BYTES:
            return f"correlation data of more than {MAX_CORRELATION_BYTES} bytes"
        return None

    def _do(self, command: Command) -> dict[str, Any]:
        match command:
            case ListDevices():
                return {"devices": self._vitals.listed(self._utc_s())}
            case Pause(device=device):
                if (pipeline := self._devices.pause(device)) is not None:
                    self._announcer.stop(pipeline, reason="paused")
                return {}
            case Resume(device=device):
                self._devices.resume(device)
                return {}
            case Reload():
                raise VskdError("there is no file to reload: the gateway was not started with one")
            case SetLogLevel(level=level):
                logs.set_level(level)
                return {}
            case TellStates():
                self._tell_all()
                return {}
