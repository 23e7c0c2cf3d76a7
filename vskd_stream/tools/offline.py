"""A recording → what the daemon would have published, without a broker and without waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vskd_stream import __version__
from vskd_stream.announce import Announcer
from vskd_stream.bundle import Bundle
from vskd_stream.classify import Classifier
from vskd_stream.devices import Devices
from vskd_stream.errors import DecodeError
from vskd_stream.payloads import Origin
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.publication import Publication
from vskd_stream.recording import Message, is_bluetooth
from vskd_stream.settings import Settings
from vskd_stream.sources.ble.transcript import Player, device_of
from vskd_stream.tally import Tally
from vskd_stream.window import Window


def play(
    messages: Iterable[Message], *, settings: Settings, bundle: Bundle, classifier: Classifier, tally: Tally
) -> Iterator[tuple[float, list[Publication]]]:
    """When each message came, and what the daemon would have published then; last, after silence.

    The recorded moments of arrival stand in for the clock, so the same recording gives the same bytes.

    Raises:
        RecordingError: The recording is damaged; what came before has been yielded.
    """
    devices = Devices(settings, bundle=bundle, tally=tally)
    player = Player(max_devices=settings.limits.max_devices)
    published: list[Publication] = []
    now_s = 0.0
    announcer = Announcer(
        origin=Origin(settings.gateway, bundle.manifest.name, bundle.sha256, __version__),
        manifest=bundle.manifest,
        publish=published.append,
        utc_s=lambda: now_s,
        scores=settings.publish.scores,
    )

    def announce(cuts: Iterable[tuple[Pipeline, Cut]]) -> list[Publication]:
        for pipeline, cut in cuts:
            window = cut.piece.acc_g if isinstance(cut.piece, Window) else None
            scores = None if window is None else classifier.classify(window[np.newaxis])[0]
            announcer.announce(pipeline, cut, scores)
        taken = published.copy()
        published.clear()
        return taken

    for message in messages:
        now_s = message.arrival_s
        # The daemon's timer would have noticed who fell silent since the last message.
        silent = announce(devices.tick(now_s))
        heard = announce(_received(message, devices=devices, player=player, tally=tally))
        yield now_s, silent + heard
    now_s += settings.no_data_after_s
    yield now_s, announce(devices.tick(now_s))


def _received(
    message: Message, *, devices: Devices, player: Player, tally: Tally
) -> Iterator[tuple[Pipeline, Cut]]:
    if not is_bluetooth(message.topic):
        yield from devices.receive(message.topic, message.payload, arrival_s=message.arrival_s)
        return
    try:
        batches = player.read(message)
    except DecodeError as error:
        tally.drop(device_of(message.topic)[:64], error.reason, error.detail)
        return
    for samples in batches:
        yield from devices.take(samples, arrival_s=message.arrival_s)
