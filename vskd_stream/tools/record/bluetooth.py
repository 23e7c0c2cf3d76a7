"""Records what Bluetooth devices send: connected to as by the daemon, which must not have them meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from vskd_stream.recording import Message
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.manager import Manager
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.radio import Backends
from vskd_stream.sources.ble.steady import SteadyClock
from vskd_stream.tally import Tally
from vskd_stream.tools.record.harvest import Taker


async def record(
    taker: Taker,
    devices: Sequence[BluetoothDevice],
    *,
    backends: Backends | None = None,
    patience: Patience | None = None,
) -> None:
    """Record until ``taker.stop`` is set; then every device is told to stop streaming.

    Raises:
        OptionError: A device's profile is not known, or does not take its options.
    """
    tally = Tally()

    def transcribe(message: Message) -> None:
        taker.take(message)

    manager = Manager(
        devices,
        deliver=lambda samples, _: taker.count(lambda: [samples]),
        tally=tally,
        transcribe=transcribe,
        backends=backends,
        patience=patience,
        utc_s=SteadyClock(),
    )
    running = asyncio.create_task(manager.run(), name="bluetooth")
    stopped = asyncio.create_task(taker.stop.wait(), name="stop")
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        stopped.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({running, stopped})
        taker.harvest.undecoded.update(tally.counts)
