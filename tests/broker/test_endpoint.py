from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from tests.brokers import certificates
from tests.configured import configured
from vskd_stream.broker.endpoint import Endpoint, endpoint_of, reachable
from vskd_stream.errors import BrokerError, ConfigError


def test_the_embedded_broker_is_reached_over_loopback_with_mqtt_3_1_1() -> None:
    endpoint = endpoint_of(configured(broker={"embedded": {"port": 1999}}))
    assert endpoint == Endpoint(host="127.0.0.1", port=1999, client_id="vskd-test", protocol="3.1.1")


@pytest.mark.parametrize(
    ("listen", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.168.1.5", "192.168.1.5")]
)
def test_a_listener_on_all_addresses_is_reached_over_loopback(listen: str, host: str) -> None:
    assert reachable(listen) == host
    assert endpoint_of(configured(broker={"embedded": {"listen": listen}})).host == host


def test_a_remote_broker_is_taken_as_configured() -> None:
    broker = {"host": "broker.lan", "username": "vskd", "protocol": "3.1.1", "keepalive_s": 7}
    endpoint = endpoint_of(configured(broker=broker), "secret")
    expected = Endpoint(
        host="broker.lan",
        port=1883,
        client_id="vskd-test",
        protocol="3.1.1",
        username="vskd",
        password="secret",
        keepalive_s=7,
    )
    assert endpoint == expected


def test_the_password_appears_in_no_text() -> None:
    endpoint = endpoint_of(configured(broker={"host": "broker.lan", "username": "vskd"}), "secret")
    assert "secret" not in repr(endpoint) + str(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (Endpoint("broker.lan", 1883, "c"), "mqtt://broker.lan:1883"),
        (Endpoint("::1", 1883, "c"), "mqtt://[::1]:1883"),
        (Endpoint("broker.lan", 8883, "c", tls=ssl.create_default_context()), "mqtts://broker.lan:8883"),
    ],
)
def test_its_text_is_its_address(endpoint: Endpoint, text: str) -> None:
    assert str(endpoint) == text


def test_tls_checks_the_certificate_and_the_host_name_from_version_1_2_on() -> None:
    files = certificates()
    tls = {"ca_file": files.authority, "cert_file": files.cert("client"), "key_file": files.key("client")}
    endpoint = endpoint_of(configured(broker={"host": "broker.lan", "tls": tls}))
    assert endpoint.port == 8883
    assert endpoint.tls is not None
    assert endpoint.tls.check_hostname
    assert endpoint.tls.verify_mode is ssl.CERT_REQUIRED
    assert endpoint.tls.minimum_version == ssl.TLSVersion.TLSv1_2


def test_without_an_authority_file_the_systems_authorities_are_trusted() -> None:
    endpoint = endpoint_of(configured(broker={"host": "broker.lan", "tls": {}}))
    assert endpoint.tls is not None
    assert endpoint.tls.verify_mode is ssl.CERT_REQUIRED


def refusal(tls: dict[str, Path]) -> str:
    with pytest.raises(BrokerError) as caught:
        endpoint_of(configured(broker={"host": "broker.lan", "tls": tls}))
    return str(caught.value)


def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.crt"
    expected = f"MQTT broker broker.lan:8883: tls.ca_file {path}: No such file or directory"
    assert refusal({"ca_file": path}) == expected


def test_an_authority_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.crt"
    path.write_text("nothing")
    assert f"tls.ca_file {path}: " in refusal({"ca_file": path})


def test_a_key_that_does_not_belong_to_the_certificate_is_refused() -> None:
    files = certificates()
    text = refusal({"cert_file": files.cert("client"), "key_file": files.key("localhost")})
    assert f"tls.key_file {files.key('localhost')}: key values mismatch" in text


def test_an_encrypted_key_is_refused_and_never_asked_for(tmp_path: Path) -> None:
    files = certificates()

    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-out", str(encrypted)]
    subprocess.run([*command, "-in", str(files.key("client"))], check=True, capture_output=True)
    text = refusal({"cert_file": files.cert("client"), "key_file": encrypted})
    assert f"tls.key_file {encrypted}: " in text


def test_a_key_may_be_a_systemd_credential(tmp_path: Path) -> None:
    files = certificates()
    (tmp_path / "mqtt-key").write_bytes(files.key("client").read_bytes())
    settings = configured(
        broker={
            "host": "broker.lan",
            "tls": {"cert_file": files.cert("client"), "key_credential": "mqtt-key"},
        }
    )
    assert endpoint_of(settings, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).tls is not None
    with pytest.raises(ConfigError, match=r"key_credential: systemd gave no credentials; .*mqtt-key:FILE"):
        endpoint_of(settings, environ={})


def test_an_empty_credential_is_refused_by_its_name(tmp_path: Path) -> None:
    files = certificates()
    (tmp_path / "mqtt-key").write_text("\n")
    settings = configured(
        broker={
            "host": "broker.lan",
            "tls": {"cert_file": files.cert("client"), "key_credential": "mqtt-key"},
        }
    )
    with pytest.raises(BrokerError, match=r"tls\.key_credential .*mqtt-key: "):
        endpoint_of(settings, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
