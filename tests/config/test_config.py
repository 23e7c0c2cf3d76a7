"""What is read, and that nothing but a configuration's own error comes of anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.config.files import CONFIGS, GOOD, REMOTE_KEYS, TEN_ERRORS, loaded, problems
from vskd_stream import config
from vskd_stream.decode import FORMATS
from vskd_stream.errors import ConfigError
from vskd_stream.settings import EmbeddedBroker, Model, RemoteBroker, Tls


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_shipped_configuration_is_read_and_fits_the_schema(name: str) -> None:
    config.load(CONFIGS / name)
    tree = yaml.safe_load((CONFIGS / name).read_text())
    jsonschema.Draft202012Validator(config.json_schema()).validate(tree)


def test_the_demonstration_needs_nothing_but_itself() -> None:
    demo = config.load(CONFIGS / "demo.yaml")
    assert demo.broker == EmbeddedBroker()
    assert demo.model.bundle == "wrist"
    assert [replay.recording for replay in demo.replay] == ["demo"]
    assert demo.replay[0].repeat
    assert config.warnings(demo) == []


def test_the_example_for_a_home_uses_tls_and_a_password_file_beside_it() -> None:
    watch = config.load(CONFIGS / "watch.yaml")
    assert watch.broker == RemoteBroker(
        host="broker.lan",
        username="vskd",
        password_file=CONFIGS / "mqtt-password",
        tls=Tls(ca_file=CONFIGS / "ca.crt"),
    )
    assert [(source.topic, source.format, source.device_index) for source in watch.sources] == [
        ("imu/+/samples", "auto", 1),
        ("sensor-logger", "sensor-logger", None),
    ]
    assert config.warnings(watch) == []


HOST = "a host name or an address, such as `broker.lan`, `192.168.1.2` or `::1`"


def test_ten_errors_are_told_at_once_with_their_lines(file: Path) -> None:
    file.write_text(TEN_ERRORS)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    formats = ", ".join(f"`{name}`" for name in ["auto", *sorted(FORMATS)])
    assert str(caught.value) == (
        f"{file}: 10 problems\n"
        "  line 1: gateway: YAML reads `no` as false; put it in quotes if it is text;"
        " allowed: 1 to 64 letters (a to z), digits, `-` and `_`\n"
        f"  line 2: broker.host: this key is missing; allowed: {HOST}\n"
        f"  line 3: broker.hots: unknown key; did you mean `host`? allowed: {REMOTE_KEYS}\n"
        "  line 4: broker.port: `99999` is out of range; allowed: a whole number from 1 to 65535\n"
        f"  line 5: broker.password: unknown key; did you mean `password_file`? allowed: {REMOTE_KEYS}\n"
        "  line 7: sources[0].topic: # stands only as the last level of a topic filter;"
        " allowed: an MQTT topic filter, such as `imu/+/samples`\n"
        f"  line 8: sources[0].format: this format is not known; allowed: {formats}\n"
        "  line 9: sources[1].topic: this key is missing;"
        " allowed: an MQTT topic filter, such as `imu/+/samples`\n"
        "  line 11: limits.max_devices: YAML reads `0x10` as a number in an old notation;"
        " write decimal digits, or put it in quotes if it is text\n"
        "  line 13: log.level: `warn` does not fit; allowed: `debug`, `info`, `warning`, `error`"
    )


def test_problems_come_in_the_order_of_the_file_even_when_the_yaml_was_read_before_the_models(
    file: Path,
) -> None:
    told = problems(
        file, "log: {level: x}\ngateway: 0x1\n" + GOOD.removeprefix("gateway: home\n") + "model:\n"
    )
    assert [line.split(":")[0] for line in told] == ["line 1", "line 2", "line 6"]


def test_relative_paths_come_out_joined_to_the_folder_of_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(
        "gateway: home\n"
        "broker:\n"
        "  host: b\n"
        "  username: u\n"
        "  password_file: word\n"
        "  tls: {ca_file: tls/ca.crt, cert_file: /etc/us.crt, key_file: us.key}\n"
        "sources: [{topic: a}]\n"
        "model: my.onnx\n"
        "replay: [{recording: demo}, {recording: ./mine}, {recording: /var/other.vskdrec}]\n"
    )
    monkeypatch.chdir(file.parent)
    for path in (file, Path(file.name)):
        found = config.load(path)
        assert isinstance(found.broker, RemoteBroker)
        assert found.broker.password_file == file.parent / "word"
        assert found.broker.tls == Tls(
            ca_file=file.parent / "tls/ca.crt", cert_file=Path("/etc/us.crt"), key_file=file.parent / "us.key"
        )
        assert found.model.bundle == str(file.parent / "my.onnx")
        assert [replay.recording for replay in found.replay] == [
            "demo",
            str(file.parent / "mine"),
            "/var/other.vskdrec",
        ]


def test_names_of_what_is_shipped_stay_names(file: Path) -> None:
    assert loaded(file, GOOD + "model: {bundle: wrist}\n").model == Model(bundle="wrist")
    assert loaded(file, GOOD).model == Model(bundle="wrist")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "config.yaml"


def survives(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    try:
        config.load(file)
    except ConfigError as error:
        refused = error
    else:
        return
    text = str(refused)
    assert text.encode(), "it must be printable on any terminal"
    assert refused.problems
    assert not any(jargon in text for jargon in ("pydantic", "https:", "Traceback", "validation error"))


@given(raw=st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
@example(raw=b"\xff\xfe")
@example(raw=b"? ? ?")
def test_random_bytes_raise_nothing_but_config_errors(hostile: Path, raw: bytes) -> None:
    survives(hostile, raw)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_configuration_raises_nothing_but_config_errors(hostile: Path, data: st.DataObject) -> None:
    raw = (CONFIGS / "watch.yaml").read_bytes()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        upto = data.draw(st.integers(at, min(len(raw), at + 40)))
        put = data.draw(
            st.binary(max_size=8)
            | st.text(alphabet="&*!|>%@`\"'{}[],:#-?~\t\n 019.eyn", max_size=8).map(str.encode)
        )
        raw = raw[:at] + put + raw[upto:]
    survives(hostile, raw)


KEYS = sorted(
    {
        key
        for schema in [config.json_schema(), *config.json_schema()["$defs"].values()]
        for key in schema["properties"]
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.binary(max_size=4)
    | st.text(max_size=12)
    | st.sampled_from(["embedded", "wrist", "imu/+/samples", "auto", "3.1.1", "a/b", "#"])
)
TREES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=6) | st.integers() | st.booleans(), below, max_size=6
        )
    ),
    max_leaves=25,
)


@given(
    tree=st.dictionaries(
        st.sampled_from(["gateway", "broker", "sources", "model", "replay", "devices", "log"]), TREES
    )
    | TREES
)
@settings(max_examples=150, deadline=None)
def test_random_documents_raise_nothing_but_config_errors(hostile: Path, tree: Any) -> None:
    survives(hostile, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
