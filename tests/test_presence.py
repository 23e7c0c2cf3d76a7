from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from tests.manifests import manifest
from vskd_stream import presence
from vskd_stream.discovery import Discovery
from vskd_stream.errors import BrokerError
from vskd_stream.payloads import Origin
from vskd_stream.presence import Presence
from vskd_stream.publication import Publication

ORIGIN = Origin(gateway="home", bundle_name="wrist", bundle_sha256="ab" * 32, version="0.1.0")
NOW_S = 1.79e9
DAY_S = 86_400.0
STATUS = "vskd/home/status"


def entry(device: str, *, labels: tuple[str, ...] = ("still", "moving")) -> Publication:
    return discovery(labels=labels).device(device)


def discovery(*, labels: tuple[str, ...] = ("still", "moving")) -> Discovery:
    return Discovery(
        origin=ORIGIN,
        manifest=manifest(labels=labels),
        no_data_after_s=10.0,
        moving=(),
        prefix="homeassistant",
    )


def state(device: str, *, days_ago: float = 0.0, label: str = "still") -> Publication:
    told = datetime.fromtimestamp(NOW_S - days_ago * DAY_S, UTC).isoformat().replace("+00:00", "Z")
    payload = json.dumps({"device": device, "published_utc": told, "label": label})
    return Publication(f"vskd/home/{device}/state", payload.encode(), retain=True)


def status(device: str, *, days_ago: float = 0.0) -> Publication:
    heard = datetime.fromtimestamp(NOW_S - days_ago * DAY_S, UTC).isoformat()
    payload = json.dumps({"device": device, "heard_utc": heard, "state": "offline"})
    return Publication(f"vskd/home/{device}/status", payload.encode(), retain=True)


class House:
    """A presence, the broker that it tells, and what the announcer knows."""

    def __init__(
        self, *, announce: bool = True, kept: Sequence[Publication] = (), readable: bool = True
    ) -> None:
        self.sent: asyncio.Queue[Publication] = asyncio.Queue()
        self.states: dict[str, Publication] = {}
        self.statuses: dict[str, Publication] = {}
        self.idle: set[str] = set()
        self.reads: list[Sequence[str]] = []
        self.reading = asyncio.Event()
        self.reachable = True
        self.kept = {each.topic: each.payload for each in kept} | ({STATUS: b"{}"} if readable else {})
        self.connected = asyncio.Event()
        self.discovery = discovery() if announce else None
        self.presence = Presence(
            state=self.states.get,
            status=self.statuses.get,
            idle=lambda: self.idle,
            discovery=self.discovery,
            forget_after_days=30.0,
            send=self.sent.put_nowait,
            read=self.read,
            connected=self.connected,
            uniform=lambda low, _: low,
            utc_s=lambda: NOW_S,
        )

    async def read(self, filters: Sequence[str]) -> dict[str, bytes]:
        self.reads.append(filters)
        self.reading.set()
        if not self.reachable:
            raise BrokerError("mqtt://broker:1883", "connection refused")
        return self.kept

    def hear(self, device: str) -> None:
        self.states[device] = state(device)
        self.presence.appeared(device)

    async def next(self) -> Publication:
        async with asyncio.timeout(10):
            return await self.sent.get()

    async def topics(self, count: int) -> list[str]:
        return [(await self.next()).topic for _ in range(count)]

    async def quiet(self) -> bool:
        """Whether nothing more is told."""
        await asyncio.sleep(0.05)
        return self.sent.empty()


@contextlib.asynccontextmanager
async def running(house: House) -> AsyncIterator[House]:
    task = asyncio.create_task(house.presence.run())
    yield house
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(presence, "_SETTLE_S", 0.0)
    monkeypatch.setattr(presence, "_CALM_S", 0.2)


GATEWAY_ENTRY = "homeassistant/device/vskd_home/config"
LEFT_ENTRY = "homeassistant/device/vskd_home/left/config"
LEFT_STATE = "vskd/home/left/state"
LEFT_STATUS = "vskd/home/left/status"
EVERYTHING = [GATEWAY_ENTRY, LEFT_STATE, LEFT_ENTRY]


async def test_a_device_is_announced_once_when_it_is_first_heard():
    async with running(House()) as house:
        for _ in range(3):
            house.hear("left")
        assert await house.topics(1) == [LEFT_ENTRY]
        assert await house.quiet()


async def test_a_broker_that_comes_back_is_told_everything_again():
    async with running(House()) as house:
        house.hear("left")
        await house.topics(1)
        house.states["left"] = state("left", label="moving")
        house.presence.tell_all()
        assert await house.topics(1) == [GATEWAY_ENTRY]
        assert await house.next() == house.states["left"]
        assert await house.topics(1) == [LEFT_ENTRY]
        assert await house.quiet()


async def test_without_home_assistant_only_states_are_told_again():
    async with running(House(announce=False)) as house:
        house.connected.set()
        house.hear("left")
        house.presence.tell_all()
        assert await house.topics(1) == [LEFT_STATE]
        house.statuses["right"] = status("right")
        house.presence.appeared("right")
        house.presence.tell_all()
        assert await house.topics(1) == [LEFT_STATE]
        assert await house.quiet()
        assert house.reads == []


async def test_nothing_is_announced_before_the_broker_has_what_stands_behind_it():
    async with running(House()) as house:
        house.statuses["left"] = status("left")
        house.presence.appeared("left")
        assert await house.topics(2) == [LEFT_STATUS, LEFT_ENTRY]
        house.presence.tell_all()
        # There is no state yet.
        assert await house.topics(3) == [GATEWAY_ENTRY, LEFT_STATUS, LEFT_ENTRY]
        assert await house.quiet()


