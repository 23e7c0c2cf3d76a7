"""One file is one model: an ONNX graph whose metadata carries the manifest and golden pairs.

The file is a serialised ModelProto without metadata ("the graph"), followed by its ``metadata_props``;
protobuf merges what is appended, so every ONNX tool reads it. The entries, in this order::

    vskd.manifest   the Manifest as JSON; its graph_bytes and graph_sha256 describe the graph
    vskd.golden     windows, and the probabilities that they must come out with, as JSON
    vskd.familiar   how like what was learned a window is, as JSON (``Familiarity``); not in every bundle
    vskd.sha256     hex digest of every byte before this entry

Everything about the file is checked here, before onnxruntime sees a byte of it; what the graph
computes is checked by ``classify``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import stat
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

import numpy as np
import pydantic_core
from numpy.typing import NDArray
from pydantic import ValidationError

from vskd_stream import _modelproto
from vskd_stream.errors import BundleError
from vskd_stream.familiarity import Familiarity
from vskd_stream.image import AXES
from vskd_stream.manifest import SCHEMA_VERSION, Manifest

MANIFEST_KEY = "vskd.manifest"
GOLDEN_KEY = "vskd.golden"
FAMILIAR_KEY = "vskd.familiar"
DIGEST_KEY = "vskd.sha256"

MAX_BYTES = 256 * 1024 * 1024
MAX_GOLDENS = 64

_EXPORT_AGAIN = "export it again with `vskd-train export`"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Windows, and the probabilities that every machine must give for them."""

    windows: NDArray[np.float32]
    """(g, 3, window_samples) acceleration in g."""
    probabilities: NDArray[np.float32]
    """(g, labels)."""

    def to_json(self) -> bytes:
        """The ``vskd.golden`` entry: of both arrays the shape, and little-endian float32 in base64."""
        return json.dumps(
            {"windows": _packed(self.windows), "probabilities": _packed(self.probabilities)}
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The inverse; ValueError if it is not."""
        match pydantic_core.from_json(text):
            case {"windows": windows, "probabilities": probabilities}:
                return cls(windows=_unpacked(windows), probabilities=_unpacked(probabilities))
        raise ValueError("windows or probabilities are missing")


def familiarity_to_json(familiarity: Familiarity) -> bytes:
    """The ``vskd.familiar`` entry, its arrays packed as ``Golden``'s."""
    return json.dumps(
        {
            "whitening": _packed(familiarity.whitening),
            "means": _packed(familiarity.means),
            "half": familiarity.half,
            "spread": familiarity.spread,
        }
    ).encode()


def _familiarity_from_json(text: bytes) -> Familiarity:
    match pydantic_core.from_json(text):
        case {"whitening": whitening, "means": means, "half": float(half), "spread": float(spread)}:
            return Familiarity(_unpacked(whitening), _unpacked(means), half, spread)
    raise ValueError("whitening, means, half or spread is missing")


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose bytes are sound; ``classify.Classifier`` tells whether its graph is."""

    path: Path
    manifest: Manifest
    sha256: str
    """Hex digest of the whole file."""
    graph: bytes = field(repr=False)
    """A serialised ModelProto."""
    golden: Golden = field(repr=False)
    familiarity: Familiarity | None = field(default=None, repr=False)
    """None: the bundle takes every window for one of its labels'; its graph has no tap."""


def shipped(name: str) -> Path:
    """The file of a bundle that comes with the package; the BundleError names those that do."""
    directory = Path(str(resources.files("vskd_stream") / "models"))
    bundles = {path.stem: path for path in sorted(directory.glob("*.onnx"))}
    if name not in bundles:
        raise BundleError(
            Path(name), f"none of this name is shipped; there is {', '.join(bundles) or 'none at all'}"
        )
    return bundles[name]


def resolve(name_or_path: str | Path) -> Path:
    """A Path, or text with a slash or ending in .onnx, is a path; other text is a shipped bundle's name."""
    if isinstance(name_or_path, Path) or "/" in name_or_path or name_or_path.endswith(".onnx"):
        return Path(name_or_path)
    return shipped(name_or_path)


def load(path: Path, *, sha256: str | None = None) -> Bundle:
    """Read a bundle and check every byte of it.

    Args:
        path: The file, at most 256 MiB.
        sha256: Hex digest that the whole file must have, if it is pinned.

    Raises:
        BundleError: The file is no bundle of this release; one sentence says why, and what to do.
    """
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise BundleError(
            path, f"its SHA-256 is {digest}, not the pinned {sha256}: restore the file or change the pin"
        )
    try:
        model = _modelproto.read(data)
    except ValueError as error:
        raise BundleError(path, f"no ONNX model, or cut off ({error}): copy the file again") from error
    metadata = {entry.key: entry.value for entry in model.metadata}
    if MANIFEST_KEY not in metadata:
        raise BundleError(path, "an ONNX model without a manifest: export one with `vskd-train export`")
    manifest = _manifest(path, metadata[MANIFEST_KEY])
    graph = data[: model.model_bytes]
    last = model.metadata[-1]
    if (
        model.model_bytes != manifest.graph_bytes
        or hashlib.sha256(graph).hexdigest() != manifest.graph_sha256
        or last.key != DIGEST_KEY
        or hashlib.sha256(memoryview(data)[: last.start]).hexdigest().encode() != last.value
    ):
        raise BundleError(path, "its bytes are not those it was written with: copy the file again")
    golden = _golden(path, metadata.get(GOLDEN_KEY, b""), manifest)
    familiarity = _familiarity(path, metadata.get(FAMILIAR_KEY))
    return Bundle(
        path=path, manifest=manifest, sha256=digest, graph=graph, golden=golden, familiarity=familiarity
    )


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(path, "not a file: name the .onnx file itself")
        if status.st_size > MAX_BYTES:
            raise BundleError(path, f"larger than {MAX_BYTES >> 20} MiB: name a bundle, which never is")
        # A file that grows meanwhile is cut here, and refused for it.
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise BundleError(path, f"cannot be read ({error.strerror}): check its name and rights") from error
    except ValueError as error:
        raise BundleError(path, f"cannot be a file's name ({error}): check it") from error
    if not data:
        raise BundleError(path, "the file is empty: copy it again")
    return data


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        values = pydantic_core.from_json(text)
    except ValueError as error:
        raise BundleError(path, f"its manifest is no JSON ({error}): {_EXPORT_AGAIN}") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        remedy = "upgrade vskd-stream" if version > SCHEMA_VERSION else _EXPORT_AGAIN
        raise BundleError(
            path, f"its manifest has version {version}, this release reads version {SCHEMA_VERSION}: {remedy}"
        )
    try:
        return Manifest.model_validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise BundleError(
            path, f"its manifest is wrong in {where} ({problem['msg']}){more}: {_EXPORT_AGAIN}"
        ) from error


def _golden(path: Path, text: bytes, manifest: Manifest) -> Golden:
    try:
        golden = Golden.from_json(text)
        if not 1 <= len(golden.windows) <= MAX_GOLDENS:
            raise ValueError(f"{len(golden.windows)} windows; it has 1 to {MAX_GOLDENS}")
        wanted: tuple[int, ...] = (len(golden.windows), AXES, manifest.window_samples)
        if golden.windows.shape != wanted:
            raise ValueError(f"windows of the shape {golden.windows.shape}, not {wanted}")
        wanted = (len(golden.windows), len(manifest.labels))
        if golden.probabilities.shape != wanted:
            raise ValueError(f"probabilities of the shape {golden.probabilities.shape}, not {wanted}")
    except ValueError as error:
        raise BundleError(path, f"its {GOLDEN_KEY} is wrong ({error}): {_EXPORT_AGAIN}") from error
    return golden


def _familiarity(path: Path, text: bytes | None) -> Familiarity | None:
    if text is None:
        return None
    try:
        return _familiarity_from_json(text)
    except ValueError as error:
        raise BundleError(path, f"its {FAMILIAR_KEY} is wrong ({error}): {_EXPORT_AGAIN}") from error


def _packed(array: NDArray[np.float32]) -> dict[str, object]:
    return {"shape": array.shape, "float32": base64.b64encode(array.astype("<f4").tobytes()).decode()}


def _unpacked(packed: Any) -> NDArray[np.float32]:
    match packed:
        case {"shape": [_, *_] as shape, "float32": str(text)} if all(isinstance(n, int) for n in shape):
            values = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        case _:
            raise ValueError("an array is not a shape and base64")
    if min(shape) < 1 or len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values for the shape {shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    # A copy is writable: for read-only windows numba would compile every kernel a second time.
    return values.reshape(shape).astype(np.float32)
