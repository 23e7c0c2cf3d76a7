from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.manifests import manifest
from tests.models import acceleration, tiny_bundle, tiny_graph
from training.shipping.bundling import write_bundle
from vskd_stream import _ort
from vskd_stream import bundle as bundle_module
from vskd_stream.bundle import (
    DIGEST_KEY,
    FAMILIAR_KEY,
    GOLDEN_KEY,
    MANIFEST_KEY,
    Bundle,
    load,
    resolve,
    shipped,
)
from vskd_stream.errors import BundleError
from vskd_stream.familiarity import Familiarity

Json = dict[str, Any]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.onnx")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broken.onnx"


def entry(key: str, value: str) -> bytes:
    proto = onnx.StringStringEntryProto(key=key, value=value)
    return bytes(onnx.ModelProto(metadata_props=[proto]).SerializeToString())


def rewritten(
    sound: Path,
    *,
    manifest: Callable[[Json], object] = lambda _: None,
    golden: Callable[[Json], object] = lambda _: None,
) -> bytes:
    """The bundle with a changed manifest or golden entry and a digest that fits."""
    model = onnx.load(sound)
    entries = {each.key: json.loads(each.value) for each in model.metadata_props if each.key != DIGEST_KEY}
    manifest(entries[MANIFEST_KEY])
    golden(entries[GOLDEN_KEY])
    data = load(sound).graph + b"".join(entry(key, json.dumps(value)) for key, value in entries.items())
    return data + entry(DIGEST_KEY, hashlib.sha256(data).hexdigest())


def refusal(path: Path, **arguments: Any) -> str:
    with pytest.raises(BundleError) as caught:
        load(path, **arguments)
    assert caught.value.path == path
    text = str(caught.value)
    assert text.startswith(f"model bundle {path}: ")
    assert "\n" not in text
    return caught.value.reason


def test_a_bundle_gives_back_what_was_written(sound: Path) -> None:
    loaded = load(sound)

    hashes = loaded.manifest.model_dump(include={"graph_bytes", "graph_sha256"})
    assert loaded.manifest == manifest(**hashes)
    assert loaded.manifest.graph_sha256 == hashlib.sha256(loaded.graph).hexdigest()
    assert loaded.sha256 == hashlib.sha256(sound.read_bytes()).hexdigest()
    assert loaded.golden.windows.shape == (2, 3, 40)
    assert loaded.golden.probabilities.shape == (2, 2)
    assert loaded.golden.windows.dtype == loaded.golden.probabilities.dtype == np.float32
    assert np.array_equal(loaded.golden.windows[0].T, acceleration(0.0, samples=40, sampling_rate_hz=20.0))


def test_golden_windows_can_be_encoded_by_the_kernels_that_are_compiled_already(sound: Path) -> None:
    assert load(sound).golden.windows.flags.writeable


def test_any_onnx_tool_reads_the_file(sound: Path) -> None:
    model = onnx.load(sound)
    onnx.checker.check_model(model, full_check=True)
    session = _ort.open_session(sound.read_bytes(), threads=1)

    in_onnx = {each.key: each.value for each in model.metadata_props}
    assert list(in_onnx) == [MANIFEST_KEY, GOLDEN_KEY, DIGEST_KEY]
    assert session.get_modelmeta().custom_metadata_map == in_onnx


def test_the_same_model_is_written_as_the_same_bytes(sound: Path, tmp_path: Path) -> None:
    assert tiny_bundle(tmp_path / "again.onnx").read_bytes() == sound.read_bytes()


def test_what_an_exporter_noted_beside_the_numbers_is_not_published(tmp_path: Path, sound: Path) -> None:
    graph = tiny_graph(labels=2, channels=3, size=16)
    for part in (graph, graph.graph, graph.graph.node[0], graph.graph.input[0]):
        part.doc_string = "File /home/somebody/model.py"
    graph.metadata_props.add(key="author", value="somebody")
    graph.graph.node[0].metadata_props.add(key="stack_trace", value="/home/somebody")
    fields = manifest().model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"})
    write_bundle(tmp_path / "noted.onnx", graph, manifest=fields, golden_windows=load(sound).golden.windows)

    assert (tmp_path / "noted.onnx").read_bytes() == sound.read_bytes()
    assert graph.doc_string


