"""The layout of a packet, as a declarative profile describes it → sequence number, tick and samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vskd_stream.decode.limits import MAX_SAMPLES, refusal

IntType = Literal["u8", "u16", "u32", "u64"]
"""Of a sequence number or a tick."""
ValueType = Literal["i8", "u8", "i16", "u16", "i32", "u32", "f32", "f64"]
"""Of a measured value."""
ByteOrder = Literal["little", "big"]

_NUMPY: Final = {"i": "i", "u": "u", "f": "f"}
AXES: Final = ("x", "y", "z")
GYRO_AXES: Final = ("gx", "gy", "gz")
UNUSED: Final = "_"


def size_of(kind: IntType | ValueType) -> int:
    """Bytes of a number."""
    return int(kind[1:]) // 8


@dataclass(frozen=True, slots=True)
class Constant:
    """Bytes that always stand there, or, without any, ``skip`` bytes that do not matter."""

    expected: bytes
    skip: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.expected) or self.skip


@dataclass(frozen=True, slots=True)
class Number:
    """A sequence number or a tick."""

    role: Literal["sequence", "tick"]
    kind: IntType

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.kind)


@dataclass(frozen=True, slots=True)
class Block:
    """Samples, one after the other, each with a value for every column."""

    columns: tuple[str, ...]
    """x, y, z of acceleration, gx, gy, gz of angular rate, each with a minus to turn it, or _ for others."""
    kind: ValueType
    count: int | None
    """None: as many as the packet has room for."""

    @property
    def sample_size(self) -> int:
        """Bytes of one sample."""
        return size_of(self.kind) * len(self.columns)


Part = Constant | Number | Block


@dataclass(frozen=True, slots=True)
class Packet:
    """What a packet holds; values as they were sent."""

    sequence: int | None
    tick: int | None
    acc: NDArray[np.float64]
    """(n, 3)"""
    gyro: NDArray[np.float64] | None
    """(n, 3)"""


class Layout:
    """Reads packets of one layout."""

    def __init__(self, parts: tuple[Part, ...], *, byte_order: ByteOrder) -> None:
        """Take parts of which one block at most has no count.

        Raises:
            ValueError: They describe no packet with samples; the text says why.
        """
        blocks = [part for part in parts if isinstance(part, Block)]
        _check_columns([name.lstrip("-") for block in blocks for name in block.columns])
        for role in ("sequence", "tick"):
            if sum(isinstance(part, Number) and part.role == role for part in parts) > 1:
                raise ValueError(f"the layout has more than one {role}")
        self._filling = [block for block in blocks if block.count is None]
        if len(self._filling) > 1:
            raise ValueError("more than one samples block has `count: fill`; where one ends nobody can tell")
        if not self._filling and len({block.count for block in blocks}) > 1:
            raise ValueError("the samples blocks differ in count; each sample needs all its values")
        self.bits: dict[str, int] = {part.role: 8 * part.size for part in parts if isinstance(part, Number)}
        """Of the numbers that the layout has, by role."""
        self._parts = parts
        self._order = "<" if byte_order == "little" else ">"
        self._fixed_size = sum(
            part.sample_size * (part.count or 0) if isinstance(part, Block) else part.size for part in parts
        )

    def parse(self, data: bytes) -> Packet:
        """Read a packet.

        Raises:
            DecodeError: "malformed", or "too_many_samples".
        """
        filled = self._filled(len(data))
        numbers: dict[str, int] = {}
        columns: dict[str, NDArray[np.float64]] = {}
        place = 0
        for part in self._parts:
            if isinstance(part, Block):
                count = filled if part.count is None else part.count
                end = place + part.sample_size * count
                columns |= self._columns(part, data[place:end])
            else:
                end = place + part.size
                if isinstance(part, Number):
                    numbers[part.role] = self._integer(data[place:end])
                elif part.expected and data[place:end] != part.expected:
                    raise refusal(
                        "malformed",
                        f"{data[place:end].hex()} at byte {place}, where {part.expected.hex()} must stand",
                    )
            place = end
        acc = _stacked(columns, AXES)
        gyro = _stacked(columns, GYRO_AXES) if GYRO_AXES[0] in columns else None
        if gyro is not None and len(gyro) != len(acc):
            raise refusal("malformed", f"{len(acc)} accelerations and {len(gyro)} angular rates")
        return Packet(numbers.get("sequence"), numbers.get("tick"), acc, gyro)

    def _filled(self, size: int) -> int:
        rest = size - self._fixed_size
        if not self._filling:
            if rest:
                raise refusal("malformed", f"a packet of {size} bytes; the layout has {self._fixed_size}")
            return 0
        count, left = divmod(rest, self._filling[0].sample_size)
        if count < 1 or left:
            raise refusal(
                "malformed",
                f"a packet of {size} bytes; the layout has {self._fixed_size} and "
                f"{self._filling[0].sample_size} for each sample",
            )
        if count > MAX_SAMPLES:
            raise refusal("too_many_samples", f"{count} samples in a packet, at most {MAX_SAMPLES} are taken")
        return count

    def _integer(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self._order == "<" else "big")

    def _columns(self, block: Block, data: bytes) -> dict[str, NDArray[np.float64]]:
        dtype = f"{self._order}{_NUMPY[block.kind[0]]}{size_of(block.kind)}"
        # A signalling NaN would warn here; it is refused with all others that are not finite.
        with np.errstate(invalid="ignore"):
            values = np.frombuffer(data, dtype).reshape(-1, len(block.columns)).astype(np.float64)
        return {
            name.lstrip("-"): -values[:, i] if name.startswith("-") else values[:, i]
            for i, name in enumerate(block.columns)
            if name != UNUSED
        }


def _stacked(columns: dict[str, NDArray[np.float64]], names: tuple[str, ...]) -> NDArray[np.float64]:
    if len({len(columns[name]) for name in names}) > 1:
        raise refusal("malformed", f"the axes {', '.join(names)} differ in the number of their samples")
    return np.stack([columns[name] for name in names], axis=1)


def _check_columns(names: list[str]) -> None:
    named = [name for name in names if name != UNUSED]
    for name in named:
        if named.count(name) > 1:
            raise ValueError(f"the axis {name} stands more than once in the layout")
    if missing := [name for name in AXES if name not in named]:
        raise ValueError(f"the layout has no {', '.join(missing)}: acceleration needs x, y and z")
    some = [name for name in GYRO_AXES if name in named]
    if some and len(some) < len(GYRO_AXES):
        raise ValueError("the layout has some of gx, gy and gz; angular rate needs all of them, or none")
