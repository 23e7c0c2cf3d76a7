"""A window's image beside a copy of the same bytes, the least that filling them can cost, and beside pyts.

``python -m tests.bench.bench_image``; importing pyts compiles it for half a minute.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.timing import Candidate, interleaved_us
from vskd_stream.bundle import load, shipped
from vskd_stream.image import AXES, ImageSpec, encode, encode_batch

SIZE = 64
WINDOW_SAMPLES = 128
BATCH = 16

_SHIPPED = load(shipped("wrist")).manifest

SPECS = {
    "": ImageSpec(size=SIZE),
    "difference_": ImageSpec(size=SIZE, method="difference"),
    "both_": ImageSpec(size=SIZE, method="both"),
    "fixed_": ImageSpec(size=SIZE, scaling="fixed", range_g=1.5),
    "both_fixed_": ImageSpec(size=SIZE, method="both", scaling="fixed", range_g=1.5),
    "band_": _SHIPPED.image,
}

_COPIED = ("", "both_", "band_")


def run() -> dict[str, float]:
    """Microseconds a window, median: all of one run, the candidates taking turns.

    ``image_us`` is a (3, 128) window to (3, 64, 64), summation and min-max, into an array that is
    there; ``image_both_fixed_us`` and the like are the other methods and scalings, ``batch_`` is in
    batches of 16 and without the GIL; ``band_`` is the shipped model's image. ``copy_us`` copies such an
    image, ``copy_both_us`` six channels of it, ``copy_band_us`` the shipped model's. ``pyts_us`` is the image
    by pyts.
    """
    # Here and not above: whoever imports this file may not want to wait for it.
    from pyts.image import GramianAngularField

    rng = np.random.default_rng(0)
    window = rng.normal(size=(AXES, WINDOW_SAMPLES)).astype(np.float32)
    pyts = GramianAngularField(image_size=SIZE).fit(window)
    candidates: dict[str, Candidate] = {"pyts_us": lambda: pyts.transform(window)}
    for name, spec in SPECS.items():
        samples = _SHIPPED.window_samples if spec is _SHIPPED.image else WINDOW_SAMPLES
        windows = rng.normal(size=(BATCH, AXES, samples)).astype(np.float32)
        images = np.empty((BATCH, *spec.shape), np.float32)
        candidates[f"image_{name}us"] = _encoding(windows[0].copy(), spec, images[0].copy())
        candidates[f"image_{name}batch_us"] = _batch_encoding(windows, spec, images)
        if name in _COPIED:
            candidates[f"copy_{name}us"] = _copying(images[0])
            candidates[f"copy_{name}batch_us"] = _copying(images)
    costs = interleaved_us(candidates)
    return {name: cost / BATCH if "batch" in name else cost for name, cost in costs.items()}


def _encoding(window: NDArray[np.float32], spec: ImageSpec, out: NDArray[np.float32]) -> Candidate:
    return lambda: encode(window, spec=spec, out=out)


def _batch_encoding(windows: NDArray[np.float32], spec: ImageSpec, out: NDArray[np.float32]) -> Candidate:
    return lambda: encode_batch(windows, spec=spec, out=out)


def _copying(like: NDArray[np.float32]) -> Candidate:
    source, destination = np.ones_like(like), np.empty_like(like)
    return lambda: np.copyto(destination, source)


def main() -> None:
    """Print the costs, and each as a multiple of its copy's."""
    costs = run()
    for name, cost in costs.items():
        of = next((each for each in _COPIED if each and each in name), "")
        copy = f"copy_{of}{'batch_' if 'batch' in name else ''}us"
        print(f"{name:28}{cost:10.3f} us {cost / costs[copy]:8.2f} x {copy}")


if __name__ == "__main__":
    main()
