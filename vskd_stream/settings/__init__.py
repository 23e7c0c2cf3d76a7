"""What a configuration file may say: one file a key, named like it; this file is the whole.

Frozen, a unit and a sentence on each field, unknown keys refused. ``config`` reads the file; the decision
parameters are not here but in the bundle's manifest.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictFloat, model_validator

from vskd_stream.errors import LabelError
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.settings.bluetooth import BluetoothDevice
from vskd_stream.settings.broker import Broker, EmbeddedBroker, RemoteBroker, Tls
from vskd_stream.settings.devices import Device
from vskd_stream.settings.home_assistant import HomeAssistant
from vskd_stream.settings.http import Http
from vskd_stream.settings.limits import Limits
from vskd_stream.settings.log import Log
from vskd_stream.settings.model import BundleOrModel, Model
from vskd_stream.settings.outbox import Outbox
from vskd_stream.settings.publish import Publish
from vskd_stream.settings.replay import Replay
from vskd_stream.settings.section import Section
from vskd_stream.settings.sources import MqttSource
from vskd_stream.settings.values import Identifier, is_loopback, is_path

__all__ = [
    "BluetoothDevice",
    "Device",
    "EmbeddedBroker",
    "HomeAssistant",
    "Http",
    "Limits",
    "Log",
    "Model",
    "MqttSource",
    "Outbox",
    "Publish",
    "RemoteBroker",
    "Replay",
    "Settings",
    "Tls",
    "is_loopback",
    "is_path",
]


class Settings(Section):
    """The whole configuration."""

    gateway: Identifier
    """Name of this gateway: the second level of every topic that it publishes."""
    broker: Broker
    """`embedded`, or the broker's address."""
    sources: Annotated[tuple[MqttSource, ...], Field(min_length=1, max_length=256)] = ()
    """Topics that samples come from; the first whose filter matches a topic reads it."""
    bluetooth: Annotated[tuple[BluetoothDevice, ...], Field(max_length=64)] = ()
    """Devices that samples come from without a broker in between."""
    model: BundleOrModel = Model()
    """Which model bundle classifies: a name, a path, or a mapping that pins its hash as well."""
    replay: Annotated[tuple[Replay, ...], Field(max_length=64)] = ()
    """Recordings to publish as watches would."""
    devices: Annotated[dict[Identifier, Device], Field(max_length=10_000)] = {}
    """What is wanted of single devices, by their ids."""
    no_data_after_s: Annotated[StrictFloat, Field(ge=1.0, le=86_400.0)] = 10.0
    """A device that sent nothing for so many seconds is reported as `no_data`."""
    limits: Limits = Limits()
    """Bounds."""
    outbox: Outbox = Outbox()
    """Where events wait until the broker has them."""
    publish: Publish = Publish()
    """What is sent beside events and states."""
    home_assistant: HomeAssistant = HomeAssistant()
    """How devices appear in Home Assistant, by its MQTT discovery."""
    commands: StrictBool = True
    """Take commands on `vskd/<gateway>/cmd/<command>`: whoever may publish there may pause a device."""
    http: Http | None = None
    """Tell health and metrics over HTTP; absent: not at all."""
    log: Log = Log()
    """What the daemon tells on standard error."""

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.sources and not self.bluetooth:
            raise ValueError("samples come from `sources`, `bluetooth` or both; give one of them")
        devices = [each.device for each in self.bluetooth]
        if len(set(devices)) < len(devices):
            raise ValueError("bluetooth: each device needs an id of its own")
        return self

    def preferences(self, device: str) -> Preferences:
        """What is wanted of a device."""
        return self.devices[device].preferences if device in self.devices else NO_PREFERENCES

    @property
    def silent(self) -> tuple[str, ...]:
        """Devices of which nothing is to be told."""
        return tuple(device for device, wanted in self.devices.items() if wanted.silence is True)

    def check_labels(self, labels: Collection[str]) -> None:
        """Check what is said of labels against those of the model.

        Raises:
            LabelError: One is not among ``labels``, or none of them is left.
        """
        for device, wanted in self.devices.items():
            silenced = () if isinstance(wanted.silence, bool) else wanted.silence
            for key, named in (
                ("hold_s", wanted.hold_s),
                ("minimum_s", wanted.minimum_s),
                ("silence", silenced),
                ("never", wanted.never),
            ):
                if strange := sorted(set(named).difference(labels)):
                    raise LabelError(
                        device,
                        key,
                        f"the model knows no {', '.join(strange)}; it knows {', '.join(labels)}",
                    )
            if set(wanted.never).issuperset(labels):
                raise LabelError(device, "never", "that is all that the model knows; leave something")
