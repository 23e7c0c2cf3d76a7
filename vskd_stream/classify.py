"""Windows → probabilities: encode, run the graph, calibrate; refuses a graph that breaks its manifest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vskd_stream import _ort
from vskd_stream._ort import Arithmetic
from vskd_stream.bundle import Bundle, Golden
from vskd_stream.errors import BundleError, ImageSpecError
from vskd_stream.image import encode_batch

MAX_BATCH = 32
"""More windows are computed in pieces of this size, whose images fit into one reused buffer."""

_FLOAT32 = "tensor(float)"


class _Tensor(NamedTuple):
    name: str
    kind: str
    dimensions: list[int | str | None]


class Classifier:
    """A bundle, ready to run. One caller at a time: calls share the images' buffer.

    The GIL is released while images are encoded and the graph runs. A window's probabilities do
    not depend on its batch: bit for bit in int8, to 1e-6 in float32.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, arithmetic: Arithmetic = "integer") -> None:
        """Open the graph and compute the golden windows.

        Args:
            bundle: What to run.
            threads: For one batch.
            arithmetic: Of a quantised graph (``_ort.Arithmetic``); in "float" what is said above of
                int8 holds to the rounding of a step.

        Raises:
            BundleError: The graph's input or output is not what the manifest says, or a golden
                window does not come out.
        """
        self.manifest = bundle.manifest
        self._path = bundle.path
        image = bundle.manifest.image
        try:
            self._session = _ort.open_session(bundle.graph, threads=threads, arithmetic=arithmetic)
            inputs = [_Tensor(i.name, i.type, i.shape) for i in self._session.get_inputs()]
            outputs = [_Tensor(o.name, o.type, o.shape) for o in self._session.get_outputs()]
        except Exception as error:  # onnxruntime's exceptions have no common class
            raise self._refusal(f"onnxruntime does not take the graph ({_first_line(error)})") from error
        self._input = self._only("input", inputs, shape=image.shape)
        self._familiarity = bundle.familiarity
        self._outputs = self._named(outputs)
        self._images = np.empty((MAX_BATCH, *image.shape), np.float32)
        self._check(bundle.golden)

    def classify(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Classify any number of windows.

        Args:
            windows: (b, 3, window_samples) float32, C-contiguous, acceleration in g, finite.

        Returns:
            (b, labels) float32: calibrated probabilities in the manifest's order. What they miss to 1 is
            the probability of something that was never learned, in a bundle that can tell.

        Raises:
            ImageSpecError: The windows do not fit the manifest.
            BundleError: The graph failed, or gave a score that is not finite.
        """
        if windows.ndim != 3 or windows.shape[2] != self.manifest.window_samples:
            raise ImageSpecError(
                f"windows have the shape (b, 3, {self.manifest.window_samples}), not {windows.shape}"
            )
        probabilities = np.empty((len(windows), len(self.manifest.labels)), np.float32)
        for start in range(0, len(windows), MAX_BATCH):
            batch = windows[start : start + MAX_BATCH]
            images = self._images[: len(batch)]
            encode_batch(batch, spec=self.manifest.image, out=images)
            probabilities[start : start + MAX_BATCH] = self._probabilities(images)
        return probabilities

    def warm(self) -> None:
        """Run the smallest and the largest batch, so that the first real window meets no first time."""
        for size in (1, MAX_BATCH):
            self.classify(np.zeros((size, 3, self.manifest.window_samples), np.float32))

    def _probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        try:
            logits, *taps = self._session.run(self._outputs, {self._input: images})
        except Exception as error:
            raise self._refusal(f"onnxruntime fails in the graph ({_first_line(error)})") from error
        if logits.shape != (len(images), len(self.manifest.labels)):
            raise self._refusal(f"{len(images)} images came out with the shape {logits.shape}")
        if not np.isfinite(logits).all():
            raise self._refusal("a score is not finite")
        # In float64: the calibration adds no rounding of its own.
        scaled = logits.astype(np.float64) / self.manifest.temperature
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        if self._familiarity is not None:
            known = self._familiarity.known(taps[0])
            if not np.isfinite(known).all():
                raise self._refusal("a tap is not finite")
            probabilities *= known[:, np.newaxis]
        return probabilities

    def _named(self, outputs: list[_Tensor]) -> list[str]:
        """The names of the logits and, in a bundle that knows strangers, of the tap."""
        labels = (len(self.manifest.labels),)
        if self._familiarity is None:
            return [self._only("output", outputs, shape=labels)]
        if len(outputs) != 2:
            raise self._refusal(f"the graph has {len(outputs)} outputs instead of logits and tap")
        logits, tap = outputs
        features = (len(self._familiarity.whitening),)
        return [self._only("first output", [logits], shape=labels), self._only("tap", [tap], shape=features)]

    def _only(self, what: str, found: list[_Tensor], *, shape: tuple[int, ...]) -> str:
        """The name of the graph's single input or output, of (any batch, *shape) float32."""
        if len(found) != 1:
            raise self._refusal(f"the graph has {len(found)} {what}s instead of one")
        name, kind, dimensions = found[0]
        # onnxruntime tells an open dimension by a name or None.
        if kind != _FLOAT32 or tuple(dimensions[1:]) != shape or isinstance(dimensions[0], int):
            wanted = ", ".join(["batch", *map(str, shape)])
            raise self._refusal(f"the graph's {what} is {kind} of {dimensions}, not {_FLOAT32} of [{wanted}]")
        return name

    def _check(self, golden: Golden) -> None:
        if not len(golden.windows):
            return
        probabilities = self.classify(golden.windows)
        difference = np.abs(probabilities - golden.probabilities).max(axis=1)
        worst = int(difference.argmax())
        if difference[worst] > self.manifest.golden_tolerance:
            raise self._refusal(
                f"golden window {worst} comes out {difference[worst]:.2g} away, where"
                f" {self.manifest.golden_tolerance:g} is allowed; this machine computes it differently"
            )
        if (changed := probabilities.argmax(axis=1) != golden.probabilities.argmax(axis=1)).any():
            raise self._refusal(f"golden window {int(changed.argmax())} comes out with another label")

    def _refusal(self, reason: str) -> BundleError:
        return BundleError(self._path, f"{reason}: export it again with `vskd-train export`")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
