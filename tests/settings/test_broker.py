"""Which brokers a configuration may name, and what it may not say of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.configured import configured, refusal
from vskd_stream.settings import EmbeddedBroker, RemoteBroker, Tls


@pytest.mark.parametrize("broker", ["embedded", {"embedded": None}, {"embedded": {}}, EmbeddedBroker()])
def test_every_way_to_write_an_embedded_broker_means_the_same(broker: Any) -> None:
    assert configured(broker=broker).broker == EmbeddedBroker()


def test_a_mapping_with_a_host_is_a_remote_broker() -> None:
    assert configured(broker={"host": "b"}).broker == RemoteBroker(host="b")
    assert configured(broker=RemoteBroker(host="b")).broker == RemoteBroker(host="b")


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


def test_the_default_port_depends_on_tls() -> None:
    assert RemoteBroker(host="b").endpoint_port == 1883
    assert RemoteBroker(host="b", tls=Tls()).endpoint_port == 8883
    assert RemoteBroker(host="b", tls=Tls(), port=1).endpoint_port == 1


def test_the_mqtt_version_may_be_a_whole_number() -> None:
    assert configured(broker={"host": "b", "protocol": 5}).broker == RemoteBroker(host="b", protocol="5")
    for version in (4, 5.0, True, "5.0", None):
        assert refusal(broker={"host": "b", "protocol": version}) == [
            (("broker", "remote", "protocol"), "literal_error")
        ]
