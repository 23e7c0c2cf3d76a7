"""``vskd bench``: what this machine can do with a model, stage by stage; broker and network not included.

Every figure is a median of many turns, on one core but for the model's threads. Whoever needs the whole
way, with a broker and a load of its own process, runs ``python -m tests.bench.capacity`` from a clone.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vskd_stream import runtime
from vskd_stream._ort import Arithmetic
from vskd_stream.announce import Announcer
from vskd_stream.bundle import Bundle
from vskd_stream.classify import MAX_BATCH, Classifier
from vskd_stream.devices import Devices
from vskd_stream.errors import BundleError
from vskd_stream.image import encode_batch
from vskd_stream.payloads import Origin
from vskd_stream.pipeline import Cut, Pipeline
from vskd_stream.settings import Limits, MqttSource, RemoteBroker, Settings
from vskd_stream.tally import Tally
from vskd_stream.window import Window

RATE_HZ: Final = 50.0
BATCH_S: Final = 0.5
_BATCH_SAMPLES: Final = round(RATE_HZ * BATCH_S)
_DEVICES: Final = 20
_SECONDS: Final = 90
"""Decisions look back on the last windows, a minute of them: before, they cost and keep less."""
_MEASURED: Final = 0.2
"""The part of the time in which stages are timed; memory is what the rest leaves behind."""
_ROOM: Final = 0.8
"""So much of a core may be used; the rest is for bursts, the broker's client and the system."""


_WORTH: Final = 0.9
"""Floating point must take at most so much of the time: integers give the same scores on every machine."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The model, run in one way."""

    threads: int
    arithmetic: Arithmetic
    one_ms: float
    """One window to its probabilities, image included."""
    one_p99_ms: float
    batch_ms: float
    """A window in batches of 32."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one bundle."""

    machine: str
    bundle: str
    bundle_sha256: str
    precision: str
    threads: int
    """Chosen, as is the arithmetic: the fastest in batches that leaves a core for everything else."""
    arithmetic: Arithmetic
    tried: tuple[Trial, ...]
    decode_us: float
    """A message of half a second at 50 Hz (MessagePack), read and checked."""
    cut_us: float
    """The same message, from samples to windows: order, clock, sanity, grid."""
    copy_us: float
    """Copying an image: the least that making one can cost."""
    image_us: float
    model_us: float
    """A window's share of a batch, image not included."""
    decide_us: float
    """Probabilities to events and messages."""
    memory_kib: float
    """What one device keeps."""
    loop_devices: int
    """So many devices at 50 Hz the event loop can serve, as far as these stages go."""
    model_devices: int
    """So many the model can."""

    @property
    def best(self) -> Trial:
        """The trial that was chosen."""
        return next(
            each for each in self.tried if (each.threads, each.arithmetic) == (self.threads, self.arithmetic)
        )

    @property
    def way(self) -> runtime.Way:
        """What was chosen."""
        return runtime.Way(threads=self.threads, arithmetic=self.arithmetic)

    @property
    def devices(self) -> int:
        """The smaller of the two."""
        return min(self.loop_devices, self.model_devices)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "devices": self.devices}


def measure(bundle: Bundle, *, turns: int = 41) -> Figures:
    """Measure a bundle; takes some seconds.

    Raises:
        BundleError: The graph breaks its manifest.
    """
    cores = os.cpu_count() or 1
    windows = _windows(bundle)
    # One core is the event loop's: a model that takes all of them makes it wait.
    tried = tuple(
        _tried(bundle, runtime.Way(threads=threads, arithmetic=arithmetic), windows, turns)
        for arithmetic in _arithmetics(bundle)
        for threads in range(1, max(2, min(cores, 9)))
    )
    best = choose(tried)
    decode_us, cut_us, decide_us, memory_kib = _ways(bundle)
    spec = bundle.manifest.image
    images = np.empty((MAX_BATCH, *spec.shape), np.float32)
    copy = images.copy()
    image_us = _median_us(lambda: encode_batch(windows, spec=spec, out=images), turns) / MAX_BATCH
    hop_s = bundle.manifest.hop_samples / bundle.manifest.sampling_rate_hz
    loop_s = (decode_us + cut_us) * 1e-6 / BATCH_S + decide_us * 1e-6 / hop_s
    return Figures(
        machine=runtime.machine(),
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        precision=bundle.manifest.precision,
        threads=best.threads,
        arithmetic=best.arithmetic,
        tried=tried,
        decode_us=decode_us,
        cut_us=cut_us,
        copy_us=_median_us(lambda: np.copyto(copy, images), turns) / MAX_BATCH,
        image_us=image_us,
        model_us=max(0.0, best.batch_ms * 1e3 - image_us),
        decide_us=decide_us,
        memory_kib=memory_kib,
        loop_devices=int(_ROOM / loop_s),
        model_devices=int(_ROOM * hop_s / (best.batch_ms * 1e-3)),
    )


