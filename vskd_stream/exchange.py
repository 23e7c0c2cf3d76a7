"""One configuration for another while the daemon serves: no sample, window or event is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from vskd_stream import logs
from vskd_stream.announce import Announcer
from vskd_stream.broker.connection import MqttConnection
from vskd_stream.control import Control
from vskd_stream.dataflow import Dataflow
from vskd_stream.devices import Devices
from vskd_stream.equipment import Equipment
from vskd_stream.feeds import Feeds
from vskd_stream.pipeline import Pipeline
from vskd_stream.presence import Presence
from vskd_stream.topics import will
from vskd_stream.vitals import Vitals


class Exchange:
    """Knows the configuration that is in force, and everyone who is to follow another."""

    def __init__(
        self,
        equipment: Equipment,
        *,
        devices: Devices,
        dataflow: Dataflow,
        feeds: Feeds,
        announcer: Announcer,
        presence: Presence,
        vitals: Vitals,
        control: Control,
        connection: MqttConnection,
        subscriptions: Callable[[], Sequence[str]],
    ) -> None:
        self.equipment = equipment
        """What is in force."""
        self.settled = asyncio.Event()
        """Set while no configuration is being exchanged for another."""
        self.settled.set()
        self._devices = devices
        self._dataflow = dataflow
        self._feeds = feeds
        self._announcer = announcer
        self._presence = presence
        self._vitals = vitals
        self._control = control
        self._connection = connection
        self._subscriptions = subscriptions

    async def to(self, after: Equipment) -> None:
        """Go over to another configuration, all of it good; no sample, window or event is lost by that."""
        self.settled.clear()
        before, self.equipment = self.equipment, after
        settings, is_other_model = after.settings, before.bundle.sha256 != after.bundle.sha256
        if settings.log != before.settings.log:
            logs.configure(settings.log)
        ended, replaced = self._devices.follow(settings, bundle=after.bundle)
        for pipeline, events in ended:
            self._announcer.tell(pipeline, events)
        await self._dataflow.exchange(after, replaced, hand_over=partial(self._hand_over, replaced, after))
        if is_other_model:
            for publication in self._announcer.birth():
                self._connection.greet(publication)
        self._feeds.follow(settings, after.replays)
        self.settled.set()
        await self._connection.follow(
            endpoint=after.endpoint, will=will(origin=after.origin), subscriptions=self._subscriptions()
        )

    def _hand_over(self, replaced: Sequence[tuple[Pipeline, Pipeline]], after: Equipment) -> None:
        settings, origin = after.settings, after.origin
        begun = []
        for pipeline, successor in replaced:
            if self._devices.serves(successor):
                ended, begins = pipeline.hand_over(successor)
                self._announcer.tell(pipeline, ended)
                begun.append((successor, begins))
            else:
                self._announcer.stop(pipeline, reason="paused")
        self._announcer.follow(
            origin=origin,
            manifest=after.bundle.manifest,
            scores=settings.publish.scores,
            event_expiry_s=settings.publish.event_expiry_s,
            silent=settings.silent,
        )
        self._presence.follow(
            discovery=after.discovery,
            forget_after_days=settings.home_assistant.forget_after_days,
            silent=settings.silent,
        )
        self._vitals.follow(origin=origin, no_data_after_s=settings.no_data_after_s, silent=settings.silent)
        self._control.follow(origin=origin)
        for successor, begins in begun:
            self._announcer.tell(successor, begins)
