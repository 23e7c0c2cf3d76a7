from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.models import acceleration, graph_of, tiny_bundle, tiny_graph
from training.shipping.bundling import write_bundle
from vskd_stream import _ort
from vskd_stream import classify as classify_module
from vskd_stream.bundle import Bundle, Golden, load
from vskd_stream.classify import MAX_BATCH, Classifier
from vskd_stream.errors import BundleError, ImageSpecError
from vskd_stream.familiarity import Familiarity
from vskd_stream.image import encode_batch

LABELS = ("still", "walking", "running")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.onnx", labels=LABELS))


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle)


def windows(count: int) -> NDArray[np.float32]:
    """Of ever stronger movement."""
    strengths = np.linspace(0.0, 2.0, count)
    pieces = [acceleration(s, samples=40, sampling_rate_hz=20.0, seed=i).T for i, s in enumerate(strengths)]
    return np.ascontiguousarray(np.stack(pieces))


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError) as caught:
        Classifier(bundle)
    assert caught.value.path == bundle.path
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(("strength", "label"), [(0.0, "still"), (0.5, "walking"), (1.5, "running")])
def test_stronger_movement_gives_another_label(
    bundle: Bundle, classifier: Classifier, strength: float, label: str
) -> None:
    acc_g = acceleration(strength, samples=40, sampling_rate_hz=20.0)

    (probabilities,) = classifier.classify(np.ascontiguousarray(acc_g.T)[np.newaxis])

    assert bundle.manifest.labels[int(probabilities.argmax())] == label
    assert probabilities.max() > 0.7


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(tmp_path: Path) -> None:
    tempered = load(tiny_bundle(tmp_path / "tempered.onnx", temperature=2.5))
    classifier = Classifier(tempered)
    some = windows(9)

    images = encode_batch(some, spec=tempered.manifest.image).astype(np.float64)
    variance = ((images - images.mean(axis=(2, 3), keepdims=True)) ** 2).mean(axis=(1, 2, 3))
    # For two labels the softmax is the logistic function; the second label leads from 0.01 on.
    moving = 1.0 / (1.0 + np.exp(-400.0 * (variance - 0.01) / 2.5))

    probabilities = classifier.classify(some)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, np.stack([1 - moving, moving], axis=1), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_what_is_unlike_anything_learned_takes_from_every_label_alike(tmp_path: Path) -> None:
    near = Familiarity(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), half=0.2, spread=0.05)
    plain, wary = (
        load(
            tiny_bundle(
                tmp_path / f"{name}.onnx", familiarity=found, labels=LABELS, golden_windows=windows(3)[:2]
            )
        )
        for name, found in (("plain", None), ("wary", near))
    )
    some = windows(9)
    images = encode_batch(some, spec=plain.manifest.image).astype(np.float64)
    variance = ((images - images.mean(axis=(2, 3), keepdims=True)) ** 2).mean(axis=(1, 2, 3))
    known = 1.0 / (1.0 + np.exp((variance - 0.2) / 0.05))
    assert known.min() < 0.2
    assert known.max() > 0.9

    told = Classifier(wary).classify(some)
    np.testing.assert_allclose(told, Classifier(plain).classify(some) * known[:, np.newaxis], atol=1e-5)
    np.testing.assert_allclose(told.sum(axis=1), known, atol=1e-5)


def test_a_tap_that_is_not_there_or_of_another_size_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    one, two = (
        Familiarity(np.eye(features, dtype=np.float32), np.zeros((1, features), np.float32), 1.0, 1.0)
        for features in (1, 2)
    )
    assert "the graph has 1 outputs instead of logits and tap" in refusal(replace(bundle, familiarity=one))
    wary = load(tiny_bundle(tmp_path / "wary.onnx", familiarity=one))
    assert "the graph's tap is tensor(float) of ['batch', 1]" in refusal(replace(wary, familiarity=two))
    assert "the graph has 2 outputs instead of one" in refusal(replace(wary, familiarity=None))


def test_huge_logits_overflow_nothing(bundle: Bundle) -> None:
    graph = tiny_graph(labels=3, channels=3, size=16)
    offsets = np.array([3e38, 0.0, -3e38], np.float32)
    graph.graph.initializer[2].CopyFrom(onnx.numpy_helper.from_array(offsets, "offsets"))
    cold = bundle.manifest.model_copy(update={"temperature": 0.01})

    probabilities = Classifier(replace(in_memory(bundle, graph), manifest=cold)).classify(windows(5))

    assert np.array_equal(probabilities, [[1.0, 0.0, 0.0]] * 5)


