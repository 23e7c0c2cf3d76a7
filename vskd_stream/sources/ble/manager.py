"""All Bluetooth devices of a configuration: one radio for each adapter, one stream for each device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from vskd_stream.errors import OptionError
from vskd_stream.health import Limits
from vskd_stream.settings import BluetoothDevice
from vskd_stream.sources.ble.claims import Claims
from vskd_stream.sources.ble.connection import Deliver
from vskd_stream.sources.ble.patience import Patience
from vskd_stream.sources.ble.profile import Advertisement, Profile
from vskd_stream.sources.ble.profiles import PROFILES
from vskd_stream.sources.ble.radio import Backends, Radio
from vskd_stream.sources.ble.status import Status
from vskd_stream.sources.ble.steady import SteadyClock
from vskd_stream.sources.ble.stream import Stream
from vskd_stream.sources.ble.transcript import Take
from vskd_stream.tally import Tally


class Manager:
    """Streams the devices until cancelled, whatever Bluetooth does; then each is told to stop."""

    def __init__(
        self,
        devices: Sequence[BluetoothDevice],
        *,
        deliver: Deliver,
        tally: Tally,
        patience: Patience | None = None,
        backends: Backends | None = None,
        transcribe: Take | None = None,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        """``deliver(samples, arrival_s)`` and ``transcribe(message)`` are called on the event loop.

        Raises:
            OptionError: A device's profile is not known, or does not take its options.
        """
        patience = patience or Patience()
        claims = Claims()
        steady_s = SteadyClock(utc_s=utc_s)
        self._radios = {
            adapter: Radio(adapter, patience=patience, backends=backends, utc_s=utc_s, steady_s=steady_s)
            for adapter in {device.adapter for device in devices}
        }
        self._streams = [
            Stream(
                settings.device,
                profile=profile,
                options=settings.options,
                fits=_fits(settings, profile),
                radio=self._radios[settings.adapter],
                claims=claims,
                deliver=deliver,
                tally=tally,
                patience=patience,
                transcribe=transcribe,
            )
            for settings in devices
            for profile in [_profile(settings)]
        ]

    @property
    def statuses(self) -> tuple[Status, ...]:
        """How each device is doing, in the order of the configuration."""
        return tuple(stream.status for stream in self._streams)

    def limits(self) -> Iterator[tuple[str, Limits]]:
        """What the devices that have streamed cannot do better."""
        for status in self.statuses:
            if status.traits is not None:
                yield status.device, status.traits.limits

    async def run(self) -> None:
        """Stream until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for adapter, radio in self._radios.items():
                tasks.create_task(radio.run(), name=f"bluetooth {adapter or 'adapter'}")
            for stream in self._streams:
                tasks.create_task(stream.run(), name=f"bluetooth {stream.status.device}")


def _profile(settings: BluetoothDevice) -> Profile:
    profile = PROFILES.get(settings.profile)
    if profile is None:
        known = ", ".join(PROFILES)
        raise OptionError(settings.device, f"profile {settings.profile} is not known; known are {known}")
    return profile


def _fits(settings: BluetoothDevice, profile: Profile) -> Callable[[Advertisement], bool]:
    """How the device is recognised: by its address, name or service, or else by its profile."""
    if settings.address is not None:
        address = settings.address.upper()
        return lambda advertisement: advertisement.address.upper() == address
    if settings.name is not None:
        name = settings.name
        if name.endswith("*"):
            return lambda advertisement: advertisement.name.startswith(name[:-1])
        return lambda advertisement: advertisement.name == name
    if settings.service is not None:
        service = settings.service
        return lambda advertisement: service in advertisement.service_uuids
    return profile.matches