async def test_what_waits_to_be_told_keeps_its_place():
    async with running(House()) as house:
        house.presence.appeared("left")
        house.presence.tell_all()
        assert await house.topics(2) == [LEFT_ENTRY, GATEWAY_ENTRY]
        assert await house.quiet()


async def test_home_assistant_is_answered_and_a_flood_of_births_only_now_and_then():
    async with running(House()) as house:
        house.hear("left")
        await house.topics(1)
        for _ in range(100):
            house.presence.home_assistant_says(b"online")
        assert await house.topics(3) == EVERYTHING
        house.presence.home_assistant_says(b"online")
        assert await house.quiet()
        # It is not forgotten: whoever came back in the meantime is told as well.
        assert await house.topics(3) == EVERYTHING


@pytest.mark.parametrize("payload", [b"offline", b"", b"ONLINE", b"x" * 10_000])
async def test_other_words_on_the_status_topic_are_not_answered(payload):
    async with running(House()) as house:
        house.presence.home_assistant_says(payload)
        assert await house.quiet()


async def test_what_is_not_told_by_events_is_repeated_before_it_expires(monkeypatch):
    house = House()
    assert house.discovery is not None
    monkeypatch.setattr(house.discovery, "expire_after_s", 0.06)
    async with running(house):
        for device in ("left", "right"):
            house.hear(device)
        await house.topics(2)
        house.idle = {"left", "stranger"}
        assert await house.topics(3) == [LEFT_STATE] * 3


async def test_a_device_that_is_not_to_be_told_of_is_taken_away_at_once_and_by_every_broker():
    async with running(House()) as house:
        house.hear("left")
        house.presence.gone("left")
        assert await house.next() == Publication(LEFT_ENTRY, b"", retain=True)
        house.presence.tell_all()
        assert await house.topics(1) == [GATEWAY_ENTRY]
        assert await house.next() == Publication(LEFT_ENTRY, b"", retain=True)
        house.presence.appeared("left")
        assert await house.next() == entry("left")
        assert await house.quiet()


async def test_an_entry_behind_which_nobody_stands_is_removed():
    kept = [
        entry("left"),
        state("left", days_ago=29),
        entry("old"),
        state("old", days_ago=31),
        entry("orphan"),
        entry("new"),
        status("new", days_ago=29),
        entry("gone"),
        status("gone", days_ago=31),
    ]
    async with running(House(kept=[discovery().gateway(), *kept])) as house:
        house.connected.set()
        removed = {(await house.next()).topic for _ in range(3)}
        assert removed == {entry(device).topic for device in ("old", "orphan", "gone")}
        assert await house.quiet()
        assert house.reads == [discovery().filters]


async def test_a_device_that_speaks_now_is_never_stale():
    kept = [entry("left"), entry("new"), state("left", days_ago=100)]
    async with running(House(kept=kept)) as house:
        house.hear("left")
        house.presence.appeared("new")
        assert await house.topics(2) == [LEFT_ENTRY, entry("new").topic]
        house.connected.set()
        await house.reading.wait()
        assert await house.quiet()


async def test_a_device_that_fell_silent_long_ago_is_forgotten_until_it_speaks_again():
    async with running(House(kept=[entry("left")])) as house:
        house.hear("left")
        await house.topics(1)
        house.states["left"] = state("left", days_ago=31)
        house.connected.set()
        assert (await house.next()).payload == b""
        house.presence.tell_all()
        assert await house.topics(1) == [GATEWAY_ENTRY]
        assert await house.quiet()
        house.hear("left")
        assert (await house.next()) == entry("left")


async def test_an_entry_of_another_model_is_brought_up_to_date_though_its_device_is_silent():
    outdated = entry("left", labels=("lie", "run"))
    kept = [outdated, state("left"), entry("right"), state("right"), state("removed")]
    async with running(House(kept=kept)) as house:
        house.connected.set()
        assert await house.next() == entry("left")
        # What is up to date is left alone, and what somebody removed stays away.
        assert await house.quiet()


async def test_nothing_is_removed_where_nothing_can_be_read():
    with capture_logs() as logs:
        async with running(House(kept=[entry("left")], readable=False)) as house:
            house.connected.set()
            await house.reading.wait()
            assert await house.quiet()
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("cannot look for stale home assistant entries", "warning")
    ]


async def test_a_broker_that_lets_nobody_look_costs_a_warning():
    with capture_logs() as logs:
        house = House(kept=[entry("left")])
        house.reachable = False
        async with running(house):
            house.connected.set()
            await house.reading.wait()
            assert await house.quiet()
            house.hear("left")
            assert await house.topics(1) == [LEFT_ENTRY]
    assert "connection refused" in logs[0]["reason"]


async def test_another_configuration_announces_its_devices_anew_and_takes_the_silent_ones_away():
    async with running(House()) as house:
        for device in ("left", "right"):
            house.hear(device)
        await house.topics(2)
        house.presence.follow(
            discovery=discovery(labels=("still", "jumping")),
            forget_after_days=1.0,
            silent=["right"],
        )
        told = {each.topic: each.payload for each in [await house.next(), await house.next()]}
        assert told[LEFT_ENTRY] == entry("left", labels=("still", "jumping")).payload
        assert told[entry("right").topic] == b""
        assert await house.quiet()


async def test_where_nothing_is_announced_another_configuration_announces_nothing():
    async with running(House(announce=False)) as house:
        house.hear("left")
        house.presence.follow(discovery=None, forget_after_days=1.0, silent=["right"])
        assert await house.quiet()
