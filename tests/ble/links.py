"""A link to nobody, for sessions alone."""

from __future__ import annotations

from collections.abc import Callable

from vskd_stream.errors import LinkError

Answer = Callable[[str, bytes], list[bytes]]
"""What a device notifies on the same characteristic when this is written to it."""


class FakeLink:
    """Answers writes with notifications, reads with prepared values."""

    def __init__(
        self,
        *,
        values: dict[str, bytes] | None = None,
        answer: Answer | None = None,
        notified: Callable[[str, bytes], object] = lambda uuid, data: None,
    ) -> None:
        self.values = values or {}
        self.written: list[tuple[str, bytes]] = []
        self._answer = answer or (lambda uuid, data: [])
        self._notified = notified

    async def read(self, uuid: str) -> bytes:
        if uuid not in self.values:
            raise LinkError("test", f"it has no characteristic {uuid}")
        return self.values[uuid]

    async def write(self, uuid: str, data: bytes, *, response: bool = True) -> None:
        self.written.append((uuid, data))
        for answer in self._answer(uuid, data):
            self._notified(uuid, answer)