def test_a_bundle_that_cannot_be_loaded_is_not_written(path: Path) -> None:
    fields = manifest().model_dump(exclude={"schema_version", "graph_bytes", "graph_sha256"})

    with pytest.raises(BundleError, match="the graph's output is"):
        write_bundle(
            path,
            tiny_graph(labels=3, channels=3, size=16),
            manifest=fields,
            golden_windows=np.zeros((1, 3, 40), np.float32),
        )
    assert list(path.parent.iterdir()) == []


def test_a_golden_window_without_a_clear_label_is_not_written(path: Path) -> None:
    # So weak a temperature leaves nothing between the labels.
    with pytest.raises(BundleError, match=r"golden window \d has no clear label .*: drop it"):
        tiny_bundle(path, temperature=100.0, golden_tolerance=0.1)
    assert list(path.parent.iterdir()) == []


def test_a_bundle_needs_a_golden_window(path: Path) -> None:
    with pytest.raises(BundleError, match="0 golden windows: give 1 to 64"):
        tiny_bundle(path, golden_windows=np.empty((0, 3, 40), np.float32))
    assert list(path.parent.iterdir()) == []


def test_a_missing_file_is_refused(path: Path) -> None:
    assert refusal(path) == "cannot be read (No such file or directory): check its name and rights"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "not a file: name the .onnx file itself"


def test_a_pipe_is_refused_without_waiting_for_its_writer(path: Path) -> None:
    os.mkfifo(path)

    assert refusal(path) == "not a file: name the .onnx file itself"


def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert "cannot be" in refusal(Path("a\0b"))
    assert "File name too long" in refusal(Path("a" * 5000))


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()

    assert refusal(path) == "the file is empty: copy it again"


def test_a_file_that_is_too_large_is_refused(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(bundle_module.MAX_BYTES + 1)

    assert refusal(path).startswith("larger than 256 MiB")


def test_another_onnx_model_is_refused(path: Path) -> None:
    path.write_bytes(tiny_graph(labels=2, channels=3, size=16).SerializeToString())

    assert refusal(path) == "an ONNX model without a manifest: export one with `vskd-train export`"


def test_a_pinned_hash_must_be_the_files(sound: Path) -> None:
    pin = hashlib.sha256(sound.read_bytes()).hexdigest()

    assert load(sound, sha256=pin.upper()).sha256 == pin
    assert refusal(sound, sha256="0" * 64) == (
        f"its SHA-256 is {pin}, not the pinned {'0' * 64}: restore the file or change the pin"
    )


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "upgrade vskd-stream"), (0, "export it again with `vskd-train export`")]
)
def test_another_schema_version_is_refused_with_the_one_that_is_read(
    sound: Path, path: Path, version: int, remedy: str
) -> None:
    path.write_bytes(rewritten(sound, manifest=lambda m: m.update(schema_version=version)))

    assert refusal(path) == f"its manifest has version {version}, this release reads version 1: {remedy}"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.update(sampling_rate_hz=-1), "wrong in sampling_rate_hz (Input should be greater"),
        (lambda m: m.update(sampling_rate_hz="50"), "wrong in sampling_rate_hz (Input should be a valid"),
        (lambda m: m.pop("temperature"), "wrong in temperature (Field required)"),
        (lambda m: m.pop("schema_version"), "wrong in schema_version (Field required)"),
        (lambda m: m.update(schema_version="1"), "wrong in schema_version (Input should be 1)"),
        (lambda m: m.update(extra=1), "wrong in extra (Extra inputs are not permitted)"),
        (lambda m: m["decision"].update(smoothing_windows=0), "wrong in decision.smoothing_windows ("),
        (lambda m: m.update(labels=["still", "Gap"], name="?"), "wrong in name ("),
        (lambda m: m.update(labels=["still", "gap"]), "wrong in the whole (Value error, labels ['gap'] are"),
        (lambda m: m.clear(), ", and 15 more"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_name_of_the_field(
    sound: Path, path: Path, change: Callable[[Json], object], complaint: str
) -> None:
    path.write_bytes(rewritten(sound, manifest=change))

    reason = refusal(path)
    assert complaint in reason
    assert reason.endswith(": export it again with `vskd-train export`")


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000, '{"labels": NaN'])
def test_a_manifest_that_is_no_json_is_refused(sound: Path, path: Path, text: str) -> None:
    path.write_bytes(load(sound).graph + entry(MANIFEST_KEY, text))

    assert "its manifest is no JSON (" in refusal(path)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"'])
