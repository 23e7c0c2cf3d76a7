"""ONNX graph, manifest and golden windows → one bundle file, which has been loaded before it is there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from vskd_stream.bundle import (
    DIGEST_KEY,
    FAMILIAR_KEY,
    GOLDEN_KEY,
    MANIFEST_KEY,
    MAX_GOLDENS,
    Bundle,
    Golden,
    familiarity_to_json,
    load,
)
from vskd_stream.classify import Classifier
from vskd_stream.errors import BundleError
from vskd_stream.familiarity import Familiarity
from vskd_stream.image import AXES
from vskd_stream.manifest import SCHEMA_VERSION, Manifest


def write_bundle(
    path: Path,
    graph: bytes | onnx.ModelProto,
    *,
    manifest: Mapping[str, object],
    golden_windows: NDArray[np.float32],
    familiarity: Familiarity | None = None,
) -> None:
    """Write a bundle; the file appears whole and loadable, or not at all.

    Args:
        path: The file to write, in an existing directory.
        graph: (batch, *image) float32 images to (batch, labels) float32 logits, one
            input, weights inside. What an exporter noted beside the numbers (its
            metadata, stack traces, paths) is left out.
        manifest: The fields of ``Manifest`` without schema_version, graph_bytes and graph_sha256.
        golden_windows: (g, 3, window_samples) float32, acceleration in g, 1 to 64 of them; their
            probabilities are computed here, through ``classify``.
        familiarity: How strangers are known, by the tap that the graph then has as a second output.

    Raises:
        BundleError: The graph does not fit the manifest; there is no golden window, or too many; or
            the best two labels of one are so close that the tolerance could turn them round.
        pydantic.ValidationError: The manifest is not valid.
    """
    serialised = _without_notes(graph).SerializeToString(deterministic=True)
    complete = Manifest.model_validate(
        {
            **manifest,
            "schema_version": SCHEMA_VERSION,
            "graph_bytes": len(serialised),
            "graph_sha256": hashlib.sha256(serialised).hexdigest(),
        }
    )
    golden = _golden(path, serialised, complete, golden_windows, familiarity)
    data = serialised + _entry(MANIFEST_KEY, complete.model_dump_json().encode())
    data += _entry(GOLDEN_KEY, golden.to_json())
    if familiarity is not None:
        data += _entry(FAMILIAR_KEY, familiarity_to_json(familiarity))
    data += _entry(DIGEST_KEY, hashlib.sha256(data).hexdigest().encode())
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        trial = Path(folder) / path.name
        trial.write_bytes(data)
        Classifier(load(trial))
        with trial.open("rb") as file:
            os.fsync(file.fileno())
        trial.replace(path)


def _golden(
    path: Path,
    graph: bytes,
    manifest: Manifest,
    windows: NDArray[np.float32],
    familiarity: Familiarity | None,
) -> Golden:
    if not 1 <= len(windows) <= MAX_GOLDENS:
        raise BundleError(path, f"{len(windows)} golden windows: give 1 to {MAX_GOLDENS}")
    labels = len(manifest.labels)
    untested = Golden(
        windows=np.empty((0, AXES, manifest.window_samples), np.float32),
        probabilities=np.empty((0, labels), np.float32),
    )
    bundle = Bundle(
        path=path, manifest=manifest, sha256="", graph=graph, golden=untested, familiarity=familiarity
    )
    classifier = Classifier(bundle)
    probabilities = classifier.classify(windows)
    best_two = np.sort(probabilities, axis=1)[:, -2:]
    lead = best_two[:, 1] - best_two[:, 0]
    if lead.min() <= 2 * manifest.golden_tolerance:
        raise BundleError(
            path, f"golden window {lead.argmin()} has no clear label (it leads by {lead.min():.2g}): drop it"
        )
    return Golden(windows=windows, probabilities=probabilities)


def _without_notes(graph: bytes | onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(onnx.load_from_string(graph) if isinstance(graph, bytes) else graph)
    for field in ("metadata_props", "doc_string"):
        model.ClearField(field)
        for part in _parts(model.graph):
            part.ClearField(field)
    return model


def _parts(
    graph: onnx.GraphProto,
) -> Iterator[onnx.GraphProto | onnx.NodeProto | onnx.ValueInfoProto | onnx.TensorProto]:
    yield graph
    yield from graph.node
    yield from (*graph.input, *graph.output, *graph.value_info)
    yield from graph.initializer


def _entry(key: str, value: bytes) -> bytes:
    entry = onnx.StringStringEntryProto(key=key, value=value.decode())
    return bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString(deterministic=True))
