"""What the settings' models accept and refuse, without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vskd_stream.decode import FORMATS
from vskd_stream.errors import VskdError
from vskd_stream.lifecycle import NO_PREFERENCES, Preferences
from vskd_stream.settings import (
    Device,
    EmbeddedBroker,
    Limits,
    Model,
    MqttSource,
    Outbox,
    RemoteBroker,
    Replay,
    Settings,
    Tls,
    is_path,
)

SOURCES = [{"topic": "imu/+/samples"}]


def settings(**keys: Any) -> Settings:
    return Settings.model_validate({"gateway": "home", "broker": "embedded", "sources": SOURCES, **keys})


def refusal(**keys: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        settings(**keys)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


def test_the_smallest_configuration_takes_every_default() -> None:
    smallest = settings()
    assert smallest.broker == EmbeddedBroker(listen="127.0.0.1", port=1883, mqtt5_port=None)
    assert smallest.model == Model(bundle="wrist", sha256=None)
    assert smallest.limits == Limits()
    assert smallest.outbox == Outbox(directory=None, max_bytes=64 * 2**20, max_age_s=7 * 86_400.0)
    assert smallest.replay == ()
    assert smallest.no_data_after_s == 10.0


@pytest.mark.parametrize("broker", ["embedded", {"embedded": None}, {"embedded": {}}, EmbeddedBroker()])
def test_every_way_to_write_an_embedded_broker_means_the_same(broker: Any) -> None:
    assert settings(broker=broker).broker == EmbeddedBroker()


def test_a_mapping_with_a_host_is_a_remote_broker() -> None:
    assert settings(broker={"host": "b"}).broker == RemoteBroker(host="b")
    assert settings(broker=RemoteBroker(host="b")).broker == RemoteBroker(host="b")


def test_errors_in_a_broker_are_about_the_variant_that_was_meant() -> None:
    assert refusal(broker={"embedded": {"port": 0}}) == [
        (("broker", "embedded", "port"), "greater_than_equal")
    ]
    assert refusal(broker={"host": "b", "port": 0, "x": 1}) == [
        (("broker", "remote", "port"), "greater_than_equal"),
        (("broker", "remote", "x"), "extra_forbidden"),
    ]
    assert refusal(broker={"prot": 1}) == [
        (("broker", "remote", "host"), "missing"),
        (("broker", "remote", "prot"), "extra_forbidden"),
    ]


@pytest.mark.parametrize(
    "broker",
    [
        None,
        "embeded",
        5,
        [],
        {"listen": "::"},
        {"embedded": {}, "host": "b"},
        {"embedded": 5},
        {"embedded": "embedded"},
        {"embedded": {"port": 1883, "mqtt5_port": 1883}},
        {"host": "b", "password_file": "p"},
        {"host": "b", "username": "u", "password_file": "p", "password_credential": "p"},
        {"host": "b", "tls": {"cert_file": "c"}},
        {"host": "b", "tls": {"key_file": "k"}},
        {"host": "b", "password_file": "", "username": "u"},
        {"host": "b", "password_file": "a\0b", "username": "u"},
        {"host": "b", "password_credential": "../p", "username": "u"},
    ],
)
def test_a_broker_that_contradicts_itself_is_refused(broker: Any) -> None:
    assert refusal(broker=broker)


@pytest.mark.parametrize(
    "host", ["broker.lan", "localhost", "192.168.1.2", "::1", "fe80::1%eth0", "mq_1", "bücher.de"]
)
def test_hosts_are_names_or_addresses(host: str) -> None:
    assert RemoteBroker(host=host).host == host


@pytest.mark.parametrize(
    "host",
    ["", "mqtt://b", "b:1883", "user:word@b", "b/mqtt", "a b", "b\n", "[::1]", 'fe80::1%a"b', "x" * 254],
)
def test_a_host_is_not_an_address_with_more_around_it(host: str) -> None:
    with pytest.raises(ValidationError):
        RemoteBroker(host=host)


def test_the_default_port_depends_on_tls() -> None:
    assert RemoteBroker(host="b").endpoint_port == 1883
    assert RemoteBroker(host="b", tls=Tls()).endpoint_port == 8883
    assert RemoteBroker(host="b", tls=Tls(), port=1).endpoint_port == 1


def test_the_mqtt_version_may_be_a_whole_number() -> None:
    assert settings(broker={"host": "b", "protocol": 5}).broker == RemoteBroker(host="b", protocol="5")
    for version in (4, 5.0, True, "5.0", None):
        assert refusal(broker={"host": "b", "protocol": version}) == [
            (("broker", "remote", "protocol"), "literal_error")
        ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_data_after_s", "10"),
        ("no_data_after_s", True),
        ("no_data_after_s", float("nan")),
        ("no_data_after_s", float("inf")),
        ("limits", {"max_devices": True}),
        ("limits", {"max_devices": "8"}),
        ("limits", {"max_devices": 8.0}),
        ("outbox", {"max_bytes": 2**20 - 1}),
        ("outbox", {"max_bytes": 1e9}),
        ("outbox", {"max_age_s": 59.9}),
        ("outbox", {"directory": ""}),
        ("outbox", {"directory": "a\0b"}),
        ("outbox", "/var/lib/vskd"),
        ("publish", {"scores": 1}),
        ("publish", {"scores": "yes"}),
        ("gateway", 5),
        ("gateway", "a/b"),
        ("gateway", "home\n"),
        ("gateway", ""),
        ("sources", []),
        ("sources", {"topic": "a"}),
        ("sources", SOURCES * 257),
        ("replay", [{"recording": "demo"}] * 65),
        ("model", {"bundle": "wrist", "sha256": "A" * 64}),
        ("log", {"level": "warn"}),
    ],
)
def test_values_are_neither_bent_into_a_type_nor_out_of_range(key: str, value: Any) -> None:
    assert len(refusal(**{key: value})) == 1


def test_a_whole_number_stands_for_a_number() -> None:
    assert settings(no_data_after_s=10).no_data_after_s == 10.0


@pytest.mark.parametrize("topic", ["imu/+/samples", "#", "+", "/", "a/#", "+/+/#", "$SYS/#", "größe/x y"])
def test_topic_filters_are_those_of_mqtt(topic: str) -> None:
    assert MqttSource(topic=topic).topic == topic


@pytest.mark.parametrize("topic", ["", "#/a", "a#", "a/b#", "a+/b", "##", "a\0", "x" * 513, "$share/g/imu/+"])
def test_a_broken_or_shared_topic_filter_is_refused(topic: str) -> None:
    with pytest.raises(ValidationError):
        MqttSource(topic=topic)


@pytest.mark.parametrize(
    ("topic", "level", "index"),
    [
        ("imu/+/samples", None, 1),
        ("sensor-logger", None, None),
        ("+/+/samples", None, None),
        ("+/+/samples", 1, 0),
        ("imu/watch/samples", 2, 1),
        ("imu/#", 3, 2),
    ],
)
def test_the_level_that_names_the_device(topic: str, level: int | None, index: int | None) -> None:
    assert MqttSource(topic=topic, device_level=level).device_index == index


def test_a_device_level_beyond_the_filter_is_refused() -> None:
    with pytest.raises(ValidationError, match="beyond the filter's 3 levels"):
        MqttSource(topic="imu/+/samples", device_level=4)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("imu/+/samples", "imu/a/samples", True),
        ("imu/+/samples", "imu//samples", True),
        ("imu/+/samples", "imu/a/b/samples", False),
        ("imu/+/samples", "imu/a", False),
        ("imu/#", "imu", True),
        ("imu/#", "imu/a/b", True),
        ("imu/a/#", "imu", False),
        ("imu/#", "imux", False),
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("a", "a", True),
        ("a", "A", False),
    ],
)
def test_a_source_knows_its_topics(*, topic_filter: str, topic: str, matches: bool) -> None:
    assert MqttSource(topic=topic_filter).matches(topic) is matches


def test_every_decoder_can_be_named() -> None:
    for name in ("auto", *FORMATS):
        assert MqttSource(topic="a", format=name).format == name
    with pytest.raises(ValidationError, match="not known"):
        MqttSource(topic="a", format="csv")


@pytest.mark.parametrize("topic", ["imu/+/samples", "#", "", "a\0", "x" * 513])
def test_a_replay_publishes_on_a_topic_not_on_a_filter(topic: str) -> None:
    with pytest.raises(ValidationError):
        Replay(recording="demo", topic=topic)


@pytest.mark.parametrize(
    ("text", "path"),
    [("wrist", False), ("my.onnx", True), ("./wrist", True), ("a/b", True), ("wrist-2", False)],
)
def test_a_slash_or_a_suffix_makes_a_path(*, text: str, path: bool) -> None:
    assert is_path(text) is path


@pytest.mark.parametrize("text", ["", "..", "my model", "a\0.onnx", "x" * 4097])
def test_what_is_neither_a_name_nor_a_path_is_refused(text: str) -> None:
    for model in (lambda: Model(bundle=text), lambda: Replay(recording=text)):
        with pytest.raises(ValidationError):
            model()


def test_relative_paths_follow_the_folder_of_the_reader_and_stay_as_they_are_without_one() -> None:
    tree = {"host": "b", "username": "u", "password_file": "word", "tls": {"ca_file": "/etc/ca.crt"}}
    here = RemoteBroker.model_validate(tree)
    there = RemoteBroker.model_validate(tree, context={"folder": Path("/etc/vskd")})
    assert (here.password_file, there.password_file) == (Path("word"), Path("/etc/vskd/word"))
    assert there.tls == Tls(ca_file=Path("/etc/ca.crt"))


def test_the_folder_of_the_outbox_follows_the_reader() -> None:
    tree = {"gateway": "home", "broker": "embedded", "sources": SOURCES, "outbox": {"directory": "state"}}
    there = Settings.model_validate(tree, context={"folder": Path("/etc/vskd")})
    assert there.outbox.directory == Path("/etc/vskd/state")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().gateway = "other"  # type: ignore[misc]


def test_every_field_has_its_sentence() -> None:
    for model in (
        Settings,
        Device,
        EmbeddedBroker,
        RemoteBroker,
        Tls,
        MqttSource,
        Replay,
        Model,
        Limits,
        Outbox,
    ):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_each_device_may_have_wishes_of_its_own() -> None:
    watch = {
        "wrist": "left",
        "hold_s": {"driving": 120},
        "minimum_s": {"walking": 5.0},
        "silence": ["drinking"],
    }
    configured = settings(devices={"watch": watch, "other": {"silence": True}})
    assert configured.preferences("watch") == Preferences(
        minimum_s={"walking": 5.0},
        hold_s={"driving": 120.0},
        silenced=frozenset({"drinking"}),
        silent=False,
        wrist="left",
    )
    assert configured.preferences("other") == Preferences(silent=True)
    assert configured.silent == ("other",)
    assert configured.preferences("unheard_of") == NO_PREFERENCES


@pytest.mark.parametrize(
    "watch",
    [
        {"wrist": "both"},
        {"hold_s": {"driving": -1.0}},
        {"hold_s": {"driving": 3601.0}},
        {"hold_s": {"driving": "60"}},
        {"hold_s": {"Driving": 60.0}},
        {"minimum_s": 5.0},
        {"silence": "drinking"},
        {"silence": []},
        {"silence": 1},
        {"holds": {}},
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(watch: dict[str, Any]) -> None:
    assert refusal(devices={"watch": watch})


def test_a_wish_for_a_device_that_cannot_be_is_refused() -> None:
    assert refusal(devices={"my watch": {}})


@pytest.mark.parametrize(
    ("watch", "key"),
    [
        ({"hold_s": {"driving": 60.0}}, "hold_s"),
        ({"minimum_s": {"driving": 60.0, "walking": 1.0}}, "minimum_s"),
        ({"silence": ["driving"]}, "silence"),
    ],
)
def test_a_wish_for_a_label_that_the_model_does_not_know_is_refused(watch: dict[str, Any], key: str) -> None:
    configured = settings(devices={"watch": watch})
    configured.check_labels(["walking", "driving"])
    words = rf"devices\.watch\.{key}: the model knows no driving; it knows walking"
    with pytest.raises(VskdError, match=words):
        configured.check_labels(["walking"])


# --- Bluetooth


def test_a_gateway_may_live_on_bluetooth_alone() -> None:
    found = Settings.model_validate(
        {"gateway": "home", "broker": "embedded", "bluetooth": [{"device": "chest", "profile": "polar"}]}
    )
    assert found.sources == ()
    assert found.bluetooth[0].options == {}


def test_samples_come_from_somewhere() -> None:
    with pytest.raises(ValidationError, match="`sources`, `bluetooth` or both"):
        Settings.model_validate({"gateway": "home", "broker": "embedded"})


def test_a_service_of_16_bits_stands_for_128() -> None:
    for written in ("180d", "180D", "0000180D-0000-1000-8000-00805F9B34FB"):
        found = settings(bluetooth=[{"device": "chest", "profile": "polar", "service": written}])
        assert found.bluetooth[0].service == "0000180d-0000-1000-8000-00805f9b34fb"


@pytest.mark.parametrize(
    "entry",
    [
        {"address": "A0:9E:1A"},
        {"address": "A0:9E:1A:00:11:22", "name": "Polar H10"},
        {"name": ""},
        {"service": "18"},
        {"adapter": "hci"},
        {"device": "a/b"},
        {"options": [50]},
        {"rate": 50},
    ],
)
def test_a_bluetooth_device_is_checked(entry: dict[str, Any]) -> None:
    assert len(refusal(bluetooth=[{"device": "chest", "profile": "polar", **entry}])) == 1


def test_two_bluetooth_devices_have_two_ids() -> None:
    entry = {"device": "chest", "profile": "polar"}
    assert refusal(bluetooth=[entry, entry]) == [((), "value_error")]


@pytest.mark.parametrize(
    "keys",
    [
        {"port": 9464},
        {"port": 9464, "listen": "::1"},
        {"port": 9464, "listen": "localhost"},
        {"port": 9464, "listen": "0.0.0.0", "token_file": "token"},
        {"socket": "/run/vskd/http.sock"},
        {"port": 9464, "listen": "0.0.0.0", "token_credential": "http-token"},
        {"socket": "http.sock", "token_file": "token"},
    ],
)
def test_http_stays_on_this_machine_or_asks_for_a_token(keys) -> None:
    assert settings(http=keys).http is not None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "give port or socket"),
        ({"port": 1, "socket": "a.sock"}, "give port or socket"),
        ({"port": 9464, "listen": "0.0.0.0"}, "give token_file"),
        ({"port": 9464, "listen": "192.168.1.2"}, "give token_file"),
        ({"port": 9464, "listen": "localhost.evil.example"}, "give token_file"),
        ({"port": 1, "token_file": "t", "token_credential": "t"}, "token_credential, not both"),
        ({"socket": "/" + "a" * 107}, "at most 107 bytes"),
        ({"socket": "a.sock", "listen": "127.0.0.1"}, "listen goes with port"),
    ],
)
def test_http_for_everybody_without_a_token_is_refused(keys, words) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(http=keys)
