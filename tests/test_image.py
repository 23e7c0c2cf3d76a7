from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from tests.reference.gaf import band, gramian_angular_field
from vskd_stream.errors import ImageSpecError
from vskd_stream.image import AXES, ImageSpec, encode, encode_batch

compiled = pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="the compiled signature refuses this")

SPECS: dict[str, dict[str, Any]] = {
    f"{method} {scaling}": {"method": method, "scaling": scaling, "range_g": range_g}
    for method in ("summation", "difference", "both")
    for scaling, range_g in (("minmax", None), ("fixed", 1.5), ("logistic", 1.5))
}
SPECS |= {
    f"{method} {scaling} with detail": {**SPECS[f"{method} {scaling}"], "detail_g": 0.03}
    for method, scaling in (("summation", "minmax"), ("difference", "fixed"), ("both", "logistic"))
}
SHAPES = [(128, 64), (64, 64), (192, 64), (256, 64), (100, 64), (57, 13), (3, 2), (2, 2), (4, 2), (300, 128)]


def windows(n):
    """Whatever a wrist, a table, a broken sensor or a hostile device sends, by name."""
    rng = np.random.default_rng(n)
    noise = rng.normal(size=(AXES, n))
    constant_axis = noise.copy()
    constant_axis[1] = 0.1
    values = {
        "noise": noise,
        "gravity": 0.2 * noise + [[0.0], [0.0], [1.0]],
        "saturated": np.clip(30.0 * noise, -16.0, 16.0),
        "constant": np.full((AXES, n), 0.1),
        "zero": np.zeros((AXES, n)),
        "negative zero": np.where(noise > 0.0, 0.0, -0.0),
        "one constant axis": constant_axis,
        "one step of the sensor": 1.0 + np.finfo(np.float32).eps * rng.integers(0, 2, (AXES, n)),
        "just constant": 1e-15 * rng.random((AXES, n)),
        "huge": np.finfo(np.float32).max * noise / np.abs(noise).max(),
        "denormal": 1e-40 * noise,
        "steps": np.repeat(rng.normal(size=(AXES, n // 8 + 1)), 8, axis=1)[:, :n],
        "ramp": np.linspace(-1.0, 1.0, AXES * n).reshape(AXES, n),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def bits(image):
    return image.view(np.uint32)


@pytest.mark.parametrize(("n", "size"), SHAPES)
@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_window_agrees_with_the_definition(name, n, size):
    spec = ImageSpec(size=size, **SPECS[name])
    for kind, window in windows(n).items():
        expected = gramian_angular_field(window, size=size, **SPECS[name])
        assert np.abs(encode(window, spec=spec) - expected).max() < 1e-6, kind


@pytest.mark.parametrize(
    ("n", "size", "lags"), [(200, 200, 16), (128, 64, 8), (100, 64, 63), (57, 13, 1), (2, 2, 1)]
)
@pytest.mark.parametrize("name", SPECS)
def test_the_band_is_what_lies_beside_the_diagonal_of_the_field(name, n, size, lags):
    spec = ImageSpec(size=size, lags=lags, **SPECS[name])
    assert spec.shape == (spec.channels, lags, size - lags)
    for kind, window in windows(n).items():
        field = gramian_angular_field(window, size=size, **SPECS[name])
        image = encode(window, spec=spec)
        assert np.abs(image - band(field, lags)).max() < 1e-6, kind
        assert np.array_equal(bits(encode_batch(window[None], spec=spec)[0]), bits(image))


@given(window=arrays(np.float32, (AXES, 24), elements=st.integers(-512, 512).map(lambda i: i / 256)))
@settings(max_examples=50, deadline=None)
def test_only_logistic_scaling_tells_a_summation_which_way_up_the_wrist_is(window):
    fixed, logistic = (ImageSpec(size=24, scaling=s, range_g=1.5) for s in ("fixed", "logistic"))
    assert np.array_equal(encode(window, spec=fixed), encode(-window, spec=fixed))
    if np.abs(window).max() > 0.01:
        assert not np.array_equal(encode(window, spec=logistic), encode(-window, spec=logistic))


@pytest.fixture(scope="module")
def pyts_field():
    """The class of pyts, as plain Python: it compiles all it has when imported, for half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 1)
        from pyts.image import GramianAngularField
    return GramianAngularField


@pytest.mark.parametrize(("n", "size"), SHAPES)
@pytest.mark.parametrize("method", ["summation", "difference"])
def test_minmax_agrees_with_pyts(pyts_field, method, n, size):
    spec = ImageSpec(size=size, method=method)
    referee = pyts_field(image_size=size, method=method)
    for kind, window in windows(n).items():
        expected = referee.fit_transform(window.astype(np.float64))
        assert np.abs(encode(window, spec=spec) - expected).max() < 1e-6, kind


@pytest.mark.parametrize("scaling", [{}, {"scaling": "fixed", "range_g": 1.5}])
def test_both_stacks_summation_over_difference(scaling):
    window = noise(AXES, 100)
    summation, difference, both = (
        encode(window, spec=ImageSpec(size=64, method=method, **scaling))
        for method in ("summation", "difference", "both")
    )
    assert np.array_equal(both, np.concatenate((summation, difference)))


@given(
    window=arrays(np.float32, (AXES, 40), elements=st.floats(-64.0, 64.0, width=32)),
    size=st.integers(2, 40),
    name=st.sampled_from(list(SPECS)),
    order=st.permutations(range(AXES)),
)
@settings(max_examples=100, deadline=None)
def test_the_field_is_bounded_and_symmetric_and_treats_all_axes_alike(window, size, name, order):
    spec = ImageSpec(size=size, **SPECS[name])
    image = encode(window, spec=spec)
    assert np.abs(image).max() <= 1.0 + 3e-7
    kinds = ["summation", "difference"] if spec.method == "both" else [spec.method]
    for kind, field in zip(2 * kinds, image.reshape(-1, AXES, size, size), strict=False):
        mirrored = field.transpose(0, 2, 1)
        assert np.array_equal(field, mirrored if kind == "summation" else -mirrored)
    permuted = encode(np.ascontiguousarray(window[order]), spec=spec)
    assert np.array_equal(
        permuted.reshape(-1, AXES, size, size), image.reshape(-1, AXES, size, size)[:, order]
    )


def test_detail_shows_what_moves_by_milligrams_wherever_gravity_points():
    spec = ImageSpec(size=64, scaling="logistic", range_g=1.5, detail_g=0.03)
    trembling = 0.02 * noise(AXES, 64)
    lying, hanging = (
        encode(trembling + np.array([[x], [0.0], [0.5]], np.float32), spec=spec) for x in (0.1, 0.9)
    )
    assert np.abs(lying[:AXES] - hanging[:AXES]).max() > 0.2
    assert np.abs(lying[AXES:] - hanging[AXES:]).max() < 1e-4
    assert np.ptp(lying[:AXES], axis=(1, 2)).max() < 0.1
    assert np.ptp(lying[AXES:], axis=(1, 2)).min() > 0.5
    # What a sensor makes of a table is not blown up.
    table = encode(1e-5 * noise(AXES, 64), spec=spec)
    assert np.ptp(table[AXES:], axis=(1, 2)).max() < 0.05


@given(window=arrays(np.float32, (AXES, 24), elements=st.integers(-512, 512).map(lambda i: i / 256)))
@settings(max_examples=50, deadline=None)
def test_minmax_forgets_amplitude_and_offset_and_fixed_scaling_does_not(window):
    spec = ImageSpec(size=12)
    assert np.array_equal(encode(window, spec=spec), encode(4.0 * window + 2.0, spec=spec))
    fixed = ImageSpec(size=12, scaling="fixed", range_g=1.0)
    assert np.array_equal(
        encode(window, spec=fixed),
        encode(2.0 * window, spec=ImageSpec(size=12, scaling="fixed", range_g=2.0)),
    )
    if np.ptp(window.reshape(AXES, 12, 2).mean(axis=2), axis=1).max() > 0.5:
        assert not np.array_equal(encode(window, spec=fixed), encode(2.0 * window, spec=fixed))


@given(
    stack=arrays(np.uint32, (3, AXES, 20)).map(lambda words: words.view(np.float32)),
    size=st.integers(2, 20),
    name=st.sampled_from(list(SPECS)),
)
@settings(max_examples=200, deadline=None)
@np.errstate(all="ignore")
def test_any_bits_at_all_give_a_batch_of_what_each_window_gives_alone(stack, size, name):
    spec = ImageSpec(size=size, **SPECS[name])
    images = encode_batch(stack, spec=spec)
    for window, image in zip(stack, images, strict=True):
        assert np.array_equal(encode(window, spec=spec), image, equal_nan=True)
        assert not np.any(np.abs(image) > 1.0 + 3e-7)


@pytest.mark.parametrize("name", SPECS)
def test_a_nan_reaches_its_pixels_row_and_column_and_no_other_axis(name):
    spec = ImageSpec(size=64, **SPECS[name])
    window = noise(AXES, 128)
    whole = encode(window, spec=spec)
    window[1, 20] = np.nan
    image = encode(window, spec=spec)
    for field, unharmed in zip(image.reshape(-1, AXES, 64, 64), whole.reshape(-1, AXES, 64, 64), strict=True):
        assert np.isnan(field[1, 10]).all()
        assert np.isnan(field[1, :, 10]).all()
        assert np.array_equal(field[[0, 2]], unharmed[[0, 2]])


@pytest.mark.parametrize("name", SPECS)
def test_a_batch_is_bit_equal_to_its_windows(name):
    spec = ImageSpec(size=64, **SPECS[name])
    stack = noise(5, AXES, 128)
    images = encode_batch(stack, spec=spec)
    assert images.shape == (5, spec.channels, 64, 64)
    assert images.dtype == np.float32
    for window, image in zip(stack, images, strict=True):
        assert np.array_equal(bits(encode(window, spec=spec)), bits(image))


def test_an_empty_batch_gives_no_images():
    assert encode_batch(np.empty((0, AXES, 128), np.float32), spec=ImageSpec(size=64)).shape == (
        0,
        AXES,
        64,
        64,
    )


def test_out_is_overwritten_and_returned():
    spec = ImageSpec(size=16, method="both")
    stack = noise(2, AXES, 32)
    out = np.full((2, 6, 16, 16), np.nan, np.float32)
    assert encode_batch(stack, spec=spec, out=out) is out
    image = np.full((6, 16, 16), np.nan, np.float32)
    assert encode(stack[1], spec=spec, out=image) is image
    assert np.array_equal(image, out[1])
    assert encode(stack[0], spec=spec, out=image) is image
    assert np.array_equal(image, out[0])


def test_a_window_is_only_read():
    window = noise(AXES, 128)
    expected = encode(window.copy(), spec=ImageSpec(size=64))
    window.flags.writeable = False
    assert np.array_equal(encode(window, spec=ImageSpec(size=64)), expected)
    assert np.array_equal(encode_batch(window[None], spec=ImageSpec(size=64))[0], expected)


def test_a_window_may_begin_at_any_byte():
    window = noise(AXES, 128)
    unaligned = np.empty(window.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(window.shape)
    unaligned[:] = window
    assert np.array_equal(encode(unaligned, spec=ImageSpec(size=64)), encode(window, spec=ImageSpec(size=64)))
    # numba's type cache takes the one for the other.
    with pytest.raises(ImageSpecError, match="not C-contiguous >f4"):
        encode(window.astype(">f4"), spec=ImageSpec(size=64))


def test_threads_encode_at_once_without_harm():
    spec = ImageSpec(size=32)
    stacks = [noise(64, AXES, 64) * np.float32(scale) for scale in (1.0, 3.0)]
    expected = [encode_batch(stack, spec=spec) for stack in stacks]
    results: dict[int, bool] = {}

    def work(which):
        out = np.empty_like(expected[which])
        results[which] = all(
            np.array_equal(encode_batch(stacks[which], spec=spec, out=out), expected[which])
            for _ in range(20)
        )

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: True, 1: True}


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (np.zeros(128, np.float32), r"the shape must be \(3, n\), not \(128,\): 3 axes of n samples"),
        (np.zeros((1, 3, 128), np.float32), r"must be \(3, n\), not \(1, 3, 128\)"),
        (np.zeros((2, 128), np.float32), r"must be \(3, n\), not \(2, 128\)"),
        (np.zeros((4, 128), np.float32), r"must be \(3, n\), not \(4, 128\)"),
        (np.zeros((128, 3), np.float32), r"must be \(3, n\), not \(128, 3\)"),
        (np.zeros((3, 63), np.float32), "63 samples are fewer than the image's 64 pixels: use a longer"),
        (np.zeros((3, 0), np.float32), "0 samples are fewer than"),
        pytest.param(
            np.zeros((3, 128)), "must be C-contiguous float32, not C-contiguous float64", marks=compiled
        ),
        (np.zeros((3, 128), ">f4"), "not C-contiguous >f4"),
        pytest.param(np.zeros((3, 256), np.float32)[:, ::2], "not non-contiguous float32", marks=compiled),
        pytest.param(np.zeros((128, 3), np.float32).T, "not non-contiguous float32", marks=compiled),
    ],
)
def test_a_window_that_does_not_fit_is_refused_and_nothing_written(window, told):
    spec = ImageSpec(size=64)
    out = np.full((AXES, 64, 64), 7.0, np.float32)
    with pytest.raises(ImageSpecError, match=told):
        encode(window, spec=spec, out=out)
    with pytest.raises(ImageSpecError, match=told):
        encode(window, spec=spec)
    assert (out == 7.0).all()


@pytest.mark.parametrize(
    ("stack", "told"),
    [
        (np.zeros((3, 128), np.float32), r"the shape must be \(b, 3, n\), not \(3, 128\)"),
        (np.zeros((), np.float32), r"must be \(b, 3, n\), not \(\)"),
        (np.zeros((3, 2, 128), np.float32), r"must be \(b, 3, n\), not \(3, 2, 128\)"),
        (np.zeros((2, 3, 63), np.float32), "63 samples are fewer than the image's 64 pixels"),
        pytest.param(np.zeros((2, 3, 128)), "not C-contiguous float64", marks=compiled),
        pytest.param(np.zeros((4, 3, 128), np.float32)[::2], "not non-contiguous float32", marks=compiled),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(stack, told):
    with pytest.raises(ImageSpecError, match=told):
        encode_batch(stack, spec=ImageSpec(size=64))


def read_only(shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "told"),
    [
        (np.zeros((3, 64, 64), np.float32), r"not C-contiguous float32 of \(3, 64, 64\)"),
        (np.zeros((6, 32, 64), np.float32), r"of the shape \(6, 64, 64\), not .* of \(6, 32, 64\)"),
        (np.zeros((1, 6, 64, 64), np.float32), r"of \(1, 6, 64, 64\)"),
        pytest.param(np.zeros((6, 64, 64)), "not C-contiguous float64", marks=compiled),
        pytest.param(
            np.zeros((6, 64, 128), np.float32)[:, :, ::2], "not non-contiguous float32", marks=compiled
        ),
        pytest.param(read_only((6, 64, 64)), "not read-only C-contiguous float32", marks=compiled),
    ],
)
def test_an_out_that_does_not_fit_is_refused(out, told):
    with pytest.raises(ImageSpecError, match=f"out must be writable C-contiguous float32 .*{told}"):
        encode(noise(AXES, 128), spec=ImageSpec(size=64, method="both"), out=out)


def test_an_out_for_another_number_of_windows_is_refused():
    with pytest.raises(
        ImageSpecError, match=r"shape \(2, 3, 64, 64\), not C-contiguous float32 of \(3, 3, 64, 64\)"
    ):
        encode_batch(noise(2, AXES, 128), spec=ImageSpec(size=64), out=np.zeros((3, 3, 64, 64), np.float32))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 1}, "greater than or equal to 2"),
        ({"size": 513}, "less than or equal to 512"),
        ({"size": 64, "method": "GASF"}, "'summation', 'difference' or 'both'"),
        ({"size": 64, "scaling": "zscore"}, "'minmax', 'fixed' or 'logistic'"),
        ({"size": 64, "scaling": "fixed"}, "range_g is needed"),
        ({"size": 64, "range_g": 1.5}, "range_g is needed"),
        ({"size": 64, "scaling": "fixed", "range_g": 0.0}, "greater than or equal to 0.001"),
        ({"size": 64, "scaling": "fixed", "range_g": 65.0}, "less than or equal to 64"),
        ({"size": 64, "scaling": "fixed", "range_g": float("nan")}, "finite number"),
        ({"size": 64, "scaling": "logistic"}, "range_g is needed"),
        ({"size": 64, "detail_g": 0.0}, "greater than or equal to 0.001"),
        ({"size": 64, "lags": 0}, "greater than or equal to 1"),
        ({"size": 64, "lags": 64}, "64 lags do not fit in a field of 64 segments"),
        ({"size": 512, "lags": 257}, "less than or equal to 256"),
        ({"size": 64, "colour": "viridis"}, "Extra inputs are not permitted"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        ImageSpec(**wrong)


def test_a_spec_is_a_value_and_knows_its_channels():
    assert ImageSpec(size=64) == ImageSpec(size=64, method="summation", scaling="minmax")
    assert [ImageSpec(size=8, method=method).channels for method in ("summation", "difference", "both")] == [
        3,
        3,
        6,
    ]
    assert ImageSpec(size=8, method="both", detail_g=0.03).channels == 12
    assert "detail_g" not in ImageSpec(size=64).model_dump()
    with pytest.raises(ValidationError, match="frozen"):
        ImageSpec(size=64).size = 32  # type: ignore[misc]  # what is tested


UNCOMPILED = """
import sys
import numpy as np
from vskd_stream.image import ImageSpec, encode
for specification in sys.argv[1:]:
    spec = ImageSpec.model_validate_json(specification)
    for n in (12, 24, 31):
        window = np.linspace(-1.0, 1.0, 3 * n, dtype=np.float32).reshape(3, n) ** 2
        sys.stdout.buffer.write(encode(window, spec=spec).tobytes())
"""


def test_the_kernels_are_plain_python_too():
    specs = [ImageSpec(size=12, **options) for options in SPECS.values()]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNCOMPILED, *(spec.model_dump_json() for spec in specs)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    images = np.frombuffer(done.stdout, np.float32)
    expected = [
        encode(np.linspace(-1.0, 1.0, 3 * n, dtype=np.float32).reshape(3, n) ** 2, spec=spec).ravel()
        for spec in specs
        for n in (12, 24, 31)
    ]
    # Not bit-equal: numpy's float32 exponential is another than libm's.
    assert np.abs(images - np.concatenate(expected)).max() < 1e-6
