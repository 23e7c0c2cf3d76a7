"""Simulated devices, one class a profile: they take what the real ones take, and x counts their samples."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from tests.ble.profiles import wire
from tests.ble.world import Char, Peripheral, World
from vskd_stream.sources.ble.profiles import (
    adafruit,
    arduino,
    bangle,
    microbit,
    movesense,
    thingy52,
    witmotion,
    xsens_dot,
)

G = 9.80665
WRAP = 1000
"""x begins again after so many samples."""


class Simulated(Peripheral):
    """Notifies ``payload(i)`` every ``period_s`` while ``is_on`` and somebody listens."""

    characteristic: str
    period_s = 0.02
    is_on = True

    def __init__(
        self,
        world: World,
        *,
        name: str,
        address: str,
        services: Mapping[str, Sequence[Char]],
        advertised: Sequence[str] = (),
    ) -> None:
        super().__init__(world, name=name, address=address, services=services, advertised=advertised)
        self.writes: list[tuple[str, bytes]] = []
        """What was written: the last part of the characteristic's name here, and the bytes."""
        self.taken = 0
        """Payloads that were due."""

    def payload(self, i: int) -> bytes:
        """The i-th notification."""
        raise NotImplementedError

    late_s = 0.0
    """By how much this busy machine has ever let it oversleep."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s = max(due_s + self.period_s, loop.time() - 1.0)
            await asyncio.sleep(due_s - loop.time())
            self.late_s = max(self.late_s, loop.time() - due_s)
            if self.is_on and self.characteristic in self.subscriptions:
                await self.notify(self.characteristic, self.payload(self.taken))
                self.taken += 1

    def written(self, what: str) -> list[bytes]:
        """What was written there, in order."""
        return [data for name, data in self.writes if name == what]


class SimulatedMicrobit(Simulated):
    """Takes any period that the board has."""

    characteristic = microbit.DATA

    def __init__(self, world: World, address: str) -> None:
        self.period = struct.pack("<H", 80)
        period = Char(microbit.PERIOD, "read,write", lambda: self.period, self._take_period)
        services = {microbit.SERVICE: [Char(microbit.DATA, "read,notify"), period]}
        super().__init__(world, name="BBC micro:bit [zu]", address=address, services=services)

    def _take_period(self, data: bytes) -> None:
        self.writes.append(("period", data))
        (period_ms,) = struct.unpack("<H", data)
        assert period_ms >= 2, "this crashes the board"
        self.period, self.period_s = data, period_ms / 1000

    def payload(self, i: int) -> bytes:
        return wire.microbit(-(i % WRAP), 0, -1024)


class SimulatedThingy52(Simulated):
    """Has the rate that was written to its configuration."""

    characteristic = thingy52.RAW

    def __init__(self, world: World, address: str) -> None:
        self.config = struct.pack("<HHHHB", 1000, 500, 500, 10, 1)
        config = Char(thingy52.CONFIG, "read,write", lambda: self.config, self._take_config)
        services = {thingy52.SERVICE: [config, Char(thingy52.RAW, "notify")]}
        super().__init__(world, name="Thingy", address=address, services=services)

    def _take_config(self, data: bytes) -> None:
        self.writes.append(("config", data))
        self.config = data
        self.period_s = 1 / struct.unpack("<HHHHB", data)[3]

    def payload(self, i: int) -> bytes:
        return wire.thingy52((-(i % WRAP), 0, -1024), (32, 0, 0))


class SimulatedAdafruit(Simulated):
    """A board with two services, each of which has a period."""

    characteristic = adafruit.DATA
    is_on = False

    def __init__(self, world: World, address: str) -> None:
        self.period = struct.pack("<i", 1000)
        uuid = adafruit.PERIOD.partition("/")[2]
        temperature = adafruit.SERVICE.replace("adaf0200", "adaf0100")
        services = {
            temperature: [Char(uuid, "read,write", lambda: bytes(4), lambda data: self._refuse())],
            adafruit.SERVICE: [
                Char(uuid, "read,write", lambda: self.period, self._take_period),
                Char(adafruit.DATA, "read,notify"),
            ],
        }
        super().__init__(
            world, name="CPlay", address=address, services=services, advertised=[adafruit.SERVICE]
        )

    def _refuse(self) -> None:
        raise AssertionError("this is the thermometer's period")

    def _take_period(self, data: bytes) -> None:
        self.writes.append(("period", data))
        (period_ms,) = struct.unpack("<i", data)
        self.period, self.is_on = data, period_ms >= 0
        self.period_s = max(period_ms, 1) / 1000

    def payload(self, i: int) -> bytes:
        return wire.floats(i % WRAP / WRAP * G, 0, G)


class SimulatedArduino(Simulated):
    """Sends 50 times a second, and knows nothing else."""

    characteristic = arduino.DATA

    def __init__(self, world: World, address: str) -> None:
        services = {arduino.SERVICE: [Char(arduino.DATA, "notify")]}
        super().__init__(world, name="BLESense-4F2A", address=address, services=services)

    def payload(self, i: int) -> bytes:
        return wire.floats(i % WRAP / WRAP, 0, 1)


class SimulatedXsensDot(Simulated):
    """Measures between start and stop, on a clock that is about to wrap."""

    characteristic = xsens_dot.DATA
    is_on = False
    period_s = 1 / 60

    def __init__(self, world: World, address: str) -> None:
        self.settings = bytes(24) + struct.pack("<H", 60) + bytes(6)
        services = {
            "15171000-4947-11e9-8646-d663bd873d93": [
                Char(xsens_dot.SETTINGS, "read,write", lambda: self.settings, self._take_settings)
            ],
            "15172000-4947-11e9-8646-d663bd873d93": [
                Char(xsens_dot.CONTROL, "read,write", write=self._take_control),
                Char(xsens_dot.DATA, "notify"),
            ],
        }
        super().__init__(world, name="Xsens DOT", address=address, services=services)

    def _take_settings(self, data: bytes) -> None:
        self.writes.append(("settings", data))
        assert data[0] == 4
        self.settings = bytes(24) + data[24:26] + bytes(6)
        self.period_s = 1 / struct.unpack("<H", data[24:26])[0]

    def _take_control(self, data: bytes) -> None:
        self.writes.append(("control", data))
        self.is_on = data[1] == 1

    def payload(self, i: int) -> bytes:
        tick_us = 2**32 - 300_000 + round(i * self.period_s * 1e6)
        return wire.xsens(tick_us, (i % WRAP / WRAP * G, 0, G), (1, 0, 0))


class SimulatedWitMotion(Simulated):
    """Sends two frames at a time, cut where nobody would cut them."""

    characteristic = witmotion.DATA
    period_s = 0.2

    def __init__(self, world: World, address: str) -> None:
        services = {
            witmotion.SERVICE: [
                Char(witmotion.DATA, "notify"),
                Char(witmotion.COMMAND, "write,write_without_response", write=self._take_command),
            ]
        }
        super().__init__(world, name="WT901BLE67", address=address, services=services)

    def _take_command(self, data: bytes) -> None:
        self.writes.append(("command", data))
        if data[:3] == b"\xff\xaa\x03":
            self.period_s = 2 / {6: 10, 8: 50, 9: 100, 11: 200}[data[3]]

    def payload(self, i: int) -> bytes:
        frames = b"".join(
            wire.witmotion((k % WRAP, 0, 2048), (16, 0, 0)) for k in range(2 * i - 2, 2 * i + 2)
        )
        return frames[33:73] if i else frames[40:73]


class SimulatedMovesense(Simulated):
    """Streams what was subscribed to; what is longer than 60 bytes in two parts."""

    characteristic = movesense.DATA
    is_on = False

    def __init__(self, world: World, address: str) -> None:
        services = {
            movesense.SERVICE: [
                Char(movesense.COMMAND, "write", write=self._take_command),
                Char(movesense.DATA, "notify"),
            ]
        }
        super().__init__(world, name="Movesense 1746", address=address, services=services)
        self.reference, self.gyro, self.rate_hz = 0, False, 52

    def _take_command(self, data: bytes) -> None:
        self.writes.append(("command", data))
        code, self.reference = data[0], data[1]
        self.is_on = code == 1
        if code == 1:
            path = re.fullmatch(rb"/Meas/(Acc|IMU6)/(\d+)\0", data[2:])
            assert path is not None
            self.gyro, self.rate_hz = path[1] == b"IMU6", int(path[2])
            self.period_s = 4 / self.rate_hz
        self._world.spawn(self.notify(movesense.DATA, bytes([1, self.reference, 200, 0])))

    def payload(self, i: int) -> bytes:
        acc = [((4 * i + k) % WRAP / WRAP * G, 0.0, G) for k in range(4)]
        gyro = [(1.0, 0.0, 0.0)] * 4 if self.gyro else ()
        return wire.movesense(7000 + round(4000 * i / self.rate_hz), acc, gyro, reference=self.reference)

    async def notify(self, uuid: str, data: bytes) -> None:
        parts = wire.movesense_parts(data, 60) if len(data) > 60 else (data,)
        for part in parts:
            await super().notify(uuid, part)


class SimulatedBangle(Simulated):
    """A prompt that knows three commands, and prints what a prompt prints."""

    characteristic = bangle.NOTIFY
    is_on = False
    samples = 0

    def __init__(self, world: World, address: str) -> None:
        services = {
            bangle.SERVICE: [
                Char(bangle.WRITE, "write,write_without_response", write=self._type),
                Char(bangle.NOTIFY, "notify"),
            ]
        }
        super().__init__(world, name="Bangle.js 2a4f", address=address, services=services)
        self._line = b""

    def _type(self, data: bytes) -> None:
        self._line += data
        if not self._line.endswith(b"\n"):
            return
        line, self._line = self._line, b""
        self.writes.append(("line", line))
        if b"if(1){" in line:
            program = re.search(rb"var n = (\d+);.* (\d+) : 12500;", line)
            assert program is not None
            self.samples, rate_hz = int(program[1]), int(program[2]) / 1000
            self.period_s = self.samples / rate_hz
            self.is_on = True
            self._print(wire.bangle_greeting(rate_hz=rate_hz))
        else:
            self.is_on = False
            self._print(b"\r\n ____                 _ \r\n>")

    def _print(self, data: bytes) -> None:
        self._world.spawn(self.notify(bangle.NOTIFY, data))

    def payload(self, i: int) -> bytes:
        raw = [((self.samples * i + k) % WRAP, 0, -4096) for k in range(self.samples)]
        return wire.bangle(65_534 + i, 2**32 - 500 + round(1000 * i * self.period_s), raw)

    async def notify(self, uuid: str, data: bytes) -> None:
        # As over a connection with the shortest packets.
        for place in range(0, len(data), 20):
            await super().notify(uuid, data[place : place + 20])


class SimulatedBand(Simulated):
    """A device of nobody's, with a number and a time in each packet of five."""

    characteristic = "7a5b0002-3c1e-4f6a-9d2e-5a0c1b2d3e4f"
    period_s = 0.1
    is_on = False
    description: Mapping[str, Any] = {
        "characteristic": characteristic,
        "sampling_rate_hz": 50,
        "layout": [
            {"sequence": "u8"},
            {"tick": "u16", "rate_hz": 1000},
            {"samples": ["x", "y", "z"], "type": "i16", "count": "fill"},
        ],
        "acc": {"unit": "g", "scale": "1/4096", "range_g": 8},
        "start": [{"characteristic": "7a5b0003-3c1e-4f6a-9d2e-5a0c1b2d3e4f", "data": "01"}],
        "stop": [{"characteristic": "7a5b0003-3c1e-4f6a-9d2e-5a0c1b2d3e4f", "data": "00"}],
    }

    def __init__(self, world: World, address: str) -> None:
        services = {
            "7a5b0001-3c1e-4f6a-9d2e-5a0c1b2d3e4f": [
                Char(self.characteristic, "notify"),
                Char("7a5b0003-3c1e-4f6a-9d2e-5a0c1b2d3e4f", "write", write=self._switch),
            ]
        }
        super().__init__(world, name="Band", address=address, services=services)

    def _switch(self, data: bytes) -> None:
        self.writes.append(("switch", data))
        self.is_on = data == b"\x01"

    def payload(self, i: int) -> bytes:
        raw = b"".join(struct.pack("<3h", (5 * i + k) % WRAP, 0, 4096) for k in range(5))
        return struct.pack("<BH", i % 256, (65_000 + i * 100) % 65_536) + raw
