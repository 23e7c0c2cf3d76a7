"""What the reader of configurations accepts, and what it says about what it refuses."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vskd_stream import config
from vskd_stream.decode import FORMATS
from vskd_stream.errors import ConfigError
from vskd_stream.settings import EmbeddedBroker, Http, Model, RemoteBroker, Settings, Tls

CONFIGS = Path(__file__).parents[1] / "configs"
GOOD = "gateway: home\nbroker: embedded\nsources:\n  - topic: imu/+/samples\n"
HOST = "a host name or an address, such as `broker.lan`, `192.168.1.2` or `::1`"
REMOTE_KEYS = (
    "`host`, `port`, `protocol`, `username`, `password_file`, `password_credential`, `tls`, `keepalive_s`"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def problems(file: Path, text: str | bytes) -> list[str]:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert caught.value.path == file
    return caught.value.problems


def problem(file: Path, text: str | bytes) -> str:
    (only,) = problems(file, text)
    return only


def loaded(file: Path, text: str) -> Settings:
    file.write_text(text)
    return config.load(file)


# --- the shipped configurations


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


# --- all problems at once

TEN_ERRORS = """\
gateway: no
broker:
  hots: broker.lan
  port: 99999
  password: hunter2
sources:
  - topic: imu/#/samples
    format: csv
  - format: auto
limits:
  max_devices: 0x10
log:
  level: warn