def test_no_windows_give_no_probabilities(classifier: Classifier) -> None:
    assert classifier.classify(windows(2)[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    "some",
    [
        np.zeros((3, 40), np.float32),
        np.zeros((1, 3, 39), np.float32),
        np.zeros((1, 2, 40), np.float32),
        np.zeros((1, 3, 40), np.float64),
        np.zeros((1, 40, 3), np.float32).transpose(0, 2, 1),
    ],
    ids=["one window", "too short", "an axis missing", "float64", "not contiguous"],
)
def test_windows_that_do_not_fit_are_refused(classifier: Classifier, some: NDArray[Any]) -> None:
    with pytest.raises(ImageSpecError):
        classifier.classify(some)


def test_earlier_results_outlive_later_calls(classifier: Classifier) -> None:
    first = classifier.classify(windows(3))
    copy = first.copy()
    classifier.classify(windows(40)[20:])

    assert np.array_equal(first, copy)


def test_more_windows_than_the_largest_batch_are_classified_in_order(classifier: Classifier) -> None:
    some = windows(2 * MAX_BATCH + 5)

    whole = classifier.classify(some)

    assert np.array_equal(whole, np.concatenate([classifier.classify(w[np.newaxis]) for w in some]))


def test_warming_up_changes_nothing(classifier: Classifier) -> None:
    before = classifier.classify(windows(7))
    classifier.warm()

    assert np.array_equal(classifier.classify(windows(7)), before)


def convolutional_graph() -> onnx.ModelProto:
    """Three labels from random convolutions, strided and padded as a residual network's."""
    random = np.random.default_rng(0)
    weights = {
        "stem": random.normal(scale=0.2, size=(16, 3, 7, 7)),
        "stem_bias": random.normal(scale=0.2, size=16),
        "body": random.normal(scale=0.1, size=(24, 16, 3, 3)),
        "body_bias": random.normal(scale=0.1, size=24),
        "head": random.normal(scale=0.3, size=(24, 3)),
        "head_bias": np.zeros(3),
    }
    return graph_of(
        [
            helper.make_node("Conv", ["image", "stem", "stem_bias"], ["a"], strides=[2, 2], pads=[3] * 4),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "body", "body_bias"], ["c"], strides=[2, 2], pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("GlobalAveragePool", ["d"], ["e"]),
            helper.make_node("Flatten", ["e"], ["f"]),
            helper.make_node("Gemm", ["f", "head", "head_bias"], ["logits"]),
        ],
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        initializers={name: values.astype(np.float32) for name, values in weights.items()},
    )


