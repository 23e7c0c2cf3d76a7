"""One window to probabilities, ours and as one would write it: pyts images, the same student in torch.

The student has the shipped architecture and random weights, which cost as much as trained ones. One
thread each.
"""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pyts.image import GramianAngularField

from tests.bench.timing import Candidate, interleaved_us
from tests.manifests import manifest
from training.shipping.bundling import write_bundle
from training.shipping.graph import float32_graph, int8_graph
from training.student import Student
from vskd_stream import _ort, bundle
from vskd_stream.classify import Classifier
from vskd_stream.image import ImageSpec, encode_batch
from vskd_stream.resample import Block
from vskd_stream.window import WindowCutter

_LABELS = tuple(f"label_{i}" for i in range(18))
_WINDOW_SAMPLES = 100
_SPEC = ImageSpec(size=64, method="both", scaling="fixed", range_g=1.5)


def _classifier(
    folder: Path, graph: bytes, golden: np.ndarray, *, precision: Literal["fp32", "int8"]
) -> Classifier:
    fields = manifest(
        labels=_LABELS,
        window_samples=_WINDOW_SAMPLES,
        hop_samples=20,
        image=_SPEC.model_dump(),
        precision=precision,
    ).model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"})
    path = folder / f"{precision}.onnx"
    # Random weights hardly tell one label from another, so the goldens must be allowed to be close.
    write_bundle(path, graph, manifest=fields | {"golden_tolerance": 1e-7}, golden_windows=golden)
    return Classifier(bundle.load(path), threads=1)


def _compiled(student: Student, image: torch.Tensor) -> Candidate | None:
    """None where torch has no compiler to use."""
    try:
        made = torch.compile(student)
        with torch.inference_mode():
            made(image)
    except Exception as error:  # noqa: BLE001 (whatever it lacks, the others are measured)
        print(f"torch.compile does not work here: {type(error).__name__}")
        return None

    def call() -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = torch.softmax(made(image), dim=1)
            return scores

    return call


def run() -> dict[str, float]:
    """Milliseconds a window, medians of interleaved turns."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    student = Student(channels=_SPEC.channels, classes=len(_LABELS)).eval()
    windows = np.random.default_rng(0).normal(scale=0.7, size=(64, 3, _WINDOW_SAMPLES)).astype(np.float32)
    images = encode_batch(windows, spec=_SPEC)
    float32 = float32_graph(student, _SPEC)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = _classifier(folder, float32, windows[:1], precision="fp32")
        int8 = _classifier(folder, int8_graph(float32, images), windows[:1], precision="int8")
    image = torch.from_numpy(images[:1])

    def torch_eager() -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = torch.softmax(student(image), dim=1)
            return scores

    # The fields that the student reads, of three axes each; scaled as pyts can, which costs the least.
    pyts_fields = [GramianAngularField(image_size=_SPEC.size, method=m).fit(windows[0]) for m in "sd"]

    def pyts_images() -> NDArray[np.float32]:
        return np.concatenate([f.transform(windows[0]) for f in pyts_fields])[np.newaxis].astype(np.float32)

    def pyts_torch() -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = torch.softmax(student(torch.from_numpy(pyts_images())), dim=1)
            return scores

    session = _ort.open_session(float32, threads=1)
    name = session.get_inputs()[0].name
    cutter = WindowCutter(window_samples=_WINDOW_SAMPLES, hop_samples=1)
    cutter.push(Block(0, np.ascontiguousarray(windows[0].T)))
    numbers = count(_WINDOW_SAMPLES)
    sample = np.array([[0.1, 0.2, 0.9]], np.float32)

    def last_sample() -> NDArray[np.float32]:
        (window,) = cutter.push(Block(next(numbers), sample))
        return int8.classify(window.acc_g[np.newaxis])

    candidates: dict[str, Candidate] = {
        "classify_fp32": lambda: fp32.classify(windows[:1]),
        "classify_int8": lambda: int8.classify(windows[:1]),
        "sample_to_scores_int8": last_sample,
        "classify_int8_of_32": lambda: int8.classify(windows[:32]),
        "torch_eager": torch_eager,
        "pyts_torch_eager": pyts_torch,
        "pyts_onnxruntime_fp32": lambda: session.run(None, {name: pyts_images()}),
    }
    if (compiled := _compiled(student, image)) is not None:
        candidates["torch_compile"] = compiled
    measured_us = interleaved_us(candidates, rounds=41, turn_us=20_000.0)
    measured_ms = {f"{name}_ms": time_us / 1000.0 for name, time_us in measured_us.items()}
    measured_ms["classify_int8_batched_ms"] = measured_ms.pop("classify_int8_of_32_ms") / 32
    return measured_ms


if __name__ == "__main__":
    print(run())
