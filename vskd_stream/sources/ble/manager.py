"""All Bluetooth devices of a configuration: one radio for each adapter, one stream for each device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

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
        self._make_radio = partial(
            Radio, patience=patience, backends=backends, utc_s=utc_s, steady_s=steady_s
        )
        self._make_stream = partial(
            Stream, claims=claims, deliver=deliver, tally=tally, patience=patience, transcribe=transcribe
        )
        self._claims = claims
        self._radios: dict[str | None, Radio] = {}
        self._streams: dict[str, tuple[BluetoothDevice, Stream]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._order: tuple[str, ...] = ()
        self.exchange(devices)

    @property
    def statuses(self) -> tuple[Status, ...]:
        """How each device is doing, in the order of the configuration."""
        return tuple(self._streams[device][1].status for device in self._order)

    def limits(self) -> Iterator[tuple[str, Limits]]:
        """What the devices that have streamed cannot do better."""
        for status in self.statuses:
            if status.traits is not None:
                yield status.device, status.traits.limits

    async def run(self) -> None:
        """Stream until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for adapter in self._radios:
                self._run_radio(adapter)
            for device in self._streams:
                self._run_stream(device)
            # There may be no device left, or none yet.
            await asyncio.Event().wait()

    def exchange(self, devices: Sequence[BluetoothDevice]) -> None:
        """Stream these devices from now on; those that are as they were are not disturbed.

        Raises:
            OptionError: As above; then everything stays as it was.
        """
        check(devices)
        wanted = {settings.device: settings for settings in devices}
        for device, (settings, _) in list(self._streams.items()):
            if wanted.get(device) != settings:
                self._end(device)
        for device, settings in wanted.items():
            if device in self._streams:
                continue
            if settings.adapter not in self._radios:
                self._radios[settings.adapter] = self._make_radio(settings.adapter)
                self._run_radio(settings.adapter)
            profile = _profile(settings)
            stream = self._make_stream(
                device,
                profile=profile,
                options=settings.options,
                fits=_fits(settings, profile),
                radio=self._radios[settings.adapter],
            )
            self._streams[device] = settings, stream
            self._run_stream(device)
        self._order = tuple(wanted)

    def _end(self, device: str) -> None:
        del self._streams[device]
        if device in self._running:
            task = self._running.pop(device)
            task.add_done_callback(partial(self._ended, device))
            task.cancel()

    def _ended(self, device: str, _: object) -> None:
        """It has told its device to stop: another one may have that, unless it was only changed."""
        if device not in self._streams:
            self._claims.release(device)

    def _run_radio(self, adapter: str | None) -> None:
        if self._tasks is not None:
            name = f"bluetooth {adapter or 'adapter'}"
            self._tasks.create_task(self._radios[adapter].run(), name=name)

    def _run_stream(self, device: str) -> None:
        if self._tasks is not None:
            stream = self._streams[device][1]
            self._running[device] = self._tasks.create_task(stream.run(), name=f"bluetooth {device}")


def check(devices: Sequence[BluetoothDevice]) -> None:
    """Raises OptionError: A device's profile is not known, or does not take its options."""
    for settings in devices:
        _profile(settings).session(settings.device, settings.options)


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
