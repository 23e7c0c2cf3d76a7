"""``make bench``: every figure in one run on one machine; the last line is all of them as JSON."""

from __future__ import annotations

import json

from tests.bench import bench_classify, bench_image
from vskd_stream import runtime


def main() -> None:
    """Measure, and print a table and the JSON object."""
    figures = bench_image.run() | bench_classify.run()
    ratios = {
        "image_of_copy": figures["image_us"] / figures["copy_us"],
        "image_batch_of_copy": figures["image_batch_us"] / figures["copy_batch_us"],
        "image_both_fixed_batch_of_copy": figures["image_both_fixed_batch_us"]
        / figures["copy_both_batch_us"],
        "image_band_batch_of_copy": figures["image_band_batch_us"] / figures["copy_band_batch_us"],
        "pyts_of_image": figures["pyts_us"] / figures["image_us"],
        "torch_of_int8": figures["torch_eager_ms"] / figures["classify_int8_ms"],
        "pyts_torch_of_sample_to_scores": figures["pyts_torch_eager_ms"]
        / figures["sample_to_scores_int8_ms"],
        "pyts_torch_of_batched": figures["pyts_torch_eager_ms"] / figures["classify_int8_batched_ms"],
    }
    machine = runtime.machine()
    print(machine)
    for name, value in (figures | ratios).items():
        print(f"  {name:32s} {value:12.3f}")
    print(json.dumps({"machine": machine} | {k: round(v, 4) for k, v in (figures | ratios).items()}))


main()