"""


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


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema())
    assert len(list(validator.iter_errors(yaml.safe_load(TEN_ERRORS)))) >= 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gateway: 0123\n",
            "YAML reads `0123` as a number in an old notation; write decimal digits, or put it",
        ),
        ("gateway: 12:30\n", "YAML reads `12:30` as a number in an old notation;"),
        ("gateway: 1_0\n", "YAML reads `1_0` as a number in an old notation;"),
        ("gateway: 12\n", "YAML reads `12` as a number; put it in quotes if it is text;"),
        ("gateway: on\n", "YAML reads `on` as true; put it in quotes if it is text;"),
        ("gateway: 2024-01-31\n", "YAML reads `2024-01-31` as a date; put it in quotes if it is text"),
        ("gateway: [a]\n", "a list of 1 entries stands here; allowed: 1 to 64 letters"),
        ("gateway: {a: 1}\n", "a mapping stands here; allowed: 1 to 64 letters"),
        ('gateway: ""\n', "an empty text stands here; allowed: 1 to 64 letters"),
        ("gateway: a/b\n", "`a/b` does not fit; allowed: 1 to 64 letters"),
        ("gateway: |\n  home\n", "a line break or a control character stands in this text;"),
        ('gateway: "a\\ud800"\n', "a line break or a control character stands in this text;"),
        ("gateway:\n", "nothing stands here; give a value (`{}`: no keys) or leave the key out"),
        ("gateway: ~\n", "nothing stands here;"),
    ],
)
def test_a_text_that_yaml_reads_as_something_else_is_named(file: Path, text: str, said: str) -> None:
    assert problem(file, text + GOOD.removeprefix("gateway: home\n")).startswith(f"line 1: gateway: {said}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0.5", "`0.5` is out of range; allowed: a number from 1 to 86400"),
        ("-1", "`-1` is out of range;"),
        (".inf", "`.inf` is out of range;"),
        (".NaN", "`.NaN` is out of range;"),
        ("1.0e+999", "`1.0e+999` is out of range;"),
        ("1" * 400, "this value is out of range;"),
        ("1e3", "YAML reads `1e3` as text; write 1000; allowed: a number from 1 to 86400"),
        ('"10"', "`10` is text because of its quotes; leave them out; allowed"),
        ("ten", "`ten` is not a number; allowed"),
        ("yes", "YAML reads `yes` as true, not as a number; allowed"),
        ("[10]", "a list of 1 entries stands here; allowed: a number"),
    ],
)
def test_a_wrong_number_is_told_with_its_range(file: Path, value: str, said: str) -> None:
    told = problem(file, f"{GOOD}no_data_after_s: {value}\n")
    assert told.startswith(f"line 5: no_data_after_s: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {max_devices: 8.5}\n", "limits.max_devices: `8.5` is not a whole number; allowed: a whole"),
        (
            "replay: [{recording: demo, speed: 0}]\n",
            "replay[0].speed: `0` is out of range; allowed: a number above 0,",
        ),
        ("replay: demo\n", "replay: `demo` does not fit; allowed: a list of 0 to 64 entries"),
        ("replay: [demo]\n", "replay[0]: `demo` does not fit; allowed: a mapping (keys below it)"),
        ("replay: [~]\n", "replay[0]: nothing stands here;"),
        ("publish: {scores: maybe}\n", "publish.scores: `maybe` does not fit; allowed: `true` or `false`"),
        ("limits:\n", "limits: nothing stands here; give a value (`{}`: no keys) or leave the key out"),
        (
            "model: 5\n",
            "model: YAML reads `5` as a number; put it in quotes if it is text; allowed: a shipped",
        ),
        (
            "model: ..\n",
            "model: this is neither the name of something shipped nor a path; allowed: a shipped",
        ),
        ("model: {sha256: abc}\n", "model.sha256: `abc` does not fit; allowed: 64 hexadecimal digits"),
        (
            "gatway: x\n",
            "gatway: unknown key; did you mean `gateway`? allowed: `gateway`, `broker`, `sources`",
        ),
        ("no: x\n", "no: unknown key; allowed: `gateway`"),
        ("1: x\n", "1: unknown key; allowed: `gateway`"),
        ("a b=c: x\n", "?: unknown key; allowed: `gateway`"),
        ("[a]: x\n", "a key must be a word"),
        ("<<: {a: 1}\n", "?: unknown key; allowed"),
        ("gateway: y\n", "gateway: stands here a second time (first on line 1); allowed: once"),
    ],
)
def test_every_mistake_is_told_where_it_is(file: Path, text: str, said: str) -> None:
    assert problem(file, GOOD + text).startswith(f"line 5: {said}")


def test_names_that_people_choose_are_checked_like_any_other_key(file: Path) -> None:
    devices = (
        "devices:\n"
        "  watch:\n"
        "    wrist: both\n"
        "    hold_s: {driving: -1, Cooking: 3}\n"
        "    silence: maybe\n"
        "    holds: {}\n"
        "  my watch: {}\n"
        "  ring:\n"
        "    minimum_s: 5\n"
    )
    label, name = "a label of the model, such as `walking`", "1 to 64 letters (a to z), digits, `-` and `_`"
    either, keys = (
        "`true` or `false`, or a list of 1 to 256 entries",
        "`wrist`, `hold_s`, `minimum_s`, `silence`",
    )
    assert problems(file, GOOD + devices) == [
        "line 7: devices.watch.wrist: `both` does not fit; allowed: `left`, `right`",
        "line 8: devices.watch.hold_s.driving: `-1` is out of range; allowed: a number from 0 to 3600",
        f"line 8: devices.watch.hold_s.Cooking: `Cooking` cannot be a key here; allowed: {label}",
        f"line 9: devices.watch.silence: `maybe` does not fit; allowed: {either}",
        f"line 10: devices.watch.holds: unknown key; did you mean `hold_s`? allowed: {keys}",
        f"line 11: devices.?: `my watch` cannot be a key here; allowed: {name}",
        "line 13: devices.ring.minimum_s: `5` does not fit; allowed: a mapping (keys below it)",
    ]


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        (
            "broker: {embedded: {port: 0}}",
            "broker.embedded.port: `0` is out of range; allowed: a whole number",
        ),
        (
            "broker: {embedded: {prt: 1}}",
            "broker.embedded.prt: unknown key; did you mean `port`? allowed: `listen`, `",
        ),
        (
            "broker: {embedded: {}, host: b}",
            "broker.embedded: `embedded` stands alone: the broker is either embedded",
        ),
        ("broker: {embedded: 5}", "broker.embedded: `5` does not fit; allowed: a mapping (keys below it)"),
        (
            "broker: {listen: '::'}",
            "broker: the keys of an embedded broker stand one level deeper, under `embedded:`",
        ),
        ("broker: {host: b, listen: x}", f"broker.listen: unknown key; allowed: {REMOTE_KEYS}"),
        (
            "broker: embeded",
            "broker: `embeded` does not fit; allowed: `embedded`, `embedded:` with its own keys below",
        ),
        (
            "broker: []",
            "broker: a list of 0 entries stands here; allowed: `embedded`, `embedded:` with its own keys",
        ),
        ("broker: {host: b, protocol: 4}", "broker.protocol: `4` does not fit; allowed: `5`, `3.1.1`"),
        (
            "broker: {host: b, tls:  }",
            "broker.tls: nothing stands here; give a value (`{}`: no keys) or leave",
        ),
        (
            "broker: {host: b, tls: {key_file: k}}",
            "broker.tls: cert_file goes together with key_file or key_credential",
        ),
        (
            "broker: {host: b, tls: {cert_file: c, key_file: k, key_credential: k}}",
            "broker.tls: give key_file or key_credential, not both",
        ),
        ("broker: {host: b, password_file: p}", "broker: a password needs a username"),
        (
            "broker: {host: 'mqtt://b'}",
            "broker.host: a host stands alone, without mqtt://, user or port; allowed: a",
        ),
        (
            "broker: {host: b, username: 7}",
            "broker.username: YAML reads `7` as a number; put it in quotes if it is",
        ),
    ],
)
def test_a_problem_of_the_broker_is_about_the_broker_that_was_meant(
    file: Path, broker: str, said: str
) -> None:
    assert problem(file, GOOD.replace("broker: embedded", broker)).startswith(f"line 2: {said}")


def test_a_misspelt_embedded_is_recognised(file: Path) -> None:
    told = problems(file, GOOD.replace("embedded", "{embeded: {}}"))
    assert any(
        "broker.embeded: unknown key; did you mean `embedded`? allowed: `embedded`, `host`" in line
        for line in told
    )


def test_problems_come_in_the_order_of_the_file_even_when_the_yaml_was_read_before_the_models(
    file: Path,
) -> None:
    told = problems(
        file, "log: {level: x}\ngateway: 0x1\n" + GOOD.removeprefix("gateway: home\n") + "model:\n"
    )
    assert [line.split(":")[0] for line in told] == ["line 1", "line 2", "line 6"]


# --- secrets


@pytest.mark.parametrize(
    "text",
    [
        "broker: {host: b, password: hunter2}",
        "broker: {host: b, password: [hunter2, hunter2]}",
        "broker: {host: b, password: {hunter2: 1, hunter2: 2}}",
        "broker: {host: b, password_file: {hunter2: 1, hunter2: 2}}",
        "broker: {host: b, password_credential: hunter2 is no name}",
        "broker: {host: 'mqtt://me:hunter2@b'}",
        "broker: mqtt://me:hunter2@b",
        "broker:\n  password:hunter2",
        "broker:\n  host: b\n  password:hunter2",
        "broker:\n  host: b\n  password: hunter2: x",
        "broker:\n  host: b\n  password:hunter2: x",
        "broker:\n  host: b\n  password: *hunter2",
        "broker:\n  host: b\n  password: !hunter2",
        "broker:\n  host: b\n  password: !hunter2!x y",
        "broker:\n  host: b\n  password: &hunter2",
        "broker:\n  host: b\n  password: @hunter2",
        "broker:\n  host: b\n  password: %hunter2",
        'broker:\n  host: b\n  password: "hunter2',
        'broker:\n  host: b\n  password: "hunter2\\q"',
        "broker:\n  host: b\n  password: [hunter2",
        "broker:\n  host: b\n  password: {hunter2",
        "broker:\n  host: b\n  password: |hunter2",
        "broker:\n  host: b\n  password: hunter2\x07",
        "password: hunter2",
        "secret: hunter2\nsecret: hunter2",
    ],
)
def test_a_password_is_never_echoed(file: Path, text: str) -> None:
    told = problems(file, GOOD.replace("broker: embedded", text) if "broker" in text else f"{GOOD}{text}\n")
    assert "hunter2" not in "".join(told)


@pytest.mark.parametrize("key", ["password", "password_file", "password_credential"])
@pytest.mark.parametrize("value", ["0123", "2024-01-31", "12345", "no", "1.5"])
def test_a_password_that_yaml_misreads_is_not_echoed_either(file: Path, key: str, value: str) -> None:
    text = f"broker: {{host: b, username: u, {key}: {value}}}"
    told = problem(file, GOOD.replace("broker: embedded", text))
    assert f"broker.{key}: " in told
    assert value not in told.replace("unknown", "")


# --- what is no configuration at all


def test_a_file_that_cannot_be_read_is_one_clear_sentence(tmp_path: Path) -> None:
    for path, said in [
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "this is a folder; name the configuration file in it"),
        (tmp_path / "a\0b", "no file can have this name"),
        (tmp_path / ("x" * 300), "it cannot be read: File name too long"),
    ]:
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert caught.value.problems == [said]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_another_user_is_told_as_such(file: Path) -> None:
    file.write_text(GOOD)
    file.chmod(0)
    with pytest.raises(ConfigError, match="this user may not read it; check its owner and mode"):
        config.load(file)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is empty; it needs at least `gateway`, `broker` and `sources`"),
        (b"\xef\xbb\xbf \n", "it is empty;"),
        (b"# nothing yet\n", "it is empty;"),
        (b"---\n", "it is empty;"),
        (b"x" * (2**20 + 1), "it is larger than 1 MiB; this is no configuration"),
        (b"gateway: home\nbroker: \xff\n", "line 2: this is not UTF-8; save the file as UTF-8 text"),
        ("gateway: home".encode("utf-16"), "line 1: this is not UTF-8"),
        (b"gateway: a\x00b\n", "line 1: a control character stands here"),
        (b"- gateway: home\n", "line 1: a list stands at the top; allowed: keys, such as `gateway: home`"),
        (b"\nhome\n", "line 2: a single value stands at the top;"),
        (b"broker:\n\thost: b\n", "line 2: a tab stands here; YAML is indented with spaces only"),
        (b"a: b: c\n", "line 1: a `: ` does not fit here: wrong indentation, or text without quotes"),
        (b"a: 1\nb\nc: 1\n", "line 3: a key without `: ` behind it"),
        (b"a: 1\n- b\n", "line 2: the indentation does not fit the lines above"),
        (b"a: 1\nb: [1,\n", "line 3: a value is missing, or a `[` or `{` is not closed"),
        (b"a: 1\nb: [1\nc: 2\n", "line 2: a `[` or `{` is not closed, or a `,` is missing"),
        (b"a: 1\nb: 'x\nc: 1\n", "line 2: a quoted text is not closed"),
        (b"a: 1\n---\nb: 1\n", "line 2: a second document begins here; a configuration has one"),
        (b'a: "\\q"\n', "line 1: an unknown `\\` escape; in single quotes, `\\` is an ordinary character"),
        (b"a: 1\nb: @x\n", "line 2: text that begins with `@`, `%` or a backtick needs quotes"),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', "line 2: an escape or a `%` directive is not valid YAML"),
        (b"%YAML 1." + b"9" * 5000 + b"\n--- a\n", "line 1: an escape or a `%` directive is not valid YAML"),
        (b"a: &x 1\nb: &x 2\n", "line 2: this is not valid YAML"),
        (
            b"a: &x 1\nb: *x\n",
            "line 2: an alias (`*`) is not read; write out what it stands for, or put text",
        ),
        (b"&a [*a]\n", "line 1: an alias (`*`) is not read"),
        (bomb(20).encode(), "line 2: an alias (`*`) is not read"),
        (
            b"a: !!python/object/apply:os.abort []\n",
            "line 1: a tag (`!`) is not read; write the value without",
        ),
        (b"a: !!bool maybe\n", "line 1: a tag (`!`) is not read"),
        (b"[" * 2**20, "line 1: more than 16 levels are nested here"),
        (b"- " * 2**19, "line 1: more than 16 levels are nested here"),
        (b"a: [" + b"1," * 10_000 + b"]\n", "line 1: the file holds more than 5000 entries"),
        (b"a: 1\nb: " + b"1:" * 5000 + b"1\n", "line 2: a text is longer than 4096 characters"),
    ],
)
def test_what_is_no_configuration_is_one_clear_sentence(file: Path, text: bytes, said: str) -> None:
    assert problem(file, text).startswith(said)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert config.load(file).gateway == "home"


# --- anything at all


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


# --- paths


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


# --- the schema and the table


def test_the_schema_is_one_and_accepts_the_shorthands() -> None:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for tree in (
        {"broker": "embedded", "model": "wrist"},
        {"broker": {"embedded": None}, "model": {"bundle": "my.onnx"}},
        {"broker": {"embedded": {"port": 1884}}},
        {"broker": {"host": "b", "protocol": 5, "tls": {}}},
        {"broker": {"host": "b", "protocol": "3.1.1"}},
    ):
        validator.validate({"gateway": "home", "sources": [{"topic": "a"}], **tree})


@pytest.mark.parametrize(
    "tree",
    [
        {"broker": "embeded"},
        {"broker": {}},
        {"broker": {"host": "b", "embedded": {}}},
        {"broker": {"host": "b", "tls": None}},
        {"broker": {"host": "b", "port": "1883"}},
        {"model": None},
        {"model": {"name": "wrist"}},
        {"gateway": "a/b"},
        {"sources": []},
        {"sources": [{"topic": "a", "format": "csv"}]},
        {"publish": {"scores": "yes"}},
        {"replay": [{"recording": "demo", "speed": 0}]},
    ],
)
def test_the_schema_refuses_mistakes(tree: dict[str, Any]) -> None:
    whole = {"gateway": "home", "broker": "embedded", "sources": [{"topic": "a"}], **tree}
    assert not jsonschema.Draft202012Validator(config.json_schema()).is_valid(whole)


def test_every_key_of_the_schema_is_described() -> None:
    schema = config.json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for key, value in part["properties"].items():
            described = (
                value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]]["description"]
            )
            assert described, key


def test_the_schema_that_is_handed_out_is_a_copy() -> None:
    config.json_schema()["properties"].clear()
    assert config.json_schema()["properties"]


def test_the_table_has_a_row_for_every_key() -> None:
    lines = config.markdown_table().splitlines()
    assert lines[:2] == ["| Key | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    assert {line.count(" | ") for line in lines} == {3}
    rows = {line.split("`")[1]: line for line in lines[2:]}
    assert rows["broker.keepalive_s"] == (
        "| `broker.keepalive_s` | a whole number from 5 to 3600 | `30` | Seconds between signs of life. |"
    )
    assert rows["replay[].speed"] == (
        "| `replay[].speed` | a number above 0, at most 1000 | `1.0` | Times real time. |"
    )
    assert " | required | " in rows["gateway"]
    assert set(Settings.model_fields) <= set(rows)
    assert {"broker.embedded.listen", "broker.tls.ca_file", "sources[].topic", "model.sha256"} <= set(rows)


# --- the password


def with_password(path: Path, content: bytes, *, mode: int = 0o640) -> RemoteBroker:
    path.write_bytes(content)
    path.chmod(mode)
    return RemoteBroker(host="b", username="u", password_file=path)


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n", b"hunter2\na note\n"])
def test_the_password_is_the_first_line_of_its_file(tmp_path: Path, content: bytes) -> None:
    assert config.read_password(with_password(tmp_path / "word", content), environ={}) == "hunter2"


def test_spaces_and_other_letters_belong_to_the_password(tmp_path: Path) -> None:
    broker = with_password(tmp_path / "word", " größer \n".encode())
    assert config.read_password(broker, environ={}) == " größer "


@pytest.mark.parametrize("mode", [0o644, 0o641, 0o602, 0o604])
def test_a_password_file_that_is_open_to_everyone_is_refused(tmp_path: Path, mode: int) -> None:
    broker = with_password(tmp_path / "word", b"hunter2\n", mode=mode)
    with pytest.raises(ConfigError) as caught:
        config.read_password(broker, environ={})
    assert caught.value.problems == [
        (
            f"broker.password_file: every user may use this file (mode {mode:04o});"
            f" run `chmod o= {tmp_path}/word`"
        )
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the first line is empty; it must be the password"),
        (b"\nhunter2\n", "the first line is empty; it must be the password"),
        (b"hunter2" * 200, "the file is larger than 1024 bytes; only the password belongs in it"),
        (b"hunter2\xff\n", "the password is not UTF-8 text"),
    ],
)
def test_a_file_without_a_usable_password_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read_password(with_password(tmp_path / "word", content), environ={})
    assert caught.value.problems == [f"broker.password_file: {said}"]


def test_a_password_of_exactly_one_kibibyte_is_taken(tmp_path: Path) -> None:
    assert config.read_password(with_password(tmp_path / "word", b"x" * 1024), environ={}) == "x" * 1024


def test_a_password_file_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", stat.S_IRUSR | stat.S_IWUSR)
    for name, said in [
        ("absent", "the file cannot be read: No such file or directory"),
        ("", "the file cannot be read: Is a directory"),
        ("pipe", "this is not a regular file"),
    ]:
        broker = RemoteBroker(host="b", username="u", password_file=tmp_path / name)
        with pytest.raises(ConfigError) as caught:
            config.read_password(broker, environ={})
        assert caught.value.problems == [f"broker.password_file: {said}"]


def test_a_systemd_credential_is_found_where_systemd_says(tmp_path: Path) -> None:
    broker = RemoteBroker(host="b", username="u", password_credential="mqtt")
    (tmp_path / "mqtt").write_text("hunter2\n")
    assert config.read_password(broker, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "hunter2"
    with pytest.raises(ConfigError, match="the unit needs LoadCredential=mqtt:FILE"):
        config.read_password(broker, environ={})
    with pytest.raises(ConfigError, match=r"broker\.password_credential: the file cannot be read"):
        config.read_password(broker, environ={"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")})


def test_the_token_may_be_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "http-token").write_text("s3cret\n")
    http = Http(port=9464, token_credential="http-token")
    assert config.read_token(http, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "s3cret"
    with pytest.raises(ConfigError, match=r"http\.token_credential: systemd gave no credentials"):
        config.read_token(http, environ={})
    assert config.read_token(Http(port=9464), environ={}) is None


def test_without_a_name_there_is_no_password() -> None:
    assert config.read_password(RemoteBroker(host="b"), environ={"CREDENTIALS_DIRECTORY": "/x"}) is None


# --- what is allowed but probably not meant


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("embedded", None),
        ("{embedded: {listen: localhost}}", None),
        ("{embedded: {listen: '::1'}}", None),
        ("{embedded: {listen: 0.0.0.0}}", "broker.embedded.listen: whoever reaches 0.0.0.0 may read all"),
        ("{embedded: {listen: gateway.lan}}", "broker.embedded.listen: whoever reaches gateway.lan may"),
        ("{host: localhost}", None),
        ("{host: 127.0.0.1, username: u, password_file: p}", None),
        (
            "{host: b, username: u, password_file: p}",
            "broker: the password goes to b unencrypted; add `tls: {}`",
        ),
        ("{host: b, username: u, password_credential: p}", "broker: the password goes to b unencrypted;"),
        ("{host: b}", "broker: b is used without TLS and password; others may read and forge all"),
        ("{host: b, tls: {}}", None),
    ],
)
def test_an_open_broker_is_warned_of(file: Path, broker: str, said: str | None) -> None:
    told = config.warnings(loaded(file, GOOD.replace("embedded", broker)))
    assert [line.startswith(said or "?") for line in told] == ([True] if said else [])


def test_sources_that_read_too_much_or_nothing_are_warned_of(file: Path) -> None:
    text = "gateway: home\nbroker: embedded\nsources:\n"
    topics = ["imu/#", "imu/+/samples", "other/+", "other/#", "#", "x"]
    found = loaded(file, text + "".join(f'  - topic: "{topic}"\n' for topic in topics))
    assert config.warnings(found) == [
        "sources[1]: never used, sources[0] reads all its topics first",
        "sources[4].topic: `#` reads every topic of the broker, our own events too",
        "sources[5]: never used, sources[4] reads all its topics first",
    ]


def test_a_replay_that_nobody_reads_or_that_strangers_read_is_warned_of(file: Path) -> None:
    replay = "replay: [{recording: demo, topic: other}, {recording: demo}]\n"
    assert config.warnings(loaded(file, GOOD + replay)) == ["replay[0].topic: no source reads `other`"]
    remote = GOOD.replace("embedded", "{host: b, tls: {}}")
    assert config.warnings(loaded(file, remote + "replay: [{recording: demo}]\n")) == [
        "replay[0]: b receives recorded samples as if somebody wore the watch now"
    ]
