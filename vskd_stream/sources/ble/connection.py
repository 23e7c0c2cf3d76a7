"""One connection of one device, from the first subscription to the parting.

What a link says of itself is not believed: bluetoothd can die without a word, so a stream without
samples is in trouble, connected or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from vskd_stream.errors import DecodeError, LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.failures import is_cancelled
from vskd_stream.sources.ble.link import BleakLink
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.profile import Session, read
from vskd_stream.sources.ble.status import Status
from vskd_stream.sources.ble.transcript import Transcript
from vskd_stream.tally import Tally

Deliver = Callable[[Samples, float], None]
"""Takes samples and their arrival in UTC seconds, on the event loop; has to be quick."""

_log = structlog.get_logger()


class Connection:
    """Feeds a session from a link, and watches that samples come of it."""

    def __init__(
        self,
        link: BleakLink,
        session: Session,
        *,
        status: Status,
        deliver: Deliver,
        tally: Tally,
        patience: Patience,
        transcript: Transcript | None = None,
        is_news: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``transcript`` is of ``session``; ``is_news``: whether somebody reads the log for this stream."""
        self._link = link
        self._session = session
        self._status = status
        self._deliver = deliver
        self._tally = tally
        self._patience = patience
        self._transcript = transcript
        self._is_news = is_news
        self._monotonic_s = monotonic_s
        self._first_s: float | None = None
        self._heard_s = monotonic_s()
        self._resubscribed = False

    @property
    def streamed_s(self) -> float | None:
        """Seconds from the first samples to the last; None if there were none."""
        return None if self._first_s is None else self._heard_s - self._first_s

    async def run(self) -> None:
        """Stream until cancelled, or until the link is beyond help; the device is told to stop either way.

        Raises:
            LinkError: Always, unless cancelled.
        """
        # No TaskGroup: before Python 3.13 it leaves its task looking cancelled when a child fails.
        device = self._status.device
        tasks = [
            asyncio.create_task(work, name=f"{device} {name}")
            for name, work in (("pump", self._pump()), ("end", self._end()), ("stream", self._stream()))
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if task.cancelled():
                    # Not by us: a library cancels what still waits when a connection ends.
                    raise LinkError(device, "the connection ended")
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._part()

    async def _pump(self) -> None:
        """Notifications to samples; what is wrong with one of them costs nothing else."""
        overrun = 0
        async for notification in self._link.arrivals():
            uuid, data, steady_s = notification.uuid, bytes(notification.data), notification.steady_s
            try:
                if self._transcript is not None:
                    self._transcript.add(uuid, data, arrival_s=steady_s)
                batches = read(self._session, uuid, data, arrival_s=steady_s)
                for samples in batches:
                    self._deliver(samples, notification.arrival_s)
                    self._status.samples += len(samples)
            except DecodeError as error:
                self._drop(error.reason, error.detail)
            except Exception as error:  # noqa: BLE001 (one packet must not cost the connection)
                self._drop("handler_error", repr(error))
                _log.debug("handler_error", device=self._status.device, exc_info=True)
            else:
                if batches:
                    self._heard()
            if self._link.overrun > overrun:
                count = self._link.overrun - overrun
                self._drop("overrun", "notifications came faster than they could be read", count=count)
                overrun = self._link.overrun

    def _heard(self) -> None:
        self._heard_s = self._monotonic_s()
        if self._first_s is None:
            self._first_s = self._heard_s
        if self._status.state == "streaming":
            return
        self._resubscribed = False
        self._status.state = "streaming"
        traits = self._session.traits
        (_log.info if self._is_news else _log.debug)(
            "streaming",
            device=self._status.device,
            address=self._status.address,
            profile=self._status.profile,
            sampling_rate_hz=round(traits.sampling_rate_hz, 3),
            clock=traits.clock,
            **({"note": traits.note} if traits.note else {}),
        )
        self._is_news = False

    async def _end(self) -> None:
        await self._link.lost.wait()
        raise LinkError(self._status.device, "the connection was lost")

    async def _stream(self) -> None:
        """Start, and hold against silence: poll, or resubscribe once, and then give the link up."""
        await self._start()
        while not is_cancelled():
            traits = self._status.traits = self._session.traits
            silence_s = traits.silence_s * self._patience.silence
            left_s = self._heard_s + silence_s - self._monotonic_s()
            if left_s > 0.0:
                await asyncio.sleep(left_s)
            elif traits.poll is not None:
                await self._link.poll(traits.poll)
                self._heard_s = self._monotonic_s()
            elif self._resubscribed:
                raise LinkError(self._status.device, "nothing came, resubscribed or not")
            else:
                await self._resubscribe()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(self._patience.start_s):
                for uuid in self._session.notify:
                    await self._link.subscribe(uuid)
                await self._session.start(self._link)
        except TimeoutError:
            reason = f"it did not start within {self._patience.start_s:g} s"
            raise LinkError(self._status.device, reason) from None
        self._heard_s = self._monotonic_s()

    async def _resubscribe(self) -> None:
        self._resubscribed = True
        self._status.state = "silent"
        self._status.counts["resubscribed"] += 1
        _log.debug("silent, resubscribing", device=self._status.device)
        for uuid in self._session.notify:
            await self._link.unsubscribe(uuid)
        await self._start()

    async def _part(self) -> None:
        if not self._link.lost.is_set():
            with contextlib.suppress(LinkError, TimeoutError):
                async with asyncio.timeout(self._patience.stop_s):
                    await self._session.stop(self._link)
        await self._link.close()

    def _drop(self, reason: str, detail: str, *, count: int = 1) -> None:
        self._status.counts[reason] += count
        self._tally.drop(self._status.device, reason, detail, count=count)