def choose(tried: Sequence[Trial]) -> Trial:
    """The fastest in batches; of integers, unless floating point is clearly faster."""
    fastest = min(tried, key=lambda each: each.batch_ms)
    integer = min(
        (each for each in tried if each.arithmetic == "integer"), key=lambda each: each.batch_ms, default=None
    )
    if integer is None or fastest.batch_ms < _WORTH * integer.batch_ms:
        return fastest
    return integer


def comparison(measured: Sequence[Figures]) -> str:
    """A line for each bundle, as it was chosen to run, for people."""
    lines = ["bundle               run with               one window   in batches   devices"]
    for each in measured:
        best = each.best
        times = f"{best.one_ms:9.2f} ms {best.batch_ms:9.3f} ms"
        lines.append(f"{each.bundle:20} {_words(best):20} {times} {each.devices:9}")
    return "\n".join(lines) + "\n"


def table(figures: Figures) -> str:
    """For people."""
    lines = [
        figures.machine,
        f"{figures.bundle} ({figures.precision}), sha256 {figures.bundle_sha256[:12]}",
        "",
        "model                  one window      p99   in batches",
    ]
    for each in figures.tried:
        mark = "  <- chosen" if each == figures.best else ""
        times = f"{each.one_ms:9.2f} ms {each.one_p99_ms:5.2f} ms {each.batch_ms:9.3f} ms"
        lines.append(f"{_words(each):20} {times}{mark}")
    lines += [
        "",
        "stage",
        f"decode        {figures.decode_us:8.1f} us a message of {BATCH_S:g} s at {RATE_HZ:g} Hz",
        f"cut           {figures.cut_us:8.1f} us a message: order, clock, sanity, grid, windows",
        f"image         {figures.image_us:8.1f} us a window; copying it {figures.copy_us:.1f} us",
        f"model         {figures.model_us:8.1f} us a window",
        f"decide        {figures.decide_us:8.1f} us a window: events and their messages",
        "",
        f"a device keeps {figures.memory_kib:.1f} KiB",
        f"devices at {RATE_HZ:g} Hz, at {_ROOM:.0%} of a core each: {figures.model_devices} for the model,",
        f"{figures.loop_devices} for the rest; broker and network are not included",
    ]
    return "\n".join(lines) + "\n"


def _arithmetics(bundle: Bundle) -> tuple[Arithmetic, ...]:
    """In which the bundle may be run; integers come first, and where they are broken that is told."""
    if bundle.manifest.precision == "fp32":
        return ("float",)
    try:
        Classifier(bundle, arithmetic="float")
    except BundleError:
        # Golden windows that were promised closer than floating point keeps them.
        return ("integer",)
    return ("integer", "float")


def _words(trial: Trial) -> str:
    return f"{trial.arithmetic}, {trial.threads} thread{'s' if trial.threads > 1 else ''}"


def _tried(bundle: Bundle, way: runtime.Way, windows: NDArray[np.float32], turns: int) -> Trial:
    classifier = Classifier(bundle, threads=way.threads, arithmetic=way.arithmetic)
    classifier.warm()
    one = _turns_us(lambda: classifier.classify(windows[:1]), 5 * turns)
    batch_us = _median_us(lambda: classifier.classify(windows), turns)
    return Trial(
        way.threads,
        way.arithmetic,
        one_ms=median(one) / 1e3,
        one_p99_ms=float(np.percentile(one, 99)) / 1e3,
        batch_ms=batch_us / MAX_BATCH / 1e3,
    )


