"""What the sessions of devices without a clock share: every notification is samples, dated by counting."""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vskd_stream.decode.limits import make_samples, refusal
from vskd_stream.errors import LinkError
from vskd_stream.samples import Samples
from vskd_stream.sources.ble.profile import Agreed, Link, Traits, parse_agreed
from vskd_stream.sources.ble.timing import SampleCounter

FLOAT: Final = "<f4"
"""Little-endian IEEE single precision."""
INT16: Final = "<i2"
"""Little-endian 16-bit integer."""


def vectors(data: bytes, *, dtype: str, columns: int, what: str) -> NDArray[np.float64]:
    """Read whole rows of ``columns`` numbers; (n, columns), n >= 1.

    Raises:
        DecodeError: "malformed": there is none, or it ends within one.
    """
    size = np.dtype(dtype).itemsize * columns
    if not data or len(data) % size:
        raise refusal("malformed", f"{what} of {len(data)} bytes is no whole number of {size}-byte samples")
    # A signalling NaN would warn here; it is refused with all others that are not finite.
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, dtype).reshape(-1, columns).astype(np.float64)


class CountedAgreed(Agreed):
    """What a device that is counted has agreed to."""

    sampling_rate_hz: Annotated[float, Field(gt=0, le=1000)] | None = None
    """None: nothing yet."""


class CountedSession:
    """One connection of a device that sends samples without times or numbers.

    What comes before ``start`` has agreed on a rate is of an unknown one, and is left out.
    """

    def __init__(self, device: str, traits: Traits) -> None:
        self._device = device
        self._traits = traits
        self._counter: SampleCounter | None = None
        self.agreed = CountedAgreed()

    @property
    def traits(self) -> Traits:
        """The stream's limits."""
        return self._traits

    def resume(self, agreed: bytes) -> None:
        """Count as ``profile.Session`` has it."""
        self._begin(parse_agreed(CountedAgreed, agreed))

    async def stop(self, link: Link) -> None:
        """Nothing to do: such a device streams to its subscriber, and the subscription ends with the link."""

    def _agree(self, sampling_rate_hz: float) -> None:
        """Count from now on, at the rate that the device has agreed to."""
        self._begin(CountedAgreed(sampling_rate_hz=sampling_rate_hz))

    async def _agree_on_period(
        self, link: Link, uuid: str, *, period_ms: int, form: Struct, slowest_ms: int
    ) -> None:
        """Ask for a period, and count from now on by the one that the device then keeps.

        Raises:
            LinkError: It keeps none that samples could come at.
        """
        await link.write(uuid, form.pack(period_ms))
        answer = await link.read(uuid)
        (kept_ms,) = form.unpack(answer) if len(answer) == form.size else (0,)
        if not 0 < kept_ms <= slowest_ms:
            raise LinkError(self._device, f"it says that its period is {answer.hex() or 'empty'}; restart it")
        self._agree(1000.0 / kept_ms)

    def _begin(self, agreed: CountedAgreed) -> None:
        self.agreed = agreed
        rate_hz = agreed.sampling_rate_hz
        self._counter = None if rate_hz is None else SampleCounter(rate_hz)
        if rate_hz is not None:
            self._traits = replace(self._traits, sampling_rate_hz=rate_hz)

    def _dated(
        self,
        acc_g: NDArray[np.float64],
        *,
        arrival_s: float,
        gyro_dps: NDArray[np.float64] | None = None,
        discarded: int = 0,
    ) -> list[Samples]:
        """Make (n, 3) ``Samples`` of what came at ``arrival_s``."""
        if self._counter is None:
            return []
        return [
            make_samples(
                device=self._device,
                # What is refused now has been a sample as well: it leaves a hole, not a shift.
                t_s=self._counter.take(len(acc_g), arrival_s=arrival_s),
                acc_g=acc_g,
                sampling_rate_hz=self._traits.sampling_rate_hz,
                epoch="device",
                gyro_dps=gyro_dps,
                discarded=discarded,
            )
        ]