def test_a_manifest_that_is_no_object_is_refused(sound: Path, path: Path, text: str) -> None:
    path.write_bytes(load(sound).graph + entry(MANIFEST_KEY, text))

    assert "its manifest is wrong in the whole (" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [lambda m: m.update(graph_sha256="0" * 64), lambda m: m.update(graph_bytes=7)],
    ids=["hash", "length"],
)
def test_a_graph_with_another_hash_is_refused(
    sound: Path, path: Path, change: Callable[[Json], object]
) -> None:
    path.write_bytes(rewritten(sound, manifest=change))

    assert refusal(path) == "its bytes are not those it was written with: copy the file again"


def packed(*shape: int, value: float = 0.5) -> Json:
    values = np.full(shape, value, "<f4")
    return {"shape": shape, "float32": base64.b64encode(values.tobytes()).decode()}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda g: g.update(windows=packed(2, 3, 39)), "windows of the shape (2, 3, 39), not (2, 3, 40)"),
        (lambda g: g.update(windows=packed(2, 40, 3)), "windows of the shape (2, 40, 3), not (2, 3, 40)"),
        (lambda g: g.update(windows=packed(65, 3, 40)), "65 windows; it has 1 to 64"),
        (lambda g: g.update(windows=packed(1)), "windows of the shape (1,), not (1, 3, 40)"),
        (lambda g: g.update(windows=packed(2, 3, 40, value=np.nan)), "a value is not finite"),
        (lambda g: g.update(probabilities=packed(2, 3)), "probabilities of the shape (2, 3), not (2, 2)"),
        (lambda g: g.update(probabilities=packed(1, 2)), "probabilities of the shape (1, 2), not (2, 2)"),
        (lambda g: g.update(probabilities=packed(2, 2, value=np.inf)), "a value is not finite"),
        (lambda g: g.pop("windows"), "windows or probabilities are missing"),
        (lambda g: g.update(windows=3), "an array is not a shape and base64"),
        (lambda g: g["windows"].update(shape=[2, 3, 41]), "240 values for the shape [2, 3, 41]"),
        (lambda g: g["windows"].update(shape=[-2, -3, 40]), "240 values for the shape [-2, -3, 40]"),
        (lambda g: g["windows"].update(shape=[0, 10**30], float32=""), "0 values for the shape [0, 1"),
        (lambda g: g["windows"].update(shape=[]), "an array is not a shape and base64"),
        (lambda g: g["windows"].update(shape=[], float32="AAAAAA=="), "an array is not a shape and base64"),
        (lambda g: g["windows"].update(shape=[True]), "240 values for the shape [True]"),
        (lambda g: g["windows"].update(float32="#"), "base64"),
        (lambda g: g["windows"].update(float32="AAA="), "buffer size"),
    ],
)
def test_goldens_that_do_not_fit_the_manifest_are_refused(
    sound: Path, path: Path, change: Callable[[Json], object], complaint: str
) -> None:
    path.write_bytes(rewritten(sound, golden=change))

    reason = refusal(path)
    assert reason.startswith(f"its {GOLDEN_KEY} is wrong (")
    assert complaint in reason


def test_a_bundle_without_goldens_is_refused(sound: Path, path: Path) -> None:
    loaded = load(sound)
    data = loaded.graph + entry(MANIFEST_KEY, loaded.manifest.model_dump_json())
    path.write_bytes(data + entry(DIGEST_KEY, hashlib.sha256(data).hexdigest()))

    assert refusal(path).startswith(f"its {GOLDEN_KEY} is wrong (")


def attempt(data: bytes) -> Bundle | None:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        try:
            return load(Path(file.name))
        except BundleError:
            return None


