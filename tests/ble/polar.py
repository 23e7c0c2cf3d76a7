"""A simulated Polar device: the measurement service of an H10 or a Verity Sense, with true sample times."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.ble.world import Char, Peripheral, World
from vskd_stream.sources.ble.profiles.polar import CONTROL, DATA, HEART_RATE

SERVICE = "fb005c80-02e7-f387-1cad-8acd2d8df0c8"
FEATURES = bytes([0x0F, 0x05, 0x00])
"""ECG and acceleration."""

Acceleration = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(n,) seconds to (n, 3) mg."""


def still(t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A wearer at rest, whose x counts samples so that none can be taken for another."""
    return np.stack([np.round(t_s * 50) % 1000, np.zeros_like(t_s), np.full_like(t_s, 1000.0)], axis=1)


def raw_frame(last_s: float, acc_mg: NDArray[np.float64]) -> bytes:
    """An uncompressed frame of 16-bit samples."""
    return struct.pack("<BQB", 2, round(last_s * 1e9), 1) + acc_mg.astype("<i2").tobytes()


class SimulatedPolar(Peripheral):
    """Sends a frame of ``samples`` every ``samples / rate_hz`` seconds once it was told to."""

    def __init__(
        self,
        world: World,
        *,
        name: str = "Polar H10 1",
        address: str = "F0:00:00:00:00:01",
        rates_hz: tuple[int, ...] = (25, 50, 100, 200),
        samples: int = 5,
        acceleration: Acceleration = still,
    ) -> None:
        super().__init__(
            world,
            name=name,
            address=address,
            advertised=[HEART_RATE[4:8]],
            services={
                SERVICE: [
                    Char(CONTROL, "read,write,indicate", read=lambda: FEATURES, write=self._commanded),
                    Char(DATA, "notify"),
                ]
            },
        )
        self.rates_hz = rates_hz
        self.samples = samples
        self.acceleration = acceleration
        self.rate_hz = 0.0
        self.make_frame = raw_frame
        self.streaming = False
        self.commands: list[bytes] = []
        self.frames = 0
        """Frames taken, lost ones included."""
        self._wake = asyncio.Event()

    async def _commanded(self, command: bytes) -> None:
        self.commands.append(command)
        self._world.spawn(self._answer(command))

    async def _answer(self, command: bytes) -> None:
        operation, measurement = command[0], command[1]
        status, parameters = 0, b""
        if operation == 1:
            rates = b"".join(rate.to_bytes(2, "little") for rate in self.rates_hz)
            parameters = bytes([0, len(self.rates_hz)]) + rates + bytes.fromhex("0101100002030200040008 00")
        elif operation == 2 and self.streaming:
            status = 6
        elif operation == 2:
            place = 2
            while command[place] != 0:
                place += 4
            self.rate_hz = float(int.from_bytes(command[place + 2 : place + 4], "little"))
            self.streaming = True
            self._wake.set()
            parameters = bytes.fromhex("05010000803f")
        else:
            self.streaming = False
        answer = bytes([0xF0, operation, measurement, status])
        # In two parts, as a long answer comes.
        half = len(parameters) // 2
        if half:
            await self.indicate(CONTROL, answer + b"\1" + parameters[:half])
            await self.indicate(CONTROL, answer + b"\0" + parameters[half:])
        else:
            await self.indicate(CONTROL, answer + b"\0")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time() - 1000.0
        while True:
            if not self.streaming:
                self._wake.clear()
                await self._wake.wait()
                next_s = loop.time()
            next_s += self.samples / self.rate_hz
            await asyncio.sleep(next_s - loop.time())
            last_s = next_s - begin_s
            t_s = last_s - np.arange(self.samples - 1, -1, -1) / self.rate_hz
            self.frames += 1
            await self.notify(DATA, self.make_frame(last_s, self.acceleration(t_s)))
