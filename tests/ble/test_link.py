from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.ble.rig import PATIENCE, Rig
from tests.ble.world import Char, Peripheral
from vskd_stream.errors import LinkError
from vskd_stream.sources.ble.link import MAX_WAITING, BleakLink
from vskd_stream.sources.ble.radio import Radio

LEFT, RIGHT = (f"7a5b000{n}-3c1e-4f6a-9d2e-5a0c1b2d3e4f" for n in (1, 2))
SIDE = "7a5b0003-3c1e-4f6a-9d2e-5a0c1b2d3e4f"
"""Both services have it."""
DATA = "7a5b0004-3c1e-4f6a-9d2e-5a0c1b2d3e4f"
SLOW = "7a5b0005-3c1e-4f6a-9d2e-5a0c1b2d3e4f"


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[BleakLink, Peripheral]]:
    """A link to a device with two services, over Bumble."""

    async def never(_: bytes) -> None:
        await asyncio.sleep(60.0)

    async with Rig.open() as rig:
        device = Peripheral(
            rig.world,
            name="Twins",
            address="F0:00:00:00:00:01",
            services={
                LEFT: [Char(SIDE, "read", read=lambda: b"left"), Char(DATA, "notify")],
                RIGHT: [Char(SIDE, "read", read=lambda: b"right"), Char(SLOW, "write", write=never)],
            },
        )
        await device.start()
        radio = Radio(None, patience=PATIENCE, backends=rig.backends, utc_s=lambda: 123.0)
        running = asyncio.create_task(radio.run())
        sightings = await radio.find(lambda advertisement: advertisement.name == "Twins")
        link = await radio.connect(sightings[0], device="twins")
        yield link, device
        await link.close()
        running.cancel()


async def test_a_characteristic_of_several_services_is_named_with_its_own() -> None:
    async with connected() as (link, _):
        assert await link.read(f"{LEFT}/{SIDE}") == b"left"
        assert await link.read(f"{RIGHT}/{SIDE}") == b"right"
        with pytest.raises(LinkError, match="Multiple Characteristics"):
            await link.read(SIDE)


async def test_what_the_device_does_not_have_is_told() -> None:
    async with connected() as (link, _):
        for name in (DATA.replace("0004", "0009"), f"{RIGHT}/{DATA}", f"{DATA}/{DATA}"):
            with pytest.raises(LinkError, match="twins: it has no characteristic"):
                await link.subscribe(name)


async def test_an_operation_that_does_not_end_is_ended() -> None:
    async with connected() as (link, _):
        with pytest.raises(LinkError, match=f"writing {SLOW} took too long"):
            await link.write(SLOW, b"1")


async def test_a_lost_link_refuses_everything() -> None:
    async with connected() as (link, device):
        await device.drop()
        await link.lost.wait()
        with pytest.raises(LinkError, match="reading"):
            await link.read(f"{LEFT}/{SIDE}")
        await link.close()


async def test_notifications_are_stamped_when_they_come_and_keep_their_order() -> None:
    async with connected() as (link, device):
        name = f"{LEFT}/{DATA}"
        await link.subscribe(name)
        for number in range(10):
            await device.notify(DATA, bytes([number]))
        arrivals = link.arrivals()
        found = [await anext(arrivals) for _ in range(10)]
        assert [each.data for each in found] == [bytes([number]) for number in range(10)]
        assert {(each.uuid, each.arrival_s) for each in found} == {(name, 123.0)}


async def test_of_notifications_that_nobody_reads_the_newest_are_kept_and_the_rest_counted() -> None:
    async with connected() as (link, device):
        await link.subscribe(DATA)
        for number in range(MAX_WAITING + 100):
            await device.notify(DATA, number.to_bytes(2, "little"))
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert link.overrun == 100
        first = await anext(link.arrivals())
        assert int.from_bytes(first.data, "little") == 100


async def test_a_device_that_demands_pairing_is_told_how_to_be_paired() -> None:
    async with Rig.open("bluez") as rig:
        device = Peripheral(
            rig.world,
            name="Private",
            address="F0:00:00:00:00:01",
            services={LEFT: [Char(SIDE, "read,write", read=lambda: b"left", is_private=True)]},
        )
        await device.start()
        radio = Radio(None, patience=PATIENCE, backends=rig.backends)
        running = asyncio.create_task(radio.run())
        sightings = await radio.find(lambda advertisement: advertisement.name == "Private")
        link = await radio.connect(sightings[0], device="mine")
        for asking in (link.read(SIDE), link.write(SIDE, b"1")):
            with pytest.raises(LinkError, match=r"mine: .*demands pairing; pair it once"):
                await asking
        await link.close()
        running.cancel()