def test_no_single_changed_byte_goes_unnoticed(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    for position in range(len(data)):
        changed = 1 << (position * 5 % 8)
        data[position] ^= changed
        assert attempt(bytes(data)) is None, position
        data[position] ^= changed


def test_no_shortened_bundle_is_accepted(sound: Path) -> None:
    data = sound.read_bytes()
    for length in range(len(data)):
        assert attempt(data[:length]) is None, length


def test_nothing_can_be_appended(sound: Path) -> None:
    assert attempt(sound.read_bytes() + b"\x00") is None
    assert attempt(sound.read_bytes() + entry("note", "mine")) is None
    assert attempt(sound.read_bytes() + tiny_graph(labels=2, channels=3, size=16).SerializeToString()) is None


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert attempt(data) is None


@given(graph=st.binary(max_size=60), manifest=st.text(max_size=40), golden=st.text(max_size=40))
def test_random_parts_in_a_well_formed_file_are_refused(graph: bytes, manifest: str, golden: str) -> None:
    data = graph + entry(MANIFEST_KEY, manifest) + entry(GOLDEN_KEY, golden)

    assert attempt(data + entry(DIGEST_KEY, hashlib.sha256(data).hexdigest())) is None


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("vskd_stream.bundle.resources.files", lambda _: tmp_path)
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


def test_a_shipped_bundle_is_found_by_its_name(models: Path) -> None:
    (models / "wrist.onnx").touch()

    assert shipped("wrist") == resolve("wrist") == models / "wrist.onnx"


def test_an_unknown_name_is_refused_with_those_there_are(models: Path) -> None:
    (models / "wrist.onnx").touch()
    (models / "ankle.onnx").touch()

    with pytest.raises(BundleError) as caught:
        shipped("../wrist")
    assert caught.value.reason == "none of this name is shipped; there is ankle, wrist"


def test_without_any_shipped_bundle_that_is_said(models: Path) -> None:
    with pytest.raises(BundleError, match="there is none at all"):
        resolve(models.name)


@pytest.mark.parametrize("text", ["./wrist", "/models/wrist", "wrist.onnx", "a/b.bin"])
def test_what_looks_like_a_path_is_one(text: str) -> None:
    assert resolve(text) == Path(text)
    assert resolve(Path("wrist")) == Path("wrist")


FAMILIAR = Familiarity(np.full((1, 1), 2.0, np.float32), np.zeros((2, 1), np.float32), half=3.5, spread=0.25)


def familiar(path: Path) -> Path:
    return tiny_bundle(path, familiarity=FAMILIAR)


def test_what_is_familiar_comes_back_bit_for_bit(tmp_path: Path) -> None:
    found = load(familiar(tmp_path / "familiar.onnx")).familiarity
    assert found is not None
    assert np.array_equal(found.whitening, FAMILIAR.whitening)
    assert np.array_equal(found.means, FAMILIAR.means)
    assert (found.half, found.spread) == (3.5, 0.25)


def test_a_bundle_that_knows_no_strangers_says_so(sound: Path) -> None:
    assert load(sound).familiarity is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"half": -1.0}, "must be positive"),
        ({"half": "near"}, "is missing"),
        ({"whitening": {"shape": [1], "float32": base64.b64encode(bytes(4)).decode()}}, "whitening of the"),
        ({"means": {"shape": [2, 1], "float32": "AAAA"}}, "multiple of element size"),
        ({"means": {"shape": [9, 9], "float32": ""}}, "values for the shape"),
    ],
)
def test_a_damaged_familiarity_is_refused(tmp_path: Path, path: Path, changes: Json, reason: str) -> None:
    sound = familiar(tmp_path / "familiar.onnx")
    model = onnx.load(sound)
    entries = {each.key: json.loads(each.value) for each in model.metadata_props if each.key != DIGEST_KEY}
    entries[FAMILIAR_KEY] |= changes
    data = load(sound).graph + b"".join(entry(key, json.dumps(value)) for key, value in entries.items())
    path.write_bytes(data + entry(DIGEST_KEY, hashlib.sha256(data).hexdigest()))
    assert f"its {FAMILIAR_KEY} is wrong" in refusal(path)
    assert reason in refusal(path)
