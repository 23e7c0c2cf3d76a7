"""Messages of all devices → the cuts of each: the daemon and ``vskd replay`` differ only in what follows."""

from __future__ import annotations

from collections.abc import Iterator

from vskd_stream.bundle import Bundle
from vskd_stream.errors import DecodeError
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.samples import Gap
from vskd_stream.settings import Settings
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tally import Tally


class Devices:
    """Every device's pipeline, made when its first samples come, up to the configured number."""

    def __init__(self, settings: Settings, *, bundle: Bundle, tally: Tally) -> None:
        self.reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)
        self._settings = settings
        self._bundle = bundle
        self._tally = tally
        self._pipelines: dict[str, Pipeline] = {}

    def receive(self, topic: str, payload: bytes, *, arrival_s: float) -> Iterator[tuple[Pipeline, Cut]]:
        """Take a message that arrived at ``arrival_s`` (UTC seconds); whatever is wrong with it is told."""
        try:
            batches = self.reader.read(topic, payload)
        except DecodeError as error:
            self._tally.drop(topic[:100], error.reason, error.detail)
            return
        for samples in batches:
            pipeline = self._pipeline(samples.device)
            if pipeline is None:
                self._tally.drop(
                    samples.device, "device_limit", "limits.max_devices other devices are served already"
                )
                continue
            yield from self._told(pipeline, pipeline.cut(samples, arrival_s=arrival_s))

    def tick(self, now_s: float) -> Iterator[tuple[Pipeline, Cut]]:
        """Take the time (UTC seconds), for the devices that have fallen silent."""
        for pipeline in self._pipelines.values():
            yield from self._told(pipeline, pipeline.tick(now_s))

    def __iter__(self) -> Iterator[Pipeline]:
        return iter(self._pipelines.values())

    def __len__(self) -> int:
        return len(self._pipelines)

    def _pipeline(self, device: str) -> Pipeline | None:
        pipeline = self._pipelines.get(device)
        if pipeline is None and len(self._pipelines) < self._settings.limits.max_devices:
            pipeline = self._pipelines[device] = Pipeline(
                device,
                manifest=self._bundle.manifest,
                bundle_sha256=self._bundle.sha256,
                reorder_horizon_s=self._settings.limits.reorder_horizon_s,
                no_data_after_s=self._settings.no_data_after_s,
            )
        return pipeline

    def _told(self, pipeline: Pipeline, cuts: list[Cut]) -> Iterator[tuple[Pipeline, Cut]]:
        for reason, count in pipeline.take_counts().items():
            self._tally.drop(pipeline.device, reason, count=count)
        for cut in cuts:
            if isinstance(cut.piece, Gap):
                self._tally.gap(pipeline.device, cut.piece.reason)
            yield pipeline, cut
