"""Who is there, told again whenever a broker or Home Assistant may have forgotten it, at a bounded rate.

A broker that comes back may have lost what it kept, a Home Assistant that starts may have missed
what was said: both are told every device's discovery entry and state.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

import structlog

from vskd_stream.broker.pacing import Pacer
from vskd_stream.bundle import Bundle
from vskd_stream.discovery import Discovery
from vskd_stream.errors import BrokerError, BundleError
from vskd_stream.payloads import Origin
from vskd_stream.publication import Publication
from vskd_stream.settings import Settings

PER_S = 250.0
"""Messages in a second: 200 devices are told in two, and events find room beside them."""
_JITTER_S = 1.5
"""Home Assistant starts for all gateways at once; they need not answer at once."""
_CALM_S = 10.0
"""Between two answers to Home Assistant: whoever floods its status topic makes no flood of ours."""
_SETTLE_S = 3.0
"""After a connection, until the broker has what we tell it first."""
_TIDY_EVERY_S = 86_400.0
_DAY_S = 86_400.0

_log = structlog.get_logger()

Read = Callable[[Sequence[str]], Awaitable[dict[str, bytes]]]
"""What the broker keeps under these topic filters; raises ``BrokerError``."""


def discovery_of(settings: Settings, *, bundle: Bundle, origin: Origin) -> Discovery | None:
    """What the configuration wants to be announced to Home Assistant; None if nothing.

    Raises:
        BundleError: The model does not have a label that the configuration names.
    """
    wanted = settings.home_assistant
    if not wanted.enabled:
        return None
    labels = dict.fromkeys((*bundle.manifest.labels, *bundle.manifest.decision.coarse.values()))
    if unknown := [label for label in wanted.moving if label not in labels]:
        names, has = ", ".join(unknown), ", ".join(labels)
        raise BundleError(bundle.path, f"home_assistant.moving names {names}; the model's labels are {has}")
    return Discovery(
        origin=origin,
        manifest=bundle.manifest,
        no_data_after_s=settings.no_data_after_s,
        moving=wanted.moving,
        untold={device: each.preferences.untold for device, each in settings.devices.items()},
        prefix=wanted.discovery_prefix,
    )


class Presence:
    """The devices that were heard since the start, and those that a broker remembers from before."""

    def __init__(
        self,
        *,
        state: Callable[[str], Publication | None],
        status: Callable[[str], Publication | None],
        idle: Callable[[], Iterable[str]],
        discovery: Discovery | None,
        forget_after_days: float,
        send: Callable[[Publication], None],
        read: Read,
        connected: asyncio.Event,
        uniform: Callable[[float, float], float] = random.uniform,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        """``state`` is a device's last one, ``idle`` tells whose state no event will tell again.

        ``status``, whether it sends, is there from its first samples on; None of one not to be told of.
        ``discovery`` is None where nobody wants entries: then only states are told again.
        """
        self._state = state
        self._status = status
        self._idle = idle
        self._discovery = discovery
        self._forget_after_s = forget_after_days * _DAY_S
        self._read = read
        self._connected = connected
        self._uniform = uniform
        self._utc_s = utc_s
        self._pacer = Pacer(send, per_s=PER_S)
        self._devices: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._calm_until_s = 0.0
        self._answer: asyncio.TimerHandle | None = None

    def follow(
        self, *, discovery: Discovery | None, forget_after_days: float, silent: Collection[str]
    ) -> None:
        """Announce by another configuration from now on; ``silent`` devices are gone.

        Whether anything is announced at all stays as it is.
        """
        is_news = self._discovery is not None and discovery is not None
        self._discovery = discovery
        self._forget_after_s = forget_after_days * _DAY_S
        for device in silent:
            if device not in self._gone:
                self.gone(device)
        if is_news:
            for device in self._devices:
                self._put_entry(device)

    def appeared(self, device: str) -> None:
        """A device is heard; costs nothing if it is known."""
        if device not in self._devices:
            self._gone.pop(device, None)
            self._devices[device] = None
            if self._discovery is not None:
                # Were it killed before anything stands behind the entry, the next run would take that away.
                self._pacer.put(f"{device} status", partial(self._status, device))
            self._put_entry(device)

    def gone(self, device: str) -> None:
        """A device is not to be told of any more, until it appears again."""
        self._devices.pop(device, None)
        self._gone[device] = None
        self._put_removal(device)

    def tell_all(self) -> None:
        """Tell everything again: who listens may have forgotten it."""
        if self._discovery is not None:
            self._pacer.put("", self._discovery.gateway)
        for device in self._gone:
            self._put_removal(device)
        for device in self._devices:
            self._put_state(device)
            self._put_entry(device)

    def home_assistant_says(self, payload: bytes) -> None:
        """Take a message on Home Assistant's status topic; ``online`` is answered, not at once."""
        if payload != b"online" or (self._answer is not None and not self._answer.cancelled()):
            return
        loop = asyncio.get_running_loop()
        at_s = max(loop.time() + self._uniform(0.0, _JITTER_S), self._calm_until_s)
        self._answer = loop.call_at(at_s, self._answer_home_assistant)

    async def run(self) -> None:
        """Tell what is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pacer.run(), name="pacer")
            if self._discovery is not None:
                tasks.create_task(self._repeat(), name="repeat")
                tasks.create_task(self._tidy(), name="tidy")

    def _answer_home_assistant(self) -> None:
        self._answer = None
        self._calm_until_s = asyncio.get_running_loop().time() + _CALM_S
        _log.info("home assistant is online: announcing everything again", devices=len(self._devices))
        self.tell_all()

    async def _repeat(self) -> None:
        """Keep the states of silent devices from expiring: that nothing is known is known."""
        while self._discovery is not None:
            await asyncio.sleep(self._discovery.expire_after_s / 3)
            for device in self._devices.keys() & set(self._idle()):
                self._put_state(device)

    async def _tidy(self) -> None:
        """Take entries away that no device stands behind; once a day, for a device may stay away for good."""
        while (discovery := self._discovery) is not None:
            await self._connected.wait()
            await asyncio.sleep(_SETTLE_S)
            try:
                kept = await self._read(discovery.filters)
                self._compare(self._discovery or discovery, kept)
            except BrokerError as error:
                _log.warning("cannot look for stale home assistant entries", reason=str(error))
            await asyncio.sleep(_TIDY_EVERY_S)

    def _compare(self, discovery: Discovery, kept: dict[str, bytes]) -> None:
        if not discovery.can_read(kept):
            reason = "the broker lets us read nothing of what it keeps"
            _log.warning("cannot look for stale home assistant entries", reason=reason)
            return
        ours = {device: self._state(device) for device in self._devices}
        states = kept | {state.topic: state.payload for state in ours.values() if state is not None}
        known = discovery.heard_from(states, since_s=self._utc_s() - self._forget_after_s)
        # A device without a state has only just begun to speak.
        known |= {device for device, state in ours.items() if state is None}
        _log.debug("looked for stale home assistant entries", known=len(known), kept=len(kept))
        for removal in discovery.stale(kept, known=known):
            _log.info("removing a stale home assistant entry", topic=removal.topic)
            self._pacer.put(removal.topic, partial(_same, removal))
        for device in self._devices.keys() - known:
            del self._devices[device]
        for device in known - self._devices.keys() - self._gone.keys():
            entry = discovery.device(device)
            # Silent since we started. What it is announced as may be old, as the labels of another model.
            if kept.get(entry.topic, entry.payload) != entry.payload:
                self._pacer.put(entry.topic, partial(_same, entry))

    def _put_entry(self, device: str) -> None:
        if self._discovery is not None:
            self._pacer.put(f"{device} entry", partial(self._discovery.device, device))

    def _put_removal(self, device: str) -> None:
        if self._discovery is not None:
            # In place of the entry, should that wait.
            self._pacer.put(f"{device} entry", partial(self._discovery.without, device))

    def _put_state(self, device: str) -> None:
        self._pacer.put(f"{device} state", partial(self._known_by, device))

    def _known_by(self, device: str) -> Publication | None:
        """What stands behind a device's entry."""
        state = self._state(device)
        return self._status(device) if state is None and self._discovery is not None else state


def _same(publication: Publication) -> Publication:
    return publication
