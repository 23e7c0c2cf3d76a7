"""One device that is to be streamed, for as long as the daemon runs: seek, connect, stream, and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from vskd_stream.backoff import Backoff
from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.claims import Claims
from vskd_stream.sources.ble.connection import Connection, Deliver
from vskd_stream.sources.ble.failures import is_cancelled
from vskd_stream.sources.ble.ladder import Ladder
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.profile import Advertisement, Profile, Session
from vskd_stream.sources.ble.radio import Radio, Sighting
from vskd_stream.sources.ble.status import Status
from vskd_stream.sources.ble.transcript import Take, Transcript
from vskd_stream.tally import Tally

_REPIN_AFTER_S = 30.0
"""A device that is away for so long, and whose name is unique, may come back with another address."""
_RETELL_AFTER_S = 600.0
_RETRY_BASE_S = 0.25

_log = structlog.get_logger()


class Stream:
    """One device of the configuration."""

    def __init__(
        self,
        device: str,
        *,
        profile: Profile,
        options: Mapping[str, object],
        fits: Callable[[Advertisement], bool],
        radio: Radio,
        claims: Claims,
        deliver: Deliver,
        tally: Tally,
        patience: Patience,
        transcribe: Take | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fits`` tells whether an advertisement may be this device's; ``transcribe`` takes all that comes.

        Raises:
            OptionError: The profile does not take the options.
        """
        profile.session(device, options)
        self.status = Status(device, profile.name)
        self._device = device
        self._profile = profile
        self._options = options
        self._fits = fits
        self._radio = radio
        self._claims = claims
        self._deliver = deliver
        self._tally = tally
        self._patience = patience
        self._transcribe = transcribe
        self._monotonic_s = monotonic_s
        self._ladder = Ladder(
            backoff=Backoff(base_s=min(_RETRY_BASE_S, patience.retry_s), cap_s=patience.retry_s),
            rest_s=patience.rest_s,
        )
        self._pinned: str | None = None
        self._has_namesake = False
        self._lost_s = 0.0
        self._told: tuple[str, float] | None = None
        self._is_news = True

    async def run(self) -> None:
        """Stream until cancelled; then the device is told to stop."""
        while not is_cancelled():
            self.status.state = "seeking"
            sighting = self._chosen(await self._radio.find(self._wanted))
            if sighting is not None:
                await self._serve(sighting)

    def _wanted(self, advertisement: Advertisement) -> bool:
        if not self._fits(advertisement):
            return False
        if not self._claims.allow(advertisement.address, device=self._device):
            return False
        if self._pinned is None or advertisement.address == self._pinned:
            return True
        # Somebody else's device of the same name must not take the place of one that is out of range.
        return not self._has_namesake and self._monotonic_s() - self._lost_s > _REPIN_AFTER_S

    def _chosen(self, sightings: list[Sighting]) -> Sighting | None:
        """The nearest one that nobody took in the meantime; it is ours from now on."""
        free = [
            each for each in sightings if self._claims.allow(each.advertisement.address, device=self._device)
        ]
        if not free:
            return None
        if len(free) > 1 and not self._has_namesake:
            self._has_namesake = True
            _log.warning(
                "several devices fit, taking the nearest; give an address in the configuration",
                device=self._device,
                addresses=[each.advertisement.address for each in free],
            )
        self.status.address = free[0].advertisement.address
        self._claims.claim(self.status.address, device=self._device)
        return free[0]

    async def _serve(self, sighting: Sighting) -> None:
        """One connection and what is due after it."""
        connection = None
        self.status.state = "connecting"
        try:
            link = await self._radio.connect(sighting, device=self._device)
            self.status.counts["connected"] += 1
            session = self._profile.session(self._device, self._options)
            connection = Connection(
                link,
                session,
                status=self.status,
                deliver=self._deliver,
                tally=self._tally,
                patience=self._patience,
                transcript=self._transcript(session),
                is_news=self._is_news,
                monotonic_s=self._monotonic_s,
            )
            await connection.run()
            reason = "stopped"
        except LinkError as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 (a faulty profile must not cost the other devices)
            _log.exception("fault in a profile", device=self._device, profile=self._profile.name)
            reason = repr(error)
        streamed_s = None if connection is None else connection.streamed_s
        await self._recover(sighting, reason=reason, streamed_s=streamed_s)

    def _transcript(self, session: Session) -> Transcript | None:
        if self._transcribe is None:
            return None
        return Transcript(
            self._transcribe,
            session,
            device=self._device,
            profile=self._profile.name,
            options=self._options,
        )

    async def _recover(self, sighting: Sighting, *, reason: str, streamed_s: float | None) -> None:
        """Do what is due after a connection that streamed for ``streamed_s``, if it did at all."""
        self._lost_s = self._monotonic_s()
        if streamed_s is None:
            self.status.counts["failed"] += 1
            rung = self._ladder.failed()
            if self._pinned is None:
                self._claims.release(self._device)
        else:
            self.status.counts["lost"] += 1
            was_stable = streamed_s >= self._patience.stable_s
            rung = self._ladder.lost(was_stable=was_stable)
            self._pinned = self.status.address
            self._is_news = False
            if was_stable:
                self._told = None
        self._tell(reason, resting=rung.resting)
        if rung.resting:
            self.status.state = "resting"
            self.status.counts["rested"] += 1
        await asyncio.sleep(rung.wait_s)
        if rung.remove:
            self.status.counts["removed"] += 1
            await self._radio.forget(sighting, device=self._device)

    def _tell(self, reason: str, *, resting: bool) -> None:
        """Warn of a trouble once, and of the same again only when it lasts."""
        now_s = self._monotonic_s()
        if self._told and self._told[0] == reason and now_s - self._told[1] < _RETELL_AFTER_S:
            return
        self._told = (reason, now_s)
        self._is_news = True
        _log.warning("not streaming", device=self._device, reason=reason, resting=resting)