def quantised(graph: onnx.ModelProto, bundle: Bundle, folder: Path) -> onnx.ModelProto:
    """As a student is quantised: QDQ, per channel, unsigned activations, signed weights of seven bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([encode_batch(windows(32), spec=bundle.manifest.image)])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    quantize_static(
        graph,
        folder / "int8.onnx",
        Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    return onnx.load(folder / "int8.onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_windows_probabilities_do_not_depend_on_its_batch(
    bundle: Bundle, tmp_path: Path, precision: str
) -> None:
    graph = convolutional_graph()
    if precision == "int8":
        graph = quantised(graph, bundle, tmp_path)
        assert any(node.op_type == "DequantizeLinear" for node in graph.graph.node)
    classifier = Classifier(in_memory(bundle, graph))
    some = windows(33)
    alone = np.concatenate([classifier.classify(window[np.newaxis]) for window in some])
    assert np.ptp(alone, axis=0).min() > 0.01

    for size in range(1, 34):
        together = np.concatenate([classifier.classify(some[i : i + size]) for i in range(0, 33, size)])
        if precision == "int8":
            assert np.array_equal(together, alone), size
        else:
            # A matrix product may add up in another order when it has other rows.
            np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6, err_msg=str(size))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_int8_graph_tells_the_same_in_floating_point_to_the_rounding_of_a_step(
    bundle: Bundle, tmp_path: Path
) -> None:
    graph = in_memory(bundle, quantised(convolutional_graph(), bundle, tmp_path))
    some = windows(64)

    integers = Classifier(graph).classify(some)
    floats = Classifier(graph, arithmetic="float").classify(some)

    assert np.ptp(integers, axis=0).min() > 0.01
    np.testing.assert_allclose(floats, integers, rtol=0, atol=0.02)
    assert (floats.argmax(1) == integers.argmax(1)).mean() > 0.95


def test_a_graph_in_floating_point_does_not_care_for_the_arithmetic(bundle: Bundle) -> None:
    graph = in_memory(bundle, convolutional_graph())

    one, two = (Classifier(graph, arithmetic=each).classify(windows(5)) for each in get_args(_ort.Arithmetic))

    assert np.array_equal(one, two)


def test_more_threads_give_the_same_probabilities(bundle: Bundle) -> None:
    convolutional = in_memory(bundle, convolutional_graph())

    one, two = (Classifier(convolutional, threads=threads).classify(windows(20)) for threads in (1, 2))

    np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_the_images_are_written_into_one_buffer_and_not_copied(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = []

    def spy(batch: NDArray[np.float32], *, out: NDArray[np.float32], **spec: Any) -> NDArray[np.float32]:
        addresses.append(out.ctypes.data)
        return encode_batch(batch, out=out, **spec)

    monkeypatch.setattr(classify_module, "encode_batch", spy)
    for size in (1, 33, 7):
        classifier.classify(windows(size))

    assert len(addresses) == 4
    assert len(set(addresses)) == 1


def no_golden() -> Golden:
    return Golden(windows=np.empty((0, 3, 40), np.float32), probabilities=np.empty((0, 3), np.float32))


def in_memory(bundle: Bundle, graph: onnx.ModelProto | bytes) -> Bundle:
    """The bundle with another graph, and nothing golden."""
    data = graph if isinstance(graph, bytes) else graph.SerializeToString()
    return replace(bundle, graph=data, golden=no_golden())


def value_info(name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def graph_with(
    *nodes: onnx.NodeProto, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    graph = tiny_graph(labels=3, channels=3, size=16)
    graph.graph.node.extend(nodes)
    for field, changed in ((graph.graph.input, inputs), (graph.graph.output, outputs)):
        if changed:
            del field[:]
            field.extend(changed)
    return graph


IMAGE = value_info("image", "batch", 3, 16, 16)
LOGITS = value_info("logits", "batch", 3)


@pytest.mark.parametrize(
    ("graph", "complaint"),
    [
        (
            tiny_graph(labels=2, channels=3, size=16),
            "the graph's output is tensor(float) of ['batch', 2], not tensor(float) of [batch, 3]",
        ),
        (
            tiny_graph(labels=3, channels=6, size=16),
            "the graph's input is tensor(float) of ['batch', 6, 16, 16], not tensor(float) of [batch, 3, 16,",
        ),
        (tiny_graph(labels=3, channels=3, size=32), "the graph's input is tensor(float) of ['batch', 3, 32,"),
        (tiny_graph(labels=3, channels=3, size=16, batch=1), "the graph's input is tensor(float) of [1, 3,"),
        (
            graph_with(inputs=[IMAGE, value_info("mask", "batch")], outputs=[]),
            "the graph has 2 inputs instead of one",
        ),
        (
            graph_with(inputs=[], outputs=[LOGITS, value_info("variance", "batch")]),
            "the graph has 2 outputs instead of one",
        ),
        (
            graph_with(
                helper.make_node("Cast", ["logits"], ["label"], to=TensorProto.DOUBLE),
                inputs=[],
                outputs=[value_info("label", "batch", 3, dtype=TensorProto.DOUBLE)],
            ),
            "the graph's output is tensor(double) of ['batch', 3]",
        ),
        (
            graph_with(
                helper.make_node("Shape", ["logits"], ["shape"]),
                inputs=[],
                outputs=[value_info("shape", 2, dtype=TensorProto.INT64)],
            ),
            "the graph's output is tensor(int64) of [2]",
        ),
        (
            graph_with(
                helper.make_node("ReduceSum", ["logits"], ["sum"], keepdims=0),
                inputs=[],
                outputs=[helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])],
            ),
            "the graph's output is tensor(float) of []",
        ),
    ],
    ids=["labels", "channels", "size", "batch", "inputs", "outputs", "double", "integers", "scalar"],
)
def test_a_graph_that_breaks_its_manifest_is_refused(
    bundle: Bundle, graph: onnx.ModelProto, complaint: str
) -> None:
    reason = refusal(in_memory(bundle, graph))

    assert reason.startswith(complaint)
    assert reason.endswith(": export it again with `vskd-train export`")


def operator(kind: str) -> Callable[[onnx.ModelProto], object]:
    return lambda graph: graph.graph.node.append(helper.make_node(kind, ["logits"], ["x"]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda graph: graph.graph.node.pop(),
        operator("NoSuchOperator"),
        lambda graph: graph.opset_import[0].ClearField("version"),
        lambda graph: setattr(graph.opset_import[0], "version", 9999),
        lambda graph: setattr(graph, "ir_version", 9999),
        lambda graph: graph.graph.initializer.pop(),
        lambda graph: setattr(graph.graph.initializer[1], "raw_data", b"\0"),
        lambda graph: graph.ClearField("graph"),
    ],
    ids=["node", "operator", "no opset", "opset", "ir", "initializer", "data", "graph"],
)
def test_a_graph_that_onnxruntime_does_not_take_is_refused_in_one_sentence_and_silently(
    bundle: Bundle, capfd: pytest.CaptureFixture[str], damage: Callable[[onnx.ModelProto], object]
) -> None:
    graph = tiny_graph(labels=3, channels=3, size=16)
    damage(graph)

    assert refusal(in_memory(bundle, graph))
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_fails_while_it_runs_is_refused_silently(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = tiny_graph(labels=3, channels=3, size=16)
    last = graph.graph.node.pop()
    graph.graph.node.extend(
        [
            helper.make_node(last.op_type, last.input, ["rows"]),
            helper.make_node("Cast", ["variance"], ["zero"], to=TensorProto.INT64),
            helper.make_node("Add", ["zero", "far"], ["beyond"]),
            helper.make_node("Gather", ["rows", "beyond"], ["logits"]),
        ]
    )
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([99]), "far"))

    classifier = Classifier(in_memory(bundle, graph))
    with pytest.raises(BundleError, match="onnxruntime fails in the graph"):
        classifier.classify(windows(2))
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_gives_another_number_of_rows_is_refused(bundle: Bundle) -> None:
    graph = tiny_graph(labels=3, channels=3, size=16)
    last = graph.graph.node.pop()
    twice = helper.make_node("Concat", ["once", "once"], ["logits"], axis=0)
    graph.graph.node.extend([helper.make_node(last.op_type, last.input, ["once"]), twice])

    classifier = Classifier(in_memory(bundle, graph))
    with pytest.raises(BundleError, match=r"2 images came out with the shape \(4, 3\)"):
        classifier.classify(windows(2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bundle: Bundle, value: float) -> None:
    graph = tiny_graph(labels=3, channels=3, size=16)
    offsets = onnx.numpy_helper.from_array(np.array([0, value, 0], np.float32), "offsets")
    graph.graph.initializer[2].CopyFrom(offsets)

    reason = refusal(replace(bundle, graph=graph.SerializeToString()))

    assert reason == "a score is not finite: export it again with `vskd-train export`"


def test_a_golden_window_that_does_not_come_out_is_refused_with_the_difference(bundle: Bundle) -> None:
    probabilities = bundle.golden.probabilities.copy()
    probabilities[1] += np.array([0.01, 0.0, -0.01], np.float32)

    reason = refusal(replace(bundle, golden=replace(bundle.golden, probabilities=probabilities)))

    assert reason.startswith(
        "golden window 1 comes out 0.01 away, where 0.0001 is allowed; this machine computes it differently"
    )


def test_a_golden_window_within_the_tolerance_is_accepted(bundle: Bundle) -> None:
    probabilities = bundle.golden.probabilities + np.float32(0.00009)

    Classifier(replace(bundle, golden=replace(bundle.golden, probabilities=probabilities)))


def test_a_golden_window_that_changes_its_label_is_refused_within_the_tolerance(bundle: Bundle) -> None:
    tolerant = bundle.manifest.model_copy(update={"golden_tolerance": 0.1})
    close = Classifier(bundle).classify(windows(400))
    lead = np.sort(close, axis=1)
    index = int((lead[:, 2] - lead[:, 1]).argmin())
    swapped = close[index][[1, 0, 2]] if close[index].argmin() == 2 else close[index][[0, 2, 1]]
    golden = Golden(windows=windows(400)[[index]], probabilities=swapped[np.newaxis])

    reason = refusal(replace(bundle, manifest=tolerant, golden=golden))

    assert reason.startswith("golden window 0 comes out with another label")


def test_a_damaged_graph_is_refused_or_runs_and_silently(
    bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    two = windows(2)
    refusals = []
    for _ in range(150):
        graph = bytearray(bundle.graph)
        for position in random.integers(0, len(graph), size=random.integers(1, 4)):
            graph[position] = random.integers(0, 256)
        try:
            assert np.isfinite(Classifier(in_memory(bundle, bytes(graph))).classify(two)).all()
        except BundleError as error:
            refusals.append(str(error))
    assert 0 < len(refusals) < 150
    assert "\n" not in "".join(refusals)
    assert capfd.readouterr() == ("", "")


def test_a_bundle_of_the_writer_runs_on_the_graph_it_was_given(bundle: Bundle, tmp_path: Path) -> None:
    fields = bundle.manifest.model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"})
    graph = convolutional_graph()
    write_bundle(
        tmp_path / "conv.onnx",
        graph.SerializeToString(),
        manifest=fields,
        golden_windows=bundle.golden.windows,
    )

    written = Classifier(load(tmp_path / "conv.onnx")).classify(windows(5))

    assert np.array_equal(written, Classifier(in_memory(bundle, graph)).classify(windows(5)))