def _windows(bundle: Bundle) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0.0, 0.5, (MAX_BATCH, 3, bundle.manifest.window_samples))
    return noise.astype(np.float32)


def _messages() -> Iterator[tuple[float, str, bytes]]:
    rng = np.random.default_rng(0)
    for number in range(round(_SECONDS / BATCH_S)):
        for device in range(_DEVICES):
            acc = np.round(rng.normal(0.0, 0.3, (_BATCH_SAMPLES, 3)) + np.array([0.0, 0.0, 1.0]), 4)
            batch = {
                "schema": 1,
                "sequence": number,
                "sampling_rate_hz": RATE_HZ,
                "first_tick": number * _BATCH_SAMPLES,
                "tick_rate_hz": RATE_HZ,
                "unit": "g",
                "acc": acc.tolist(),
            }
            arrival_s = 1e9 + (number + device / _DEVICES) * BATCH_S
            yield arrival_s, f"imu/d{device}/samples", msgspec.msgpack.encode(batch)


def _ways(bundle: Bundle) -> tuple[float, float, float, float]:
    """Microseconds to decode a message, to cut it, to decide on a window; and KiB that a device keeps."""
    settings = Settings(
        gateway="bench",
        broker=RemoteBroker(host="localhost"),
        sources=(MqttSource(topic="imu/+/samples"),),
        limits=Limits(max_devices=_DEVICES),
    )
    messages = list(_messages())
    devices = Devices(settings, bundle=bundle, tally=Tally())
    decode = _Stopwatch()
    for _, topic, payload in messages:
        with decode:
            devices.reader.read(topic, payload)
    announcer = Announcer(
        origin=Origin("bench", bundle.manifest.name, bundle.sha256, ""),
        manifest=bundle.manifest,
        publish=lambda _: None,
        utc_s=time.time,
    )
    uniform = np.full(len(bundle.manifest.labels), 1.0 / len(bundle.manifest.labels), np.float32)
    timed = round(len(messages) * (1.0 - _MEASURED))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for arrival_s, topic, payload in messages[:timed]:
        for pipeline, cut in devices.receive(topic, payload, arrival_s=arrival_s):
            announcer.announce(pipeline, cut, uniform if isinstance(cut.piece, Window) else None)
    memory_kib = (tracemalloc.get_traced_memory()[0] - before) / len(devices) / 1024
    tracemalloc.stop()
    whole = _Stopwatch()
    cuts: list[tuple[Pipeline, Cut]] = []
    for arrival_s, topic, payload in messages[timed:]:
        with whole:
            cuts += devices.receive(topic, payload, arrival_s=arrival_s)
    decide = _Stopwatch()
    for pipeline, cut in cuts:
        if isinstance(cut.piece, Window):
            with decide:
                announcer.announce(pipeline, cut, uniform)
    return decode.mean_us, max(0.0, whole.mean_us - decode.mean_us), decide.mean_us, memory_kib


class _Stopwatch:
    """CPU time of this thread: what others do on the machine meanwhile counts little."""

    def __init__(self) -> None:
        self._laps_ns: list[int] = []

    def __enter__(self) -> None:
        self._begun_ns = time.thread_time_ns()

    def __exit__(self, *_: object) -> None:
        self._laps_ns.append(time.thread_time_ns() - self._begun_ns)

    @property
    def mean_us(self) -> float:
        return sum(self._laps_ns) / len(self._laps_ns) / 1e3 if self._laps_ns else 0.0


def _turns_us(call: Callable[[], object], turns: int) -> list[float]:
    call()
    times_us = []
    for _ in range(turns):
        begun_ns = time.perf_counter_ns()
        call()
        times_us.append((time.perf_counter_ns() - begun_ns) / 1e3)
    return times_us


def _median_us(call: Callable[[], object], turns: int) -> float:
    return median(_turns_us(call, turns))
