from __future__ import annotations

import asyncio

import pytest
from bleak.exc import BleakDBusError, BleakGATTProtocolError, BleakGATTProtocolErrorCode

from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.failures import translated


async def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_the_link() -> None:
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waiting.cancel)
    with (
        pytest.raises(LinkError, match="reading failed: the connection ended"),
        translated("twins", "reading"),
    ):
        await waiting


async def test_a_cancellation_that_somebody_asked_for_stays_one() -> None:
    async def work() -> None:
        with translated("twins", "reading"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (BleakGATTProtocolError(BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION), True),
        (BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"]), True),
        (BleakDBusError("org.bluez.Error.NotPermitted", ["Read not permitted"]), False),
        (BleakGATTProtocolError(BleakGATTProtocolErrorCode.INVALID_HANDLE), False),
    ],
)
def test_of_all_refusals_those_of_strangers_ask_for_pairing(error: Exception, is_told: bool) -> None:  # noqa: FBT001
    with pytest.raises(LinkError) as told, translated("mine", "connecting"):
        raise error
    assert ("demands pairing" in str(told.value)) == is_told
