"""Messages of all devices → the cuts of each: the daemon and ``vskd replay`` differ only in what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice

from vskd_stream.bundle import Bundle
from vskd_stream.errors import DecodeError, VskdError
from vskd_stream.events import ActivityEvent
from vskd_stream.health import UNLIMITED, Health, HealthMonitor, Limits
from vskd_stream.ledger import Flow, Ledger
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.samples import Gap, Samples
from vskd_stream.settings import Settings
from vskd_stream.sources.mqtt import MqttReader
from vskd_stream.tally import Tally


class Devices:
    """Every device's pipeline, made when its first samples come, up to the configured number."""

    def __init__(self, settings: Settings, *, bundle: Bundle, tally: Tally) -> None:
        """VskdError: the settings name a label that the bundle does not know."""
        settings.check_labels(bundle.manifest.labels)
        self.reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)
        self._settings = settings
        self._bundle = bundle
        self._tally = tally
        self._pipelines: dict[str, Pipeline] = {}
        self._monitors: dict[str, HealthMonitor] = {}
        self._ledgers: dict[str, Ledger] = {}
        self.unserved = Flow()
        """Samples of devices beyond ``limits.max_devices``."""
        self._limits: dict[str, Limits] = {}
        self._paused: set[str] = set()

    def follow(
        self, settings: Settings, *, bundle: Bundle
    ) -> tuple[list[tuple[Pipeline, list[ActivityEvent]]], list[tuple[Pipeline, Pipeline]]]:
        """Serve by another configuration from now on.

        Returns:
            What that ends at once; and, with another bundle, the pipelines that are replaced, each with its
            successor: they still decide on what they have cut.

        Raises:
            VskdError: The settings name a label that the bundle does not know; nothing has changed then.
        """
        settings.check_labels(bundle.manifest.labels)
        is_same_model = bundle.sha256 == self._bundle.sha256
        self._settings, self._bundle = settings, bundle
        self.reader = MqttReader(settings.sources, max_payload_bytes=settings.limits.max_payload_bytes)
        ended, replaced = [], []
        for device, pipeline in self._pipelines.items():
            wanted = settings.preferences(device)
            if is_same_model:
                pipeline.follow(no_data_after_s=settings.no_data_after_s)
                if wanted != pipeline.preferences:
                    ended.append((pipeline, pipeline.prefer(wanted)))
                continue
            if wanted.silent:
                # At once means before what waits for the old model.
                ended.append((pipeline, pipeline.prefer(wanted)))
            successor = pipeline.under(
                bundle.manifest,
                bundle_sha256=bundle.sha256,
                no_data_after_s=settings.no_data_after_s,
                preferences=wanted,
            )
            replaced.append((pipeline, successor))
        for pipeline, successor in replaced:
            self._pipelines[pipeline.device] = successor
        return ended, replaced

    def receive(self, topic: str, payload: bytes, *, arrival_s: float) -> list[tuple[Pipeline, Cut]]:
        """Take a message that arrived at ``arrival_s`` (UTC seconds); whatever is wrong with it is told."""
        try:
            batches = self.reader.read(topic, payload)
        except DecodeError as error:
            self._tally.drop(topic[:100], error.reason, error.detail)
            return []
        horizon_s = self._settings.limits.reorder_horizon_s
        if len(batches) == 1:
            return self._take(batches[0], arrival_s, horizon_s)
        return [piece for samples in batches for piece in self._take(samples, arrival_s, horizon_s)]

    def take(self, samples: Samples, *, arrival_s: float) -> list[tuple[Pipeline, Cut]]:
        """Take a batch from a source that keeps the order, so that nothing missing is waited for."""
        return self._take(samples, arrival_s, 0.0)

    def tick(self, now_s: float, *, most: int | None = None) -> Iterator[tuple[Pipeline, Cut]]:
        """Take the time (UTC seconds), for the devices that have fallen silent; so many of them at most."""
        silent = (pipeline for pipeline in self._pipelines.values() if pipeline.is_silent(now_s))
        for pipeline in islice(silent, most):
            cuts = pipeline.tick(now_s)
            for cut in cuts:
                if isinstance(cut.piece, Gap):
                    self._monitors[pipeline.device].gap(cut.piece.reason, now_s=now_s)
            yield from self._told(pipeline, cuts, pipeline.take_counts())

    def skipped(self, device: str, now_s: float) -> None:
        """Take that a window of a device was not classified, because there were too many."""
        self._monitors[device].skip(now_s=now_s)

    @property
    def names(self) -> AbstractSet[str]:
        """Every device that was heard."""
        return self._monitors.keys()

    def monitors(self) -> Iterator[tuple[str, HealthMonitor]]:
        """What is known of every device's samples; nothing of one that is not to be told of."""
        for device in self._monitors:
            if monitor := self.monitor(device):
                yield device, monitor

    def monitor(self, device: str) -> HealthMonitor | None:
        """What is known of a device's samples; None if it was never heard, or is not to be told of."""
        pipeline = self._pipelines.get(device)
        is_silent = pipeline is not None and pipeline.preferences.silent
        return None if is_silent else self._monitors.get(device)

    def ledgers(self) -> Iterator[Ledger]:
        """Of every device, those that are not to be told of included."""
        return iter(self._ledgers.values())

    def ledger(self, device: str) -> Ledger:
        """What became of a device's samples and windows; KeyError if it was never heard."""
        return self._ledgers[device]

    def health(self, device: str, now_s: float) -> Health | None:
        """How well a device's samples arrived until ``now_s`` (UTC seconds); None while it is paused."""
        pipeline = self._pipelines.get(device)
        if pipeline is None:
            return None
        limits = self._limits.get(device, UNLIMITED)
        return self._monitors[device].read(
            now_s, fit=pipeline.clock_fit, limits=limits, turned_deg=pipeline.turned_deg
        )

    def limit(self, device: str, limits: Limits) -> None:
        """Grade a device of the configuration by what it cannot do better."""
        self._limits[device] = limits

    def is_paused(self, device: str) -> bool:
        """Whether the device's samples are dropped."""
        return device in self._paused

    def serves(self, pipeline: Pipeline) -> bool:
        """Whether this pipeline is still its device's: not after a pause."""
        return self._pipelines.get(pipeline.device) is pipeline

    def pause(self, device: str) -> Pipeline | None:
        """Drop a device's samples from now on; returns the pipeline to be stopped, None if it was paused.

        Raises:
            VskdError: The device has not been heard.
        """
        self._check_known(device)
        self._paused.add(device)
        pipeline = self._pipelines.pop(device, None)
        if pipeline is not None:
            pipeline.abandon("paused")
        return pipeline

    def resume(self, device: str) -> None:
        """Take a device's samples again, with nothing remembered of those before.

        Raises:
            VskdError: The device has not been heard.
        """
        self._check_known(device)
        self._paused.discard(device)

    def __iter__(self) -> Iterator[Pipeline]:
        return iter(self._pipelines.values())

    def __len__(self) -> int:
        return len(self._pipelines)

    def _take(
        self, samples: Samples, arrival_s: float, reorder_horizon_s: float
    ) -> list[tuple[Pipeline, Cut]]:
        device = samples.device
        pipeline = self._pipelines.get(device) or self._begin(samples, arrival_s, reorder_horizon_s)
        if pipeline is None:
            return []
        cuts = pipeline.cut(samples, arrival_s=arrival_s)
        counts = pipeline.take_counts()
        gaps = [cut.piece.reason for cut in cuts if isinstance(cut.piece, Gap)] if cuts else []
        self._monitors[device].observe(
            samples,
            arrival_s=arrival_s,
            counts=counts,
            gaps=gaps,
            windows=len(cuts) - len(gaps),
            clock=pipeline.clock_kind,
        )
        return self._told(pipeline, cuts, counts) if counts or gaps else [(pipeline, cut) for cut in cuts]

    def _begin(self, samples: Samples, arrival_s: float, reorder_horizon_s: float) -> Pipeline | None:
        """The pipeline of a device that had none; None, and the samples are dropped, if it may have none."""
        device = samples.device
        if device in self._paused:
            self._monitors[device].heard(arrival_s)
            _refuse(self._ledgers[device].samples, samples, "paused")
            self._tally.drop(device, "paused", "until the command resume")
            return None
        # One that was paused and resumed has its place still.
        if device not in self._monitors and len(self._monitors) >= self._settings.limits.max_devices:
            _refuse(self.unserved, samples, "device_limit")
            self._tally.drop(device, "device_limit", "limits.max_devices other devices are served already")
            return None
        self._monitors[device] = HealthMonitor()
        pipeline = self._pipelines[device] = Pipeline(
            device,
            manifest=self._bundle.manifest,
            bundle_sha256=self._bundle.sha256,
            reorder_horizon_s=reorder_horizon_s,
            no_data_after_s=self._settings.no_data_after_s,
            preferences=self._settings.preferences(device),
            ledger=self._ledgers.setdefault(device, Ledger()),
        )
        return pipeline

    def _check_known(self, device: str) -> None:
        pipeline = self._pipelines.get(device)
        is_silent = pipeline is not None and pipeline.preferences.silent
        # Of a device that is not to be told of, nobody learns even that it is there.
        if device not in self._monitors or is_silent:
            raise VskdError(f"no device {device!r} has been heard since the gateway started")

    def _told(
        self, pipeline: Pipeline, cuts: list[Cut], counts: Mapping[str, int]
    ) -> list[tuple[Pipeline, Cut]]:
        for reason, count in counts.items():
            self._tally.drop(pipeline.device, reason, count=count)
        for cut in cuts:
            if isinstance(cut.piece, Gap):
                self._tally.gap(pipeline.device, cut.piece.reason, cut.piece.detail)
                pipeline.ledger.gaps[cut.piece.reason] += 1
        return [(pipeline, cut) for cut in cuts]


def _refuse(flow: Flow, samples: Samples, reason: str) -> None:
    flow.taken += len(samples) + samples.discarded
    flow.drop(reason, len(samples) + samples.discarded)
