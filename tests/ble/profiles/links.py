"""A link without a radio: it remembers what was written, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from vskd_stream.errors import DecodeError, LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Profile, Session

ARRIVAL_S = 1_700_000_000.0
"""Of the first notification in the tests."""


@dataclass(frozen=True)
class Write:
    """One write."""

    uuid: str
    data: bytes
    response: bool = True


@dataclass
class FakeLink:
    """What has been written to a characteristic is read from it, unless ``values`` says otherwise."""

    values: dict[str, bytes] = field(default_factory=dict)
    takes_writes: bool = True
    """Whether a write changes what is read."""
    on_write: Callable[[str, bytes], None] = lambda uuid, data: None
    """What the device does when it is written to."""
    writes: list[Write] = field(default_factory=list)

    async def read(self, uuid: str) -> bytes:
        if uuid not in self.values:
            raise LinkError("fake", f"no characteristic {uuid}")
        return self.values[uuid]

    async def write(self, uuid: str, data: bytes, *, response: bool = True) -> None:
        self.writes.append(Write(uuid, data, response))
        if self.takes_writes:
            self.values[uuid] = data
        self.on_write(uuid, data)

    def written(self, uuid: str) -> list[bytes]:
        """What was written to one characteristic."""
        return [write.data for write in self.writes if write.uuid == uuid]


async def started(
    profile: Profile, options: Mapping[str, object] | None = None, link: FakeLink | None = None
) -> Session:
    """A session that has begun."""
    session = profile.session("d1", options or {})
    await session.start(link or FakeLink())
    return session


def started_now(
    profile: Profile, options: Mapping[str, object] | None = None, link: FakeLink | None = None
) -> Session:
    """The same, for tests that do not await."""
    return asyncio.run(started(profile, options, link))


def feed(session: Session, data: bytes, *, arrival_s: float = ARRIVAL_S) -> list[Samples]:
    """Let a session decode a notification of its first characteristic that has samples."""
    return session.decode(session.notify[-1], data, arrival_s=arrival_s)


def fed(session: Session, packets: Iterable[tuple[float, bytes]]) -> tuple[list[Samples], list[DecodeError]]:
    """What comes of notifications that arrive so many seconds after the first, and what is refused."""
    found: list[Samples] = []
    refused: list[DecodeError] = []
    for late_s, data in packets:
        try:
            found += feed(session, data, arrival_s=ARRIVAL_S + late_s)
        except DecodeError as error:
            refused.append(error)
    return found, refused


def one(samples: list[Samples]) -> Samples:
    """The only batch."""
    (batch,) = samples
    return batch
